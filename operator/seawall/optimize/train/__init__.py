"""The presets that train: `pruned` (fewer channels, fine-tuned), `distilled` (a narrow student from scratch),
and on a GPU `sparse24` where there is data (half of the weights zero, fine-tuned; see gpu/sparse.py).

Both need data and time, so this room never guesses: no data, no training; data that would also judge the
result, no training. The training itself is a recipe in a process of its own, the reference recipe included.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from pathlib import Path

from seawall.optimize import graph as graphs
from seawall.optimize import outside, recipes
from seawall.optimize.recipes.judge import training_data
from seawall.optimize.types import Compressed, Context, Graph, Recipe, Refused

PYTHON_VARIABLE = "SEAWALL_TRAINING_PYTHON"
"""The interpreter that has PyTorch, where this one has not."""
REFERENCE = "seawall.optimize.recipes.classifier"
SECONDS = 3600.0
MILDER = 0.6
"""of the ratio before: what is tried after a result below the floor"""
TRIES = {"pruned": 3, "distilled": 3, "sparse24": 1}
LIBRARIES = ("torch", "torch-pruning")
_MISSING = re.compile(r"No module named '(torch|torch_pruning|onnxscript)\b")


def compress(step: str, graph: Graph, context: Context, folder: Path, seconds: float = SECONDS) -> Compressed:
    """`pruned`, `distilled` or `sparse24`, into a folder that holds nothing else then. Raises Refused."""
    recipe = context.order.recipe or Recipe()
    if recipe.image is not None:
        raise Refused(
            "TrainingFailed",
            f"the recipe is the image {recipe.image}, which runs in a cluster only;"
            " name an entry point instead",
        )
    samples = training_data(step, context)
    context.say("train", 0.0, f"{step}: {samples.count} samples to learn from")
    command = tuple(recipe.entrypoint) or (interpreter(), "-m", REFERENCE)
    work = folder.with_name(folder.name + ".training")
    try:
        return _searched(step, command, graph, context, folder, work, seconds)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def interpreter() -> str:
    return os.environ.get(PYTHON_VARIABLE) or sys.executable


def without_torch(python: str) -> str:
    return (
        f"PyTorch is missing in {python}: `pip install 'seawall[training]'`, or let {PYTHON_VARIABLE} name an"
        f" interpreter that has it, in a checkout by `export {PYTHON_VARIABLE}=$(tools/training-env)`"
    )


def _searched(
    step: str,
    command: tuple[str, ...],
    graph: Graph,
    context: Context,
    folder: Path,
    work: Path,
    seconds: float,
) -> Compressed:
    """The boldest ratio that keeps the floor; if none does, the closest, which the proof then refuses."""
    began = time.monotonic()
    ratio = recipes.RATIOS[step]
    best: tuple[float, Compressed] | None = None
    tried: list[str] = []
    for attempt in range(1 if context.order.recipe and context.order.recipe.entrypoint else TRIES[step]):
        left = seconds - (time.monotonic() - began)
        place = work / f"try-{attempt}"
        made = _once(step, command, graph, context, place, ratio, left)
        proof = context.measure(made.graph)
        gain = -proof.value if proof.metric == "relative-error" else proof.value
        if best is None or gain > best[0]:
            best = (gain, made)
        if proof.passed:
            break
        tried.append(f"ratio {ratio:.2f}: {proof.metric} {proof.value:.4f}, floor {proof.floor}")
        spent = time.monotonic() - began
        if spent + 1.5 * spent / (attempt + 1) > min(seconds, context.seconds):
            break
        ratio *= MILDER
    assert best is not None  # noqa: S101 - the loop runs at least once
    chosen = best[1]
    return Compressed(graphs.copy(chosen.graph.path, folder), chosen.method, chosen.excluded, tuple(tried))


def _once(
    step: str,
    command: tuple[str, ...],
    graph: Graph,
    context: Context,
    place: Path,
    ratio: float,
    seconds: float,
) -> Compressed:
    order = recipes.handover(step, graph, context, place / "recipe", ratio)
    run_recipe(command, order, context, seconds)
    return recipes.takeover(graph, order.parent, place / "made")


def run_recipe(command: tuple[str, ...], order: Path, context: Context, seconds: float) -> None:
    """Raises Refused with the recipe's own words, or with the last lines that it wrote."""

    def heard(line: str) -> None:
        percent, _, sentence = line.removeprefix("progress:").strip().partition(" ")
        if line.startswith("progress:") and percent.isdigit():
            context.say("train", min(float(percent), 100.0), sentence)

    ended = outside.run(
        command,
        # Threads that spin while they wait for one another starve on a node that others use too.
        {recipes.ORDER_VARIABLE: str(order.resolve()), "OMP_WAIT_POLICY": "PASSIVE"},
        order.parent.parent / "scratch",
        seconds,
        heard,
        refusal="TrainingFailed",
    )
    if ended.code == 0:
        return
    if ended.code is None:
        raise Refused(
            "TrainingFailed", f"the recipe was ended after {seconds:.0f} s; its last lines: {ended.tail}"
        )
    result = recipes.read_result(order.parent / "output")
    if "reason" in result:
        raise recipes.refusal(result)
    if _MISSING.search(ended.tail):
        raise Refused("TrainingFailed", without_torch(command[0]))
    raise Refused("TrainingFailed", f"the recipe ended with code {ended.code}; its last lines: {ended.tail}")

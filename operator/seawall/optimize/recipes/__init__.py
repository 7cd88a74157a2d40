"""The interface between a build and a recipe: whatever fine-tunes a pruned or distilled model.

A recipe is a program. It finds the order in the file that SEAWALL_RECIPE names, writes a model and a result
beside it, and ends. `handover` lays everything out, `takeover` judges what came back; what runs in between
may be a process of this machine or a container of someone else's image. docs/recipes.md tells it to authors.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seawall.optimize import graph as graphs
from seawall.optimize.recipes.judge import training_data
from seawall.optimize.types import (
    MODEL_FILE,
    REASONS,
    Compressed,
    Context,
    Graph,
    Refused,
    Signature,
    TensorSpec,
)

INTERFACE = 1
ORDER_FILE = "recipe.json"
RESULT_FILE = "result.json"
ORDER_VARIABLE = "SEAWALL_RECIPE"
RATIOS = {"pruned": 0.5, "distilled": 0.6, "sparse24": 0.5}
"""Share of the channels that goes, unless the search asks for less; of sparse24, of the weights, always."""
MAX_RESULT = 64 * 1024
MAX_SENTENCE = 2000


@dataclass(frozen=True, slots=True)
class RecipeOrder:
    """recipe.json; paths are relative to its own folder, so that the folder can be mounted anywhere."""

    step: str
    """pruned, distilled or sparse24"""
    ratio: float
    """share of the channels to remove, 0 to 1; of sparse24 the share of weights that are zero, 0.5"""
    epochs: int | None
    """None: the recipe knows best"""
    seed: int
    threads: int
    model: str = f"model/{MODEL_FILE}"
    data: str = "data.npz"
    output: str = "output"
    interface: int = INTERFACE

    @classmethod
    def read(cls, path: Path) -> RecipeOrder:
        """Raises ValueError for what no handover wrote."""
        raw = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(raw, dict) or raw.get("interface") != INTERFACE:
            raise ValueError(f"{path.name} is not of interface {INTERFACE}")
        try:
            return cls(**raw)
        except TypeError as error:
            raise ValueError(f"{path.name}: {error}") from error


def handover(step: str, graph: Graph, context: Context, folder: Path, ratio: float | None = None) -> Path:
    """Lays out all that a recipe needs in `folder`; the path of its recipe.json. Raises Refused.

    The folder may hold an earlier try: nothing of that one is left. It stays itself, being a mount perhaps.
    """
    training_data(step, context)
    assert context.training is not None  # noqa: S101 - else there was no data
    for part in ("model", "output"):
        shutil.rmtree(folder / part, ignore_errors=True)
    (folder / "output").mkdir(parents=True)
    graphs.copy(graph.path, folder / "model")
    shutil.copyfile(context.training, folder / "data.npz")
    recipe = context.order.recipe
    order = RecipeOrder(
        step=step,
        ratio=RATIOS[step] if ratio is None else ratio,
        epochs=recipe.epochs if recipe else None,
        seed=context.order.seed,
        threads=context.order.threads,
    )
    path = folder / ORDER_FILE
    path.write_text(json.dumps(asdict(order), indent=2) + "\n", encoding="utf-8")
    return path


def takeover(original: Graph, folder: Path, into: Path) -> Compressed:
    """What the recipe left in the folder of its order, copied to `into`. Raises Refused."""
    output = folder / "output"
    result = read_result(output)
    if "reason" in result:
        raise refusal(result)
    if not (output / MODEL_FILE).is_file() or (output / MODEL_FILE).is_symlink():
        raise Refused(
            "TrainingFailed", f"the recipe ended well but left no {MODEL_FILE} in its output folder"
        )
    try:
        graph = graphs.copy(output / MODEL_FILE, into)
        found = graphs.signature(graph)
    except Refused as error:
        raise Refused("TrainingFailed", f"the recipe's model cannot be used: {error.message}") from error
    _require_same(graphs.signature(original), found)
    method = result.get("method")
    told = method if isinstance(method, str) and method else "by a recipe of the user"
    return Compressed(graph, told[:MAX_SENTENCE])


def read_result(output: Path) -> dict[str, Any]:
    """result.json, or nothing where the recipe wrote none. Raises Refused for what is no JSON object."""
    path = output / RESULT_FILE
    if path.is_symlink() or not path.is_file():
        return {}
    with path.open("rb") as source:
        text = source.read(MAX_RESULT)
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused("TrainingFailed", f"the recipe's {RESULT_FILE} is no JSON: {error}") from error
    if not isinstance(raw, dict):
        raise Refused("TrainingFailed", f"the recipe's {RESULT_FILE} is no JSON object")
    return raw


def refusal(result: dict[str, Any]) -> Refused:
    """What a recipe says of itself; a reason that the pipeline does not know counts as TrainingFailed."""
    reason = result.get("reason")
    message = str(result.get("message") or "the recipe gave no sentence with its refusal")[:MAX_SENTENCE]
    return Refused(reason if isinstance(reason, str) and reason in REASONS else "TrainingFailed", message)


def _require_same(wanted: Signature, found: Signature) -> None:
    for role, before, after in (
        ("inputs", wanted.inputs, found.inputs),
        ("outputs", wanted.outputs, found.outputs),
    ):
        if len(before) != len(after) or not all(map(_fits, before, after)):
            raise Refused(
                "TrainingFailed",
                f"the recipe's model has other {role} than the original:"
                f" {_told(after)} instead of {_told(before)}",
            )
    if wanted.batched and not found.batched:
        raise Refused("TrainingFailed", "the recipe's model has lost the batch dimension of the original")


def _fits(before: TensorSpec, after: TensorSpec) -> bool:
    """A dimension that was fixed may have become free, never the other way."""
    return (
        before.name == after.name
        and before.dtype == after.dtype
        and len(before.shape) == len(after.shape)
        and all(b == a or a is None for b, a in zip(before.shape, after.shape, strict=True))
    )


def _told(specs: tuple[TensorSpec, ...]) -> str:
    told = (f"{s.name} {s.dtype}[{', '.join('?' if d is None else str(d) for d in s.shape)}]" for s in specs)
    return ", ".join(told) or "none"

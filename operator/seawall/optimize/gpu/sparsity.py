"""Preset sparse24: 2:4 zeros, fine-tuned where there is data for it, then fp16.

Sparse tensor cores do not pay in float, so the result is in fp16. The gate decides twice: on the zeros, and
on what fp16 made of them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from seawall.optimize import graph as graphs
from seawall.optimize.gpu.quantize import below_floor, measured, modelopt, settled
from seawall.optimize.gpu.sparse import dense, prune_2_4
from seawall.optimize.types import Compressed, Context, Graph, Refused

STEP = "sparse24"


def compress(graph: Graph, context: Context, folder: Path) -> Compressed:
    """Raises Refused where the zeros have no place, or the result is not right enough."""
    folder.mkdir(parents=True, exist_ok=True)
    made = _trained(graph, context, folder) or _in_one_shot(graph, context, folder)
    proof = context.measure(made.graph)
    if not proof.passed:
        problem = below_floor(STEP, proof, 0, 0)
        hint = "; 2:4 needs fine-tuning, which compression.training provides"
        raise Refused(problem.reason, problem.message + ("" if context.training else hint))
    half = modelopt("fp16", made.graph, context.calibration, (), folder / "try-0")
    proof = measured(half, context, folder)
    if not proof.passed:
        raise below_floor(f"{STEP} in fp16", proof, 0, 0)
    return Compressed(settled(half, folder), f"{made.method}, in fp16", tried=made.tried)


def _in_one_shot(graph: Graph, context: Context, folder: Path) -> Compressed:
    context.say("compress", None, "2:4 without fine-tuning: there is no data to train with")
    model = graphs.load(graph)
    pruned = prune_2_4(model)
    if not pruned:
        raise Refused("PresetUnsupported", "no layer has input channels in fours: 2:4 sparsity has no place")
    return Compressed(graphs.save(model, folder / "pruned"), f"2:4 by magnitude in {len(pruned)} weights")


def _trained(graph: Graph, context: Context, folder: Path) -> Compressed | None:
    """None where there is nothing to train with."""
    from seawall.optimize import recipes, train  # noqa: PLC0415

    if context.training is None:
        return None
    image = context.order.recipe is not None and context.order.recipe.image is not None
    if image and context.recipe is not None:
        if recipes.RecipeOrder.read(context.recipe / recipes.ORDER_FILE).step != STEP:
            return None  # `auto`: the image was handed one model, for another preset
        made = recipes.takeover(graph, context.recipe, folder / "trained")
    else:
        made = train.compress(STEP, graph, context, folder / "trained")
        shutil.rmtree(folder / "trained.training", ignore_errors=True)
    left = dense(graphs.load(made.graph))
    if left:
        raise Refused(
            "TrainingFailed",
            f"the recipe's model is not 2:4 sparse in {', '.join(left[:3])}: of every four weights along the"
            " input channels two must be zero",
        )
    return made

"""The reference recipe: prunes, thins out or distils a classifier, and fine-tunes it with the original's
answers.

Runs through the same interface as everyone's: `python -m seawall.optimize.recipes.classifier`.
"""

from __future__ import annotations

import copy
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from seawall.optimize import data
from seawall.optimize import graph as graphs
from seawall.optimize.recipes import ORDER_VARIABLE, RESULT_FILE, RecipeOrder
from seawall.optimize.train import network as networks
from seawall.optimize.train.export import exported
from seawall.optimize.train.prune import narrower, pruned
from seawall.optimize.train.sparse import masked
from seawall.optimize.train.tune import Keep, Plan, answers, tune
from seawall.optimize.types import Graph, Refused, Samples, Signature

EXAMPLES = 4
SMALL = 1_000_000
"""Parameters below which a second thread costs more in waiting than it saves on a busy node."""


def main() -> int:
    place = os.environ.get(ORDER_VARIABLE)
    if not place:
        print(f"{ORDER_VARIABLE} does not name an order; see docs/recipes.md", file=sys.stderr)  # noqa: T201
        return 1
    path = Path(place)
    order = RecipeOrder.read(path)
    output = path.parent / order.output
    try:
        result = trained(order, path.parent, output)
    except Refused as refused:
        result = {"reason": refused.reason, "message": refused.message}
    (output / RESULT_FILE).write_text(json.dumps(result) + "\n", encoding="utf-8")
    return 1 if "reason" in result else 0


def trained(order: RecipeOrder, folder: Path, output: Path) -> dict[str, Any]:
    """Leaves the model in `output`; what result.json says of it. Raises Refused."""
    torch.manual_seed(order.seed)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    graph = Graph((folder / order.model).parent)
    signature = graphs.signature(graph)
    _require_classifier(signature)
    samples = data.load(folder / order.data, signature, "training")
    teacher = networks.load(graph)
    inputs = [torch.from_numpy(samples.inputs[name].copy()) for name in teacher.inputs]
    example = tuple(values[:EXAMPLES] for values in inputs)
    labels = _labels(samples, answers(teacher, example).shape[1])
    before = _parameters(teacher)
    if before > SMALL:
        torch.set_num_threads(max(order.threads, 1))
    student = copy.deepcopy(teacher)
    keep: Keep | None = None
    if order.step == "pruned":
        pruned(student, example, order.ratio)
        done = f"structured pruning of {order.ratio:.0%} of the channels"
    elif order.step == "sparse24":
        keep = masked(student)
        done = "2:4 by magnitude"
    else:
        narrower(student, example, order.ratio, order.seed)
        done = f"a student with {order.ratio:.0%} fewer channels, trained from scratch"
    plan = Plan(order.step, order.epochs, order.seed)
    passes = tune(student, teacher, inputs, labels, plan, _say, keep)
    exported(student, signature, example, output)
    return {
        "method": f"{done}, {passes} passes over {samples.count} samples with the original's soft labels"
        f"{'' if labels is None else ' and the true ones'}",
        "parameters": {"before": before, "after": _parameters(student)},
        "passes": passes,
    }


def _require_classifier(signature: Signature) -> None:
    outputs = signature.outputs
    if len(outputs) == 1 and len(outputs[0].shape) == 2 and outputs[0].dtype == "float32":
        free = [spec.name for spec in signature.inputs if None in spec.shape[1:]]
        if not free:
            return
        raise Refused(
            "PresetUnsupported",
            "the reference recipe lets nothing but the batch vary;"
            f" the input {free[0]} has other free dimensions",
        )
    raise Refused(
        "PresetUnsupported",
        "the reference recipe is for classifiers: one output, float32, of the shape [batch, classes];"
        " bring a recipe of your own for anything else",
    )


def _labels(samples: Samples, classes: int) -> Any | None:
    if samples.labels is None:
        return None
    if samples.labels.min() < 0 or samples.labels.max() >= classes:
        raise Refused(
            "InvalidData",
            f"the training data has labels from {samples.labels.min()} to {samples.labels.max()},"
            f" the model has the classes 0 to {classes - 1}",
        )
    return torch.from_numpy(samples.labels.copy())


def _parameters(network: Any) -> int:
    return sum(value.numel() for value in network.parameters())


def _say(percent: float, sentence: str) -> None:
    print(f"progress: {percent:.0f} {sentence}", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())

"""An ONNX graph as a PyTorch network that can be pruned, trained and exported again.

Written here because onnx2torch (1.5.15) refuses what PyTorch's own exporter writes: every flattening is a
Reshape with allowzero. It would also keep the flattened size as a number, which pruning makes wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from torch import nn

from seawall.optimize import graph as graphs
from seawall.optimize.train.layers import build
from seawall.optimize.train.node import Node
from seawall.optimize.types import Array, Graph, Refused

FINAL = ("Softmax", "LogSoftmax")
WEIGHTED_OPS = ("Conv", "Gemm", "MatMul")
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, slots=True)
class Step:
    module: str
    op: str
    inputs: tuple[str, ...]
    output: str


class Network(nn.Module):  # type: ignore[misc]
    """Runs the graph's steps in their order."""

    def __init__(self, inputs: Sequence[str], output: str, steps: Sequence[Step], modules: Any) -> None:
        super().__init__()
        self.inputs, self.output, self.steps = tuple(inputs), output, tuple(steps)
        self.layers = nn.ModuleDict(modules)

    @property
    def final(self) -> str | None:
        """Softmax or LogSoftmax where the graph ends in one: training looks at what goes into it."""
        last = next(step for step in self.steps if step.output == self.output)
        return last.op if last.op in FINAL else None

    def forward(self, *given: Any) -> Any:
        return self._run(given, self.output)

    def logits(self, *given: Any) -> Any:
        last = next(step for step in self.steps if step.output == self.output)
        return self._run(given, last.inputs[0] if last.op in FINAL else self.output)

    def _run(self, given: Sequence[Any], wanted: str) -> Any:
        known = dict(zip(self.inputs, given, strict=True))
        for step in self.steps:
            known[step.output] = self.layers[step.module](*(known[name] for name in step.inputs))
            if step.output == wanted:
                break
        return known[wanted]

    def deciding(self) -> list[Any]:
        """The layers whose channels are the classes: no other layer with weights comes after them."""
        producers = {step.output: step for step in self.steps}
        found: list[Any] = []
        waiting: list[str] = [self.output]
        seen = set[str]()
        while waiting:
            name = waiting.pop()
            if name in seen or name not in producers:
                continue
            seen.add(name)
            step = producers[name]
            weighted = [m for m in self.layers[step.module].modules() if isinstance(m, WEIGHTED)]
            found += weighted
            if not weighted or any(getattr(m, "groups", 1) > 1 for m in weighted):
                waiting += step.inputs
        return found


def load(graph: Graph) -> Network:
    """Raises Refused with the operator's name where the network would not be the graph."""
    model = graphs.load(graph)
    if len(model.graph.output) != 1:
        raise _unsupported(f"it has {len(model.graph.output)} outputs, a classifier has one")
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    _require_float32(constants)
    nodes = _nodes(model, constants)
    steps: list[Step] = []
    modules: dict[str, Any] = {}
    for index, (node, output) in enumerate(nodes):
        module, inputs = build(node)
        modules[f"step{index}"] = module
        steps.append(Step(f"step{index}", node.op, inputs, output))
    output = str(model.graph.output[0].name)
    if output not in {step.output for step in steps}:
        raise _unsupported("its output is not computed by any node")
    entries = [value.name for value in model.graph.input if value.name not in constants]
    return Network(entries, output, steps, modules)


def _unsupported(why: str) -> Refused:
    return Refused(
        "PresetUnsupported",
        f"the reference recipe trains classifiers in float32, and this is none: {why};"
        " bring a recipe of your own",
    )


def _require_float32(constants: dict[str, Array]) -> None:
    for name, value in constants.items():
        if value.dtype.kind not in "iub" and value.dtype != np.float32:
            raise _unsupported(f"the weight {name} is {value.dtype}")


def _nodes(model: Any, constants: dict[str, Array]) -> list[tuple[Node, str]]:
    """The graph's nodes in order, constants taken out, MatMul and Add joined. Fills `constants`."""
    shapes = _shapes(model)
    late: set[str] = set()
    found: list[tuple[Node, str]] = []
    for node in model.graph.node:
        attributes = {item.name: _plain(onnx.helper.get_attribute_value(item)) for item in node.attribute}
        if node.op_type == "Constant" and "value" in attributes:
            constants[node.output[0]] = numpy_helper.to_array(attributes["value"])
            continue
        if node.domain not in ("", "ai.onnx"):
            raise _unsupported(f"the operator {node.op_type} is of the domain {node.domain}")
        if len([name for name in node.output if name]) != 1 and node.op_type != "Dropout":
            raise _unsupported(f"the operator {node.op_type} has several outputs")
        early = node.op_type not in WEIGHTED_OPS and late.isdisjoint(node.input)
        late |= set() if early else set(node.output)
        made = Node(node.op_type, tuple(node.input), attributes, constants, shapes, early)
        found.append((made, node.output[0]))
    return _with_biases(found, constants)


def _with_biases(found: list[tuple[Node, str]], constants: dict[str, Array]) -> list[tuple[Node, str]]:
    """A MatMul whose only reader adds a vector is one linear layer, and is pruned as one."""
    readers: dict[str, int] = {}
    for node, _ in found:
        for name in node.inputs:
            readers[name] = readers.get(name, 0) + 1
    joined: list[tuple[Node, str]] = []
    for node, output in found:
        if node.op == "Add" and joined and joined[-1][0].op == "MatMul" and readers[joined[-1][1]] == 1:
            before, made = joined[-1]
            others = [name for name in node.inputs if name != made]
            vector = constants.get(others[0]) if len(others) == 1 else None
            weight = constants.get(before.inputs[1])
            fits = vector is not None and weight is not None and vector.shape == weight.shape[1:]
            if made in node.inputs and fits:
                joined[-1] = (replace(before, inputs=(*before.inputs, others[0])), output)
                continue
        joined.append((node, output))
    return joined


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _shapes(model: Any) -> dict[str, tuple[int | None, ...]]:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return {
        value.name: tuple(
            d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim
        )
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }

"""Whether a model can be built and served at all, before hours are spent on it.

Each refusal is one sentence that says what is wrong with the model, not where a library gave up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from seawall.optimize import graph as graphs
from seawall.optimize.types import BuildOrder, Graph, Refused, Signature, Target

ASSUMED_LENGTH = 128
"""Size of a dimension that varies and is not the batch, where the need for memory is estimated."""
_LARGE = 1 << 16
_STANDARD = ("", "ai.onnx")


def check(graph: Graph, target: Target, order: BuildOrder) -> Signature:
    """What the model takes and gives. Raises Refused."""
    model = structure(graph)
    signature = graphs.signature_of(model)
    _forget_values(model)
    if order.max_batch_size > 1 and not signature.batched:
        raise _unbatched(signature, order.max_batch_size)
    need = memory_estimate(model, signature, order.max_batch_size) * max(1, order.instances)
    if target.memory_bytes is not None and need > target.memory_bytes:
        raise Refused(
            "OutOfMemory",
            f"the model needs about {_mib(need)} with batches of {order.max_batch_size} and"
            f" {max(1, order.instances)} instance(s), and {target.name} has {_mib(target.memory_bytes)}",
            {"estimatedBytes": need, "memoryBytes": target.memory_bytes},
        )
    graphs.session(graph, optimised=False)
    return signature


def structure(graph: Graph) -> Any:
    """The model without its weights, once it is known to be ONNX with operators that exist."""
    model = graphs.load(graph, weights=False)
    require_known_operators(model)
    try:
        onnx.checker.check_model(str(graph.path))
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        first = " ".join(str(error).split())[:400]
        raise Refused("InvalidModel", f"{graph.path.name} is not valid ONNX: {first}") from error
    return model


def require_known_operators(model: Any) -> None:
    known = _known_operators()
    known |= {(function.domain, function.name) for function in model.functions}
    for node in graphs.all_nodes(model):
        domain = "" if node.domain in _STANDARD else node.domain
        if (domain, node.op_type) not in known:
            name = f"{domain}::{node.op_type}" if domain else node.op_type
            at = f"node {node.name!r}" if node.name else f"the node that gives {node.output[0]!r}"
            raise Refused(
                "CustomOps",
                f"{at} uses the operator {name}, which ONNX Runtime does not know; custom operators cannot be"
                " served, so export the model with standard ones",
                {"operator": name, "node": node.name},
            )


def _known_operators() -> set[tuple[str, str]]:
    standard = {(schema.domain, schema.name) for schema in onnx.defs.get_all_schemas()}
    own = {(schema.domain, schema.name) for schema in runtime.get_all_operator_schema()}
    return {("" if domain in _STANDARD else domain, name) for domain, name in standard | own}


def _unbatched(signature: Signature, size: int) -> Refused:
    for role, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for spec in specs:
            if not spec.shape or spec.shape[0] is not None:
                shape = ", ".join("?" if d is None else str(d) for d in spec.shape)
                return Refused(
                    "InvalidModel",
                    f"{role} {spec.name} has the shape [{shape}], whose first dimension does not vary, so"
                    f" there can be no batches of {size}; export the model with a dynamic batch dimension or"
                    " set maxBatchSize: 0",
                )
    return Refused("InvalidModel", "the model has no inputs, so there is nothing to batch")


def memory_estimate(model: Any, signature: Signature, batch: int) -> int:
    """Weights, plus the most bytes of intermediate results that live at once at the largest batch.

    Nodes run in the order of the file and a result lives until its last reader, which is what ONNX Runtime's
    own planner does at best; branches and loops count by their results only. A dimension of unknown size
    counts as the batch where it comes first, else as ASSUMED_LENGTH. Buffers of kernels are not counted:
    the estimate errs low, so that what is refused is hopeless.
    """
    sizes = _result_bytes(model, max(1, batch) if signature.batched else 1)
    last: dict[str, int] = {}
    for index, node in enumerate(model.graph.node):
        for name in (*node.input, *node.output):
            last[name] = index
    alive = peak = sum(sizes.get(spec.name, 0) for spec in signature.inputs)
    for index, node in enumerate(model.graph.node):
        alive += sum(sizes.get(name, 0) for name in node.output)
        peak = max(peak, alive)
        alive -= sum(sizes.get(n, 0) for n in {*node.input, *node.output} if last[n] == index)
    return graphs.weight_bytes(model) + peak


def _result_bytes(model: Any, batch: int) -> dict[str, int]:
    return {value.name: _bytes(value, batch) for value in _values(model)}


def _values(model: Any) -> Iterator[Any]:
    yield from model.graph.input
    yield from model.graph.output
    if model.graph.value_info:
        yield from model.graph.value_info
    else:
        yield from onnx.shape_inference.infer_shapes(model).graph.value_info


def _forget_values(model: Any) -> None:
    """Of large tensors: from here on shapes are enough, and inferring them copies what the model holds."""
    for tensor in graphs.tensors(model):
        if graphs.tensor_bytes(tensor) > _LARGE:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")


def _bytes(value: Any, batch: int) -> int:
    tensor = value.type.tensor_type
    if value.type.WhichOneof("value") != "tensor_type" or not tensor.elem_type:
        return 0
    if tensor.elem_type == onnx.TensorProto.STRING:
        return 0
    dims = [
        d.dim_value if d.dim_value > 0 else (batch if position == 0 else ASSUMED_LENGTH)
        for position, d in enumerate(tensor.shape.dim)
    ]
    size = int(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize)
    return int(np.prod(dims, dtype=np.int64)) * size


def _mib(count: int) -> str:
    return f"{count / (1 << 20):.0f} MiB"

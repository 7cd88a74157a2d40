"""ONNX to StableHLO, for networks of convolutions and dense layers. Started as a script in jax's environment.

No maintained translator exists, so this one knows few operators and refuses the rest by name. It imports
nothing of this project. The graph's own types are kept: a graph in bf16 becomes a program in bf16.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from jax import export, lax
from onnx import helper, numpy_helper

Attributes = dict[str, Any]


class Untranslatable(Exception):
    pass


def main(request: dict[str, Any]) -> None:
    model = onnx.load(request["model"])
    constants = {i.name: _constant(i) for i in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in constants]
    (batch,) = export.symbolic_shape("batch")
    avals = {i.name: _aval(i, batch) for i in inputs}
    program = _program(model.graph, constants)
    made = export.export(jax.jit(program), platforms=request["platforms"])(avals)
    Path(request["out"]).write_bytes(made.serialize())


def _constant(tensor: onnx.TensorProto) -> Any:
    """bf16 needs the type that jax knows it by."""
    array = numpy_helper.to_array(tensor)
    if tensor.data_type == onnx.TensorProto.BFLOAT16:
        return np.asarray(array).astype(jnp.bfloat16)
    return np.asarray(array)


def _aval(value: Any, batch: Any) -> Any:
    tensor = value.type.tensor_type
    known = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
    if any(size is None for size in known[1:]):
        raise Untranslatable(f"input {value.name} varies in more than the batch")
    shape = [batch if size is None else size for size in known]
    return jax.ShapeDtypeStruct(tuple(shape), helper.tensor_dtype_to_np_dtype(tensor.elem_type))


def _program(graph: onnx.GraphProto, constants: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    unknown = sorted({node.op_type for node in graph.node if node.op_type not in OPS or node.domain})
    if unknown:
        raise Untranslatable(f"no translation of {', '.join(unknown)}")

    def program(inputs: dict[str, Any]) -> dict[str, Any]:
        values = {"": None, **constants, **inputs}
        for node in graph.node:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            made = OPS[node.op_type](attributes, *(values[name] for name in node.input))
            outputs = made if isinstance(made, tuple) else (made,)
            values.update(zip(node.output, outputs, strict=False))
        return {output.name: jnp.asarray(values[output.name]) for output in graph.output}

    return program


def _pads(a: Attributes, rank: int) -> Any:
    if a.get("auto_pad", b"NOTSET") in (b"SAME_UPPER", b"SAME_LOWER"):
        return a["auto_pad"].decode().replace("SAME_UPPER", "SAME")
    flat = a.get("pads", [0] * 2 * rank)
    return list(zip(flat[:rank], flat[rank:], strict=True))


def conv(a: Attributes, x: Any, w: Any, b: Any = None) -> Any:
    rank = x.ndim - 2
    made = lax.conv_general_dilated(
        x,
        jnp.asarray(w),
        a.get("strides", [1] * rank),
        _pads(a, rank),
        rhs_dilation=a.get("dilations", [1] * rank),
        feature_group_count=a.get("group", 1),
    )
    return made if b is None else made + jnp.reshape(b, (1, -1, *[1] * rank))


def gemm(a: Attributes, x: Any, w: Any, b: Any = None) -> Any:
    x = x.T if a.get("transA") else x
    made = jnp.matmul(x, jnp.asarray(w).T if a.get("transB") else w)
    made = made if a.get("alpha", 1.0) == 1.0 else made * jnp.asarray(a["alpha"], made.dtype)
    if b is None:
        return made
    return made + (b if a.get("beta", 1.0) == 1.0 else b * jnp.asarray(a["beta"], made.dtype))


def _pool(a: Attributes, x: Any, start: Any, combine: Any) -> Any:
    if a.get("ceil_mode"):
        raise Untranslatable("pooling with ceil_mode")
    kernel, rank = a["kernel_shape"], x.ndim - 2
    pads = _pads(a, rank)
    pads = pads if isinstance(pads, str) else [(0, 0), (0, 0), *pads]
    strides = a.get("strides", [1] * rank)
    dilation = (1, 1, *a.get("dilations", [1] * rank))
    return lax.reduce_window(
        x, start, combine, (1, 1, *kernel), (1, 1, *strides), pads, window_dilation=dilation
    )


def max_pool(a: Attributes, x: Any) -> Any:
    return _pool(a, x, np.asarray(-np.inf, x.dtype), lax.max)


def average_pool(a: Attributes, x: Any) -> Any:
    zero = np.asarray(0, x.dtype)
    total = _pool(a, x, zero, lax.add)
    ones = jnp.ones((1, 1, *x.shape[2:]), x.dtype)
    if a.get("count_include_pad"):
        return total / np.asarray(np.prod(a["kernel_shape"]), x.dtype)
    return total / _pool(a, ones, zero, lax.add)


def reshape(a: Attributes, x: Any, shape: Any) -> Any:
    wanted = [int(size) for size in np.asarray(shape)]
    if not a.get("allowzero"):
        wanted = [x.shape[i] if size == 0 else size for i, size in enumerate(wanted)]
    return jnp.reshape(x, wanted)


def flatten(a: Attributes, x: Any) -> Any:
    axis = a.get("axis", 1)
    if axis == 0:
        return jnp.reshape(x, (1, -1))
    lead = 1
    for size in x.shape[:axis]:
        lead = lead * size
    return jnp.reshape(x, (lead, -1))


def dequantize(a: Attributes, x: Any, scale: Any, zero: Any = None) -> Any:
    scale = jnp.asarray(scale)
    if scale.ndim:
        shape = [1] * x.ndim
        shape[a.get("axis", 1)] = -1
        scale = scale.reshape(shape)
        zero = None if zero is None else jnp.reshape(zero, shape)
    whole = jnp.asarray(x).astype(scale.dtype)
    return (whole if zero is None else whole - jnp.asarray(zero).astype(scale.dtype)) * scale


def batch_normalization(a: Attributes, x: Any, scale: Any, b: Any, mean: Any, var: Any) -> Any:
    shape = (1, -1, *[1] * (x.ndim - 2))
    factor = scale / np.sqrt(var + a.get("epsilon", 1e-5)).astype(scale.dtype)
    return x * factor.reshape(shape) + (b - mean * factor).reshape(shape)


def clip(a: Attributes, x: Any, low: Any = None, high: Any = None) -> Any:
    return jnp.clip(x, a.get("min", low), a.get("max", high))


def cast(a: Attributes, x: Any) -> Any:
    if a["to"] == onnx.TensorProto.BFLOAT16:
        return jnp.asarray(x).astype(jnp.bfloat16)
    return jnp.asarray(x).astype(helper.tensor_dtype_to_np_dtype(a["to"]))


def _axes(a: Attributes, axes: Any) -> tuple[int, ...]:
    return tuple(int(i) for i in np.asarray(a.get("axes", axes)))


OPS: dict[str, Callable[..., Any]] = {
    "Add": lambda a, x, y: x + y,
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Cast": cast,
    "Clip": clip,
    "Concat": lambda a, *xs: jnp.concatenate(xs, a["axis"]),
    "Constant": lambda a: _constant(a["value"]),
    "Conv": conv,
    "DequantizeLinear": dequantize,
    "Div": lambda a, x, y: x / y,
    "Dropout": lambda a, x, *rest: x,
    "Flatten": flatten,
    "Gemm": gemm,
    "GlobalAveragePool": lambda a, x: jnp.mean(x, tuple(range(2, x.ndim)), keepdims=True),
    "Identity": lambda a, x: x,
    "LeakyRelu": lambda a, x: jax.nn.leaky_relu(x, a.get("alpha", 0.01)),
    "LogSoftmax": lambda a, x: jax.nn.log_softmax(x, a.get("axis", -1)),
    "MatMul": lambda a, x, y: jnp.matmul(x, y),
    "MaxPool": max_pool,
    "Mul": lambda a, x, y: x * y,
    "Relu": lambda a, x: jnp.maximum(x, np.asarray(0, x.dtype)),
    "Reshape": reshape,
    "Sigmoid": lambda a, x: jax.nn.sigmoid(x),
    "Softmax": lambda a, x: jax.nn.softmax(x, a.get("axis", -1)),
    "Squeeze": lambda a, x, axes=None: jnp.squeeze(x, _axes(a, axes)),
    "Sub": lambda a, x, y: x - y,
    "Tanh": lambda a, x: jnp.tanh(x),
    "Transpose": lambda a, x: jnp.transpose(x, a.get("perm")),
    "Unsqueeze": lambda a, x, axes=None: jnp.expand_dims(x, _axes(a, axes)),
}


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))

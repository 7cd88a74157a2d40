"""One synthetic question to a model and what is asked of its answer.

A ready model server may still answer nonsense: 200 with no bytes in the tensor, NaN everywhere, rows of a
batch mixed up. None of that needs to know the model: its own declaration says what an answer looks like.
numpy and tritonclient are imported here, so this module is imported on the first question only.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from tritonclient.http import InferInput
from tritonclient.utils import triton_to_np_dtype

FREE_SIZES = (16, 64, 224)
"""Sizes tried for dimensions that the model leaves open: token sequences take the first, convolutions may
need a picture."""
LARGEST_BATCHED_ROW = 8 * 1024 * 1024
"""Rows above this are asked one at a time: the operator's memory is not the place for a batch of them."""
DETERMINISTIC = frozenset({"onnxruntime", "onnxruntime_onnx", "tensorrt", "tensorrt_plan"})
FLOATS = frozenset({"FP16", "BF16", "FP32", "FP64"})
TOLERANCE = {"FP16": 0.05, "BF16": 0.05, "FP32": 0.02, "FP64": 0.02}
"""Share of the largest value by which two answers may differ: kernels differ with the batch size, and
TensorFloat-32 alone costs three digits. Mixed-up rows differ by far more."""

Arrays = dict[str, Any]


class Result(Protocol):
    """An answer, over either protocol."""

    def get_output(self, name: str) -> Mapping[str, Any] | None:
        """datatype, shape, parameters.binary_data_size"""

    def as_numpy(self, name: str) -> Any: ...


class WrongAnswer(Exception):
    """The answer cannot be right; the message says why."""


class Refused(WrongAnswer):
    """The server would not compute an answer; the message is its own."""


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str
    datatype: str
    shape: tuple[int, ...]
    """as the metadata declares it, with the batch dimension; -1 is free"""


@dataclass(frozen=True, slots=True)
class Model:
    """A model as it describes itself over the wire."""

    name: str
    max_batch_size: int
    deterministic: bool
    """a plain graph, whose answer to the same question is the same"""
    sequence: bool
    decoupled: bool
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    known_dims: Mapping[str, tuple[int, ...]]
    """dims (without batch) that the model's warm-up uses for an input"""

    @property
    def free_dims(self) -> bool:
        return any(-1 in t.shape[1:] for t in self.inputs if t.name not in self.known_dims)


def read_model(config: Mapping[str, Any], metadata: Mapping[str, Any]) -> Model:
    declared = {i["name"]: i for i in config.get("input", ())}
    inputs = _tensors(metadata["inputs"])
    needed = tuple(t for t in inputs if not declared.get(t.name, {}).get("optional", False))
    known: dict[str, tuple[int, ...]] = {}
    for warmup in config.get("model_warmup", ()):
        for name, sample in warmup.get("inputs", {}).items():
            known.setdefault(name, tuple(int(d) for d in sample.get("dims", ())))
    return Model(
        name=metadata["name"],
        max_batch_size=int(config.get("max_batch_size", 0)),
        deterministic=bool({config.get("backend"), config.get("platform")} & DETERMINISTIC),
        sequence="sequence_batching" in config,
        decoupled=bool(config.get("model_transaction_policy", {}).get("decoupled", False)),
        inputs=needed or inputs,
        outputs=_tensors(metadata["outputs"]),
        known_dims=known,
    )


def _tensors(declared: Sequence[Mapping[str, Any]]) -> tuple[Tensor, ...]:
    return tuple(Tensor(t["name"], t["datatype"], tuple(int(d) for d in t["shape"])) for t in declared)


def row(model: Model, size: int) -> Arrays:
    """One row for every input, the same each time; dimensions left open get this size, the first one 1."""
    return {t.name: _values(t, _shape(t, model, size)) for t in model.inputs}


def _shape(tensor: Tensor, model: Model, size: int) -> tuple[int, ...]:
    batched = model.max_batch_size > 0
    known = model.known_dims.get(tensor.name)
    if known is not None and len(known) == len(tensor.shape) - batched:
        return (1, *known) if batched else known
    return tuple(d if d >= 0 else (1 if i == 0 else size) for i, d in enumerate(tensor.shape))


def _values(tensor: Tensor, shape: tuple[int, ...]) -> Any:
    if tensor.datatype == "BYTES":
        return np.full(shape, b"seawall", dtype=np.object_)
    dtype = triton_to_np_dtype(tensor.datatype)
    if dtype is None:
        raise WrongAnswer(f"input {tensor.name} has the unknown datatype {tensor.datatype}")
    if tensor.datatype in FLOATS:
        generator = np.random.default_rng(zlib.crc32(tensor.name.encode()))
        return generator.random(shape, dtype=np.float32).astype(dtype)
    return np.ones(shape, dtype=dtype)


def twice(arrays: Arrays) -> Arrays:
    """The same row, two times, as a batch."""
    return {name: np.concatenate([array, array]) for name, array in arrays.items()}


def worth_batching(model: Model, arrays: Arrays) -> bool:
    if model.sequence:  # the sequence batcher refuses more than one row
        return False
    size = sum(int(array.nbytes) for array in arrays.values())
    return model.max_batch_size > 1 and size <= LARGEST_BATCHED_ROW


def encode(model: Model, arrays: Arrays) -> list[Any]:
    encoded = []
    for tensor in model.inputs:
        array = arrays[tensor.name]
        encoded.append(InferInput(tensor.name, list(array.shape), tensor.datatype))
        encoded[-1].set_data_from_numpy(array)
    return encoded


def decode(model: Model, result: Result, rows: int) -> Arrays:
    """The answer's arrays, each as the model declares it and finite; anything else is a wrong answer."""
    arrays = decode_any(model, result, rows)
    for tensor in model.outputs:
        if tensor.datatype in FLOATS and not np.isfinite(arrays[tensor.name].astype(np.float64)).all():
            raise WrongAnswer(f"output {tensor.name} holds NaN or infinity for an ordinary input")
    return arrays


def decode_any(model: Model, result: Result, rows: int) -> Arrays:
    """The same, whatever numbers there are."""
    return {t.name: _decode_one(t, result, rows, batched=model.max_batch_size > 0) for t in model.outputs}


def _decode_one(tensor: Tensor, result: Result, rows: int, *, batched: bool) -> Any:
    given = result.get_output(tensor.name)
    if given is None:
        raise WrongAnswer(f"output {tensor.name} is missing from the answer")
    if given["datatype"] != tensor.datatype:
        raise WrongAnswer(f"output {tensor.name} is {given['datatype']}, declared {tensor.datatype}")
    shape = tuple(int(d) for d in given["shape"])
    declared = (rows, *tensor.shape[1:]) if batched else tensor.shape
    if len(shape) != len(declared) or any(d not in (-1, s) for d, s in zip(declared, shape, strict=True)):
        raise WrongAnswer(f"output {tensor.name} has shape {list(shape)}, declared {list(declared)}")
    _check_size(tensor, shape, given.get("parameters", {}).get("binary_data_size"))
    try:
        return result.as_numpy(tensor.name)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise WrongAnswer(f"output {tensor.name} does not hold what its shape promises: {error}") from error


def _check_size(tensor: Tensor, shape: tuple[int, ...], size: int | None) -> None:
    if size is None or tensor.datatype == "BYTES":
        return  # as JSON or as strings: as_numpy counts the elements
    dtype = triton_to_np_dtype(tensor.datatype)
    wanted = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size != wanted:
        raise WrongAnswer(
            f"output {tensor.name} has {size} bytes of data; shape {list(shape)} of {tensor.datatype} "
            f"is {wanted}"
        )


def compare_repeats(model: Model, first: Arrays, second: Arrays) -> str | None:
    """A remark where the same question got two answers; for a plain graph that is a wrong answer."""
    for tensor in model.outputs:
        a, b = first[tensor.name], second[tensor.name]
        if a.shape != b.shape or not _agree(tensor, a, b):
            return _verdict(model, f"output {tensor.name} differs between two identical requests")
    return None


def compare_batch(model: Model, single: Arrays, batch: Arrays, *, repeatable: bool) -> str | None:
    """Whether both rows of the batch are the single row's answer."""
    for tensor in model.outputs:
        one, two = single[tensor.name], batch[tensor.name]
        if two.shape[1:] != one.shape[1:]:
            problem = (
                f"output {tensor.name} has rows of shape {list(two.shape[1:])} in a batch of 2 and "
                f"{list(one.shape[1:])} alone"
            )
            if repeatable:
                raise WrongAnswer(problem)
            return problem
        if not (_agree(tensor, one[0], two[0]) and _agree(tensor, one[0], two[1])):
            return _verdict(
                model, f"output {tensor.name} differs between a request alone and the same in a batch of 2"
            )
    return None


def _agree(tensor: Tensor, a: Any, b: Any) -> bool:
    if tensor.datatype not in FLOATS:
        return bool(np.array_equal(a, b))
    a, b = a.astype(np.float64), b.astype(np.float64)
    scale = max(float(np.abs(a).max(initial=0.0)), 1e-6)
    return float(np.abs(a - b).max(initial=0.0)) <= TOLERANCE[tensor.datatype] * scale


def _verdict(model: Model, problem: str) -> str:
    """A remark for models that may be random on purpose, a wrong answer from a plain graph."""
    if model.deterministic:
        raise WrongAnswer(problem)
    return f"{problem}; accepted, because this backend may answer at random on purpose"

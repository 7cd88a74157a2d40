"""Evaluation and calibration data: `.npz` files judged before they are believed, or inputs made up instead.

A file is read without pickle, and its sizes are taken from the zip directory and the arrays' own headers
before a single array is unpacked.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from seawall.optimize.types import Array, Refused, Samples, Signature, TensorSpec

LABELS = "labels"
FEWEST = 8
"""Samples below which neither a range nor an interval means anything: a t interval on 7 values is wider than
any floor allows, and a quantile of 7 activations is their maximum."""
MAX_BYTES = 2 * 2**30
"""of all arrays, unpacked: they are held in memory"""
MAX_ARRAYS = 64
GENERATED = 64
MOST_TO_CALIBRATE = 64
UNKNOWN_LENGTH = 16
"""for a dimension that varies and is not the batch"""
LARGEST_TOKEN = 100
"""every vocabulary has that many entries"""


def load(path: Path, signature: Signature, source: str) -> Samples:
    """The samples of one file. `source`: evaluation or calibration. Raises Refused."""
    what = f"the {source} data"
    arrays = _read(path, what)
    labels = arrays.pop(LABELS, None) if LABELS not in {i.name for i in signature.inputs} else None
    _require_names(arrays, signature, what)
    inputs = {
        spec.name: _fitted(arrays[spec.name], spec, signature.batched, what) for spec in signature.inputs
    }
    counts = {name: len(array) for name, array in inputs.items()}
    if labels is not None:
        labels = _labels(labels, what)
        counts[LABELS] = len(labels)
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise _invalid(f"{what} has not the same number of samples in every array: {told}")
    samples = Samples(inputs, labels, source)
    if samples.count < FEWEST:
        raise Refused("TooFewSamples", f"{what} has {samples.count} samples; at least {FEWEST} are needed")
    return samples


def generated(signature: Signature, seed: int, count: int = GENERATED) -> Samples:
    """Made-up inputs, the same for the same seed: they show that a graph runs, hardly that it is right."""
    random = np.random.default_rng(seed)
    inputs = {spec.name: _made_up(spec, signature.batched, count, random) for spec in signature.inputs}
    return Samples(inputs, None, "generated")


def shared_out(paths: Mapping[str, Path], signature: Signature, seed: int) -> tuple[Samples, Samples]:
    """What proves and what calibrates, never the same samples unless there is only calibration data.

    Of evaluation data alone, a part chosen at random calibrates and takes no part in the proof.
    """
    given = {
        name: load(paths[name], signature, name) for name in ("evaluation", "calibration") if name in paths
    }
    if "calibration" in given:
        return given.get("evaluation", given["calibration"]), given["calibration"]
    if "evaluation" not in given:
        return generated(signature, seed), generated(signature, seed + 1)
    evaluation = given["evaluation"]
    share = min(MOST_TO_CALIBRATE, evaluation.count // 5)
    if share < FEWEST:
        return evaluation, generated(signature, seed + 1)
    shuffled = np.random.default_rng(seed).permutation(evaluation.count)
    return chosen(evaluation, np.sort(shuffled[share:])), chosen(
        evaluation, np.sort(shuffled[:share]), source="calibration"
    )


def chosen(samples: Samples, rows: Array, source: str | None = None) -> Samples:
    """Some of the samples."""
    labels = None if samples.labels is None else samples.labels[rows]
    inputs = {name: array[rows] for name, array in samples.inputs.items()}
    return Samples(inputs, labels, source or samples.source)


def _invalid(message: str) -> Refused:
    return Refused("InvalidData", message)


def _read(path: Path, what: str) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _require_size(entries, what)
            return {entry.filename.removesuffix(".npy"): _array(archive, entry, what) for entry in entries}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise _invalid(f"{what} ({path.name}) is no readable .npz file: {error}") from error


def _require_size(entries: list[zipfile.ZipInfo], what: str) -> None:
    if not entries:
        raise _invalid(f"{what} holds no array")
    if len(entries) > MAX_ARRAYS:
        raise _invalid(f"{what} holds {len(entries)} arrays; {MAX_ARRAYS} are the most")
    total = sum(entry.file_size for entry in entries)
    if total > MAX_BYTES:
        raise _invalid(f"{what} unpacks to {total} bytes; {MAX_BYTES} are the most")


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, what: str) -> Array:
    """Header first: a shape that the entry cannot hold is never allocated, objects are never unpickled."""
    name = entry.filename.removesuffix(".npy")
    try:
        with archive.open(entry) as source:
            shape, dtype = _header(source)
            if dtype.hasobject:
                raise _invalid(
                    f"{what}: array {name} holds Python objects, which are not read; save plain numbers"
                )
            if math.prod(shape) * dtype.itemsize + source.tell() != entry.file_size:
                raise _invalid(f"{what}: array {name} is cut short or says a wrong size")
        with archive.open(entry) as source:
            return np.asarray(npy.read_array(source, allow_pickle=False))
    except ValueError as error:
        raise _invalid(f"{what}: {entry.filename} is no array of numpy: {error}") from error


def _header(source: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(source)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(source)
    return shape, dtype


def _require_names(arrays: Mapping[str, Array], signature: Signature, what: str) -> None:
    wanted = [spec.name for spec in signature.inputs]
    for name in wanted:
        if name not in arrays:
            raise _invalid(f"{what} has no array {name}; found are {_listed(arrays)}")
    for name in arrays:
        if name not in wanted:
            raise _invalid(
                f"{what} has an array {name}, which is no input of the model; inputs are {_listed(wanted)}"
            )


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"


def _fitted(array: Array, spec: TensorSpec, batched: bool, what: str) -> Array:
    """The array as the input takes it, first axis = sample."""
    per_sample = spec.shape[1:] if batched else spec.shape
    if not batched and array.ndim == len(spec.shape) and spec.shape[:1] == (1,):
        array = array[:, np.newaxis]
    _require_shape(array, per_sample, spec, what)
    return _cast(array, spec, what)


def _require_shape(array: Array, per_sample: tuple[int | None, ...], spec: TensorSpec, what: str) -> None:
    expected = ", ".join(["samples", *("?" if d is None else str(d) for d in per_sample)])
    fits = array.ndim == len(per_sample) + 1 and all(
        wanted in (None, found) for wanted, found in zip(per_sample, array.shape[1:], strict=True)
    )
    if not fits:
        raise _invalid(
            f"{what}: array {spec.name} has the shape {list(array.shape)}, expected is [{expected}]"
        )
    if array.size == 0:
        raise _invalid(f"{what}: array {spec.name} is empty, its shape is {list(array.shape)}")


def _cast(array: Array, spec: TensorSpec, what: str) -> Array:
    if spec.dtype == "object":
        if array.dtype.kind not in "US":
            raise _wrong_type(array, spec, what)
        return array.astype(object)
    wanted = np.dtype(spec.dtype)
    if not np.can_cast(array.dtype, wanted, "same_kind"):
        raise _wrong_type(array, spec, what)
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        at = int(np.argwhere(~np.isfinite(array))[0][0])
        raise _invalid(
            f"{what}: array {spec.name} holds NaN or Inf, first in sample {at}; expected are numbers"
        )
    with np.errstate(over="ignore"):
        cast = array.astype(wanted, copy=False)
    if wanted.kind in "iu" and array.dtype.kind in "iu" and not np.array_equal(cast, array):
        raise _invalid(f"{what}: array {spec.name} holds values that do not fit into {wanted.name}")
    if wanted.kind == "f" and not np.isfinite(cast).all():
        raise _invalid(f"{what}: array {spec.name} holds values too large for {wanted.name}")
    return cast


def _wrong_type(array: Array, spec: TensorSpec, what: str) -> Refused:
    wanted = "strings" if spec.dtype == "object" else spec.dtype
    return _invalid(f"{what}: array {spec.name} is {array.dtype.name}, expected is {wanted}")


def _labels(labels: Array, what: str) -> Array:
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.ndim != 1 or flat.dtype.kind not in "iu":
        raise _invalid(
            f"{what}: labels are {labels.dtype.name} of shape {list(labels.shape)},"
            " expected is one whole number per sample"
        )
    return flat.astype(np.int64)


def _made_up(spec: TensorSpec, batched: bool, count: int, random: np.random.Generator) -> Array:
    per_sample = spec.shape[1:] if batched else spec.shape
    shape = (count, *(UNKNOWN_LENGTH if d is None else d for d in per_sample))
    if spec.dtype == "object":
        return np.full(shape, "seawall", dtype=object)
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "b" or "mask" in spec.name.lower():
        return np.ones(shape, dtype)
    if "position" in spec.name.lower() and dtype.kind in "iu":
        return np.broadcast_to(np.arange(shape[-1], dtype=dtype), shape).copy()
    if dtype.kind in "iu":
        # Segment ids have two values; 8-bit inputs are pictures; the rest are entries of some table.
        largest = 1 if "type" in spec.name.lower() else 255 if dtype == np.uint8 else LARGEST_TOKEN
        return random.integers(0, largest, shape, endpoint=True).astype(dtype)
    return random.standard_normal(shape).astype(dtype)

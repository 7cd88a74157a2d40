"""Recorded inputs: `.npz` files from somebody else, judged before they are believed.

They prove a build and compare two revisions. They are read without pickle, and their sizes are taken from the
zip directory and the arrays' own headers before a single array is unpacked.
"""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

Array = npt.NDArray[Any]

LABELS = "labels"
MAX_ARRAYS = 64
STRING_BYTES = 64
"""What a string costs at least once it is an object of Python's, however short it is in the file."""
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What numpy writes; others allocate what the file tells them to before they have read it."""
NO_ZIP = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error,
    IndexError, OverflowError,
)  # fmt: skip
NO_ARRAY = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, SyntaxError, tokenize.TokenError,
    MemoryError, RecursionError, OverflowError, struct.error,
)  # fmt: skip
"""A header is a literal of Python's, and numpy lets what comes of parsing one through."""


class Unfit(Exception):
    """The samples cannot be used; one sentence says why."""


class Spec(Protocol):
    """An input as the model declares it."""

    @property
    def name(self) -> str: ...

    @property
    def dtype(self) -> str:
        """numpy's name, such as float32 or int64; "object" for strings"""

    @property
    def shape(self) -> tuple[int | None, ...]:
        """None where the dimension varies"""


def read(source: IO[bytes], what: str, most_bytes: int) -> dict[str, Array]:
    """Every array of the file by name. `most_bytes`: of all of them together, unpacked."""
    try:
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
            _require_size(entries, what, most_bytes)
            return {
                entry.filename.removesuffix(".npy"): _array(archive, entry, what, most_bytes)
                for entry in entries
            }
    except NO_ZIP as error:
        raise Unfit(f"{what} is no readable .npz file: {_words(error)}") from error


def matched(
    arrays: Mapping[str, Array], specs: Sequence[Spec], what: str, *, batched: bool
) -> tuple[dict[str, Array], Array | None]:
    """The arrays as the inputs take them, first axis = sample, and the labels if there are some.

    `batched`: the first dimension of every input is the batch, so that a sample is the rest.
    """
    arrays = dict(arrays)
    labels = arrays.pop(LABELS, None) if LABELS not in {spec.name for spec in specs} else None
    _require_names(arrays, [spec.name for spec in specs], what)
    inputs = {spec.name: _fitted(arrays[spec.name], spec, batched, what) for spec in specs}
    counts = {name: len(array) for name, array in inputs.items()}
    if labels is not None:
        labels = _labels(labels, what)
        counts[LABELS] = len(labels)
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise Unfit(f"{what} has not the same number of samples in every array: {told}")
    return inputs, labels


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _require_size(entries: list[zipfile.ZipInfo], what: str, most_bytes: int) -> None:
    if not entries:
        raise Unfit(f"{what} holds no array")
    if len(entries) > MAX_ARRAYS:
        raise Unfit(f"{what} holds {len(entries)} arrays; {MAX_ARRAYS} are the most")
    total = sum(entry.file_size for entry in entries)
    if total > most_bytes:
        raise Unfit(f"{what} unpacks to {total} bytes; {most_bytes} are the most")


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, what: str, most_bytes: int) -> Array:
    """Header first: a shape that the entry cannot hold is never allocated, objects are never unpickled."""
    name = entry.filename.removesuffix(".npy")
    if entry.compress_type not in PACKINGS:
        raise Unfit(f"{what}: {entry.filename} is packed in a way that numpy does not use")
    try:
        with archive.open(entry) as source:
            shape, dtype = _header(source)
            _require_plain(name, shape, dtype, what, most_bytes)
            if math.prod(shape) * dtype.itemsize + source.tell() != entry.file_size:
                raise Unfit(f"{what}: array {name} is cut short or says a wrong size")
        with archive.open(entry) as source:
            return np.asarray(npy.read_array(source, allow_pickle=False))
    except NO_ARRAY as error:
        raise Unfit(f"{what}: {entry.filename} is no array of numpy: {_words(error)}") from error


def _header(source: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(source)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read_header(source)
    return shape, dtype


def _require_plain(
    name: str, shape: tuple[int, ...], dtype: np.dtype[Any], what: str, most_bytes: int
) -> None:
    if dtype.hasobject:
        raise Unfit(f"{what}: array {name} holds Python objects, which are not read; save plain numbers")
    if dtype.itemsize == 0 or any(d < 0 for d in shape):
        raise Unfit(f"{what}: array {name} says a wrong size")
    if dtype.kind in "US" and math.prod(shape) * STRING_BYTES > most_bytes:
        most = most_bytes // STRING_BYTES
        raise Unfit(f"{what}: array {name} holds {math.prod(shape)} strings; {most} are the most")


def _require_names(arrays: Mapping[str, Array], wanted: Sequence[str], what: str) -> None:
    for name in wanted:
        if name not in arrays:
            raise Unfit(f"{what} has no array {name}; found are {_listed(arrays)}")
    for name in arrays:
        if name not in wanted:
            raise Unfit(
                f"{what} has an array {name[:100]}, which is no input of the model;"
                f" inputs are {_listed(wanted)}"
            )


def _listed(names: Any) -> str:
    told = sorted(name[:100] for name in names)
    return ", ".join(told[:10]) + (" and others" if len(told) > 10 else "") or "none"


def _fitted(array: Array, spec: Spec, batched: bool, what: str) -> Array:
    """The array as the input takes it, first axis = sample."""
    per_sample = spec.shape[1:] if batched else spec.shape
    if not batched and array.ndim == len(spec.shape) and spec.shape[:1] == (1,):
        array = array[:, np.newaxis]
    _require_shape(array, per_sample, spec, what)
    return _cast(array, spec, what)


def _require_shape(array: Array, per_sample: tuple[int | None, ...], spec: Spec, what: str) -> None:
    expected = ", ".join(["samples", *("?" if d is None else str(d) for d in per_sample)])
    fits = array.ndim == len(per_sample) + 1 and all(
        wanted in (None, found) for wanted, found in zip(per_sample, array.shape[1:], strict=True)
    )
    if not fits:
        raise Unfit(f"{what}: array {spec.name} has the shape {list(array.shape)}, expected is [{expected}]")
    if array.size == 0:
        raise Unfit(f"{what}: array {spec.name} is empty, its shape is {list(array.shape)}")


def _cast(array: Array, spec: Spec, what: str) -> Array:
    if spec.dtype == "object":
        if array.dtype.kind not in "US":
            raise _wrong_type(array, spec, what)
        return array.astype(object)
    wanted = np.dtype(spec.dtype)
    if not np.can_cast(array.dtype, wanted, "same_kind"):
        raise _wrong_type(array, spec, what)
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        at = int(np.argwhere(~np.isfinite(array))[0][0])
        raise Unfit(f"{what}: array {spec.name} holds NaN or Inf, first in sample {at}; expected are numbers")
    with np.errstate(over="ignore"):
        cast = array.astype(wanted, copy=False)
    if wanted.kind in "iu" and array.dtype.kind in "iu" and not np.array_equal(cast, array):
        raise Unfit(f"{what}: array {spec.name} holds values that do not fit into {wanted.name}")
    if wanted.kind == "f" and not np.isfinite(cast).all():
        raise Unfit(f"{what}: array {spec.name} holds values too large for {wanted.name}")
    return cast


def _wrong_type(array: Array, spec: Spec, what: str) -> Unfit:
    wanted = "strings" if spec.dtype == "object" else spec.dtype
    return Unfit(f"{what}: array {spec.name} is {array.dtype.name}, expected is {wanted}")


def _labels(labels: Array, what: str) -> Array:
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.ndim != 1 or flat.dtype.kind not in "iu":
        raise Unfit(
            f"{what}: labels are {labels.dtype.name} of shape {list(labels.shape)},"
            " expected is one whole number per sample"
        )
    return flat.astype(np.int64)

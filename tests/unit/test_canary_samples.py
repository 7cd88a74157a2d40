"""Recorded inputs from somebody hostile: whatever the bytes are, arrays within bounds or one sentence."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.canary.samples import Unfit, matched, read
from support.golden import npz

MOST = 2**20
pytestmark = pytest.mark.filterwarnings("ignore:Reading `.npy`")  # headers of old, which only fuzzing finds


@dataclass(frozen=True)
class Spec:
    name: str
    dtype: str
    shape: tuple[int | None, ...]


PICTURE, WORDS = Spec("x", "float32", (None, 4)), Spec("x", "object", (None, 1))
GOOD = npz(x=np.ones((20, 4), np.float32), labels=np.arange(20))


def load(content: bytes, *specs: Spec) -> Any:
    return matched(
        read(io.BytesIO(content), "the golden set", MOST), specs or (PICTURE,), "the golden set", batched=True
    )


def entry(header: bytes, body: bytes = b"", *, magic: bytes = b"\x93NUMPY\x01\x00") -> bytes:
    return magic + struct.pack("<H", len(header)) + header + body


def described(descr: str, shape: str, body: bytes = b"") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return entry(text.ljust(117) + b"\n", body)


def zipped(content: bytes, how: int = zipfile.ZIP_STORED, name: str = "x.npy") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def lying(content: bytes, said: int) -> bytes:
    """The directory says another size than what comes out."""
    made = zipped(b"\0" * 4096, zipfile.ZIP_DEFLATED)
    return made.replace(struct.pack("<I", 4096), struct.pack("<I", said)) + content


def scaled() -> np.ndarray[Any, Any]:
    x = np.ones((20, 4))
    x[3, 1] = np.inf
    return x


HOSTILE = {
    "nothing": (b"", "is no readable .npz file"),
    "text": (b"hello", "is no readable .npz file"),
    "half of a file": (GOOD[: len(GOOD) // 2], "is no readable .npz file"),
    "a bomb that says so": (zipped(b"\0" * 2**24, zipfile.ZIP_DEFLATED), "unpacks to 16777216 bytes; 1048576 are"),
    "a bomb that lies": (lying(b"", 128), "no array of numpy|no readable"),
    "other packing": (zipped(described("'<f4'", "(4,)", b"\0" * 16), zipfile.ZIP_LZMA), "packed in a way"),
    "a shape for a petabyte": (zipped(described("'<f8'", "(10**15,)")), "no array of numpy"),
    "a number of samples for a petabyte": (zipped(described("'<f8'", f"({10**15},)")), "cut short"),
    "values of no size, very many": (zipped(described("'|S0'", f"({10**15},)")), "says a wrong size"),
    "negative dimensions": (zipped(described("'<f8'", "(-2, -4)", b"\0" * 64)), "says a wrong size"),
    "dimensions that are truth values": (zipped(described("'<f8'", "(True, 2)", b"\0" * 16)), "golden set"),
    "a million strings": (npz(x=np.full((10**6, 1), "")), "unpacks to|holds 1000000 strings"),
    "objects": (zipped(described("'|O'", "(1,)", b"\x80\x04N.")), "holds Python objects"),
    "brackets without end": (zipped(entry(b"(" * 5000 + b"\n")), "no array of numpy"),
    "an open string": (zipped(entry(b"{'descr': \"\"\"\n")), "no array of numpy"),
    "a header that is a number": (zipped(entry(b"1\n")), "no array of numpy"),
    "a dtype that is a list of lists": (zipped(described("[[]]", "(1,)")), "no array of numpy"),
    "another version": (zipped(entry(b"{}\n", magic=b"\x93NUMPY\x09\x00")), "no array of numpy"),
    "a record": (npz(x=np.zeros(20, [("a", "<f4", (4,))])), r"has the shape \[20\], expected is \[samples, 4\]"),
    "dates": (npz(x=np.zeros((20, 4), "M8[s]")), "x is datetime64"),
    "complex numbers": (npz(x=np.ones((20, 4), complex)), "x is complex128, expected is float32"),
    "infinity": (npz(x=scaled()), "x holds NaN or Inf, first in sample 3"),
    "numbers too large": (npz(x=np.full((20, 4), 1e300)), "too large for float32"),
    "another shape": (npz(x=np.ones((20, 5))), r"shape \[20, 5\], expected is \[samples, 4\]"),
    "a name that is no input": (npz(x=np.ones((20, 4)), y=np.ones(20)), "array y, which is no input"),
    "a name of a kilobyte": (npz(**{"x": np.ones((20, 4)), "y" * 1000: np.ones(20)}), "array y{100}, which"),
    "no input": (npz(labels=np.arange(20)), "has no array x; found are none"),
    "labels of another length": (npz(x=np.ones((20, 4)), labels=np.arange(3)), "x 20, labels 3"),
    "labels that are words": (npz(x=np.ones((20, 4)), labels=np.array(["a"] * 20)), "expected is one whole number"),
    "no sample": (npz(x=np.ones((0, 4))), "x is empty"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "words"), HOSTILE.values(), ids=HOSTILE.keys())
def test_every_fault_gets_one_sentence_and_little_memory(content: bytes, words: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Unfit, match=words) as caught:
            load(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith("the golden set")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert peak < 16 * MOST


def test_what_is_good_is_taken() -> None:
    inputs, labels = load(GOOD)
    assert (inputs["x"].shape, inputs["x"].dtype.name, labels.tolist()) == (
        (20, 4),
        "float32",
        list(range(20)),
    )
    words, none = load(npz(x=np.array([["sea"], ["wall"]])), WORDS)
    assert (words["x"].tolist(), none) == ([["sea"], ["wall"]], None)


def test_labels_may_be_an_input() -> None:
    spec = Spec("labels", "int64", (None, 1))
    inputs, labels = load(npz(x=np.ones((3, 4)), labels=np.ones((3, 1), int)), PICTURE, spec)
    assert (sorted(inputs), labels) == (["labels", "x"], None)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    content = bytearray(GOOD)
    for at, value in draw(
        st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=6)
    ):
        content[at] = value
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


def survives(content: bytes) -> None:
    try:
        inputs, _ = load(content)
    except Unfit as problem:
        said = str(problem)
    else:
        said = "the golden set is fine"
        assert all(np.isfinite(array).all() and array.nbytes <= MOST for array in inputs.values())
    assert said.startswith("the golden set")


@given(damaged())
def test_a_damaged_file(content: bytes) -> None:
    survives(content)


@given(st.binary(max_size=300))
def test_bytes(content: bytes) -> None:
    survives(content)


@given(
    st.binary(max_size=120),
    st.sampled_from([b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00", b"\x93NUMPY\x03\x00"]),
)
def test_any_bytes_for_a_header(header: bytes, magic: bytes) -> None:
    survives(zipped(entry(header, magic=magic)))


PIECES = st.sampled_from(
    ["'<f4'", "'|O'", "'<U3'", "[('x', '<f4')]", "(20, 4)", "(20,)", "()", "True", "None", "{", "}", "[", "]", "(",
     ")", ",", ":", "'descr'", "'fortran_order'", "'shape'", "1e9", "-1", "\\", "#", "\n", "'", '"', "lambda", "0L"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=20))
def test_any_literal_for_a_header(pieces: list[str]) -> None:
    survives(zipped(entry("".join(pieces).encode() + b"\n", b"\0" * 320)))


DTYPES = st.sampled_from(
    ["<f4", ">f8", "<i2", "|u1", "|b1", "<U5", "|S5", "<c8", "<M8[D]", "<f2", "|V4", "[]", "<f4,<f4"]
)


@given(DTYPES, st.lists(st.integers(-2, 40), max_size=4), st.integers(0, 400))
def test_any_shape_and_type(dtype: str, shape: list[int], size: int) -> None:
    survives(zipped(described(repr(dtype), repr(tuple(shape)), b"\1" * size)))

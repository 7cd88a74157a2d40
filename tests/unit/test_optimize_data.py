"""Evaluation data of every kind of wrong, each with the sentence that tells what was found and what expected."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seawall.canary.samples import MAX_ARRAYS
from seawall.optimize import data
from seawall.optimize.types import Refused, Signature, TensorSpec

COUNT = 20
TWO = Signature(
    (TensorSpec("ids", "int32", (None, None)), TensorSpec("image", "float16", (None, 3, 4))),
    (TensorSpec("y", "float32", (None, 2)),),
    batched=True,
)
WORDS = Signature((TensorSpec("text", "object", (None, 1)),), (), batched=True)
WHOLE = Signature((TensorSpec("x", "float32", (1, 4)),), (), batched=False)


def good(**changes: Any) -> dict[str, Any]:
    arrays: dict[str, Any] = {
        "ids": np.arange(COUNT * 5).reshape(COUNT, 5),
        "image": np.ones((COUNT, 3, 4), np.float32),
    } | changes
    return {name: array for name, array in arrays.items() if array is not None}


def write(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez(path, **arrays)
    return path


def infinite() -> np.ndarray[Any, Any]:
    image = np.ones((COUNT, 3, 4), np.float32)
    image[7, 0, 0] = np.nan
    return image


WRONG = {
    "an input is missing": (good(ids=None), "has no array ids; found are image"),
    "an array is no input": (good(extra=np.ones(COUNT)), "array extra, which is no input.*ids, image"),
    "fractions for whole numbers": (good(ids=np.ones((COUNT, 5))), "ids is float64, expected is int32"),
    "whole numbers too large": (
        good(ids=np.full((COUNT, 5), 2**40)),
        "ids holds values that do not fit into int32",
    ),
    "numbers too large": (
        good(image=np.full((COUNT, 3, 4), 1e30)),
        "image holds values too large for float16",
    ),
    "NaN": (good(image=infinite()), "image holds NaN or Inf, first in sample 7"),
    "a dimension too few": (
        good(ids=np.arange(COUNT)),
        r"ids has the shape \[20\], expected is \[samples, \?\]",
    ),
    "a wrong size": (
        good(image=np.ones((COUNT, 3, 5), np.float32)),
        r"image has the shape \[20, 3, 5\], expected is \[samples, 3, 4\]",
    ),
    "unequal counts": (
        good(ids=np.ones((COUNT - 1, 5), np.int64)),
        "same number of samples.*ids 19, image 20",
    ),
    "unequal labels": (good(labels=np.arange(COUNT + 1)), "ids 20, image 20, labels 21"),
    "labels that are scores": (
        good(labels=np.ones((COUNT, 2))),
        "labels are float64 of shape .*one whole number",
    ),
    "no sample": (
        {"ids": np.ones((0, 5), np.int64), "image": np.ones((0, 3, 4))},
        r"ids is empty, its shape is \[0, 5\]",
    ),
    "Python objects": (
        good(ids=np.array([[{}] * 5] * COUNT)),
        "ids holds Python objects, which are not read",
    ),
}


@pytest.mark.parametrize(("arrays", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_wrong_data_is_refused_in_one_sentence(tmp_path: Path, arrays: Any, sentence: str) -> None:
    path = write(tmp_path / "data.npz", arrays)
    with pytest.raises(Refused, match=sentence) as caught:
        data.load(path, TWO, "evaluation")
    assert caught.value.reason == "InvalidData"
    assert "the evaluation data" in caught.value.message


def _truncated(path: Path) -> None:
    write(path, good())
    path.write_bytes(path.read_bytes()[:200])


def _bomb(path: Path) -> None:
    """Four gigabytes of zeros in a few kilobytes, as the zip directory freely admits."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("ids.npy", b"\0" * 4096)
    content = path.read_bytes().replace(struct.pack("<I", 4096), struct.pack("<I", 2**32 - 2))
    path.write_bytes(content)


def _huge_shape(path: Path) -> None:
    header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000, 5), }".ljust(117) + b"\n"
    entry = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ids.npy", entry + b"\0" * 64)


def _evil(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ids.npy", pickle.dumps({"not": "an array"}))


def _many(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(MAX_ARRAYS + 1):
            archive.writestr(f"{index}.npy", b"")


def _empty(path: Path) -> None:
    with zipfile.ZipFile(path, "w"):
        pass


def _one_array(path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.ones(3))
    path.write_bytes(buffer.getvalue())


FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut short": (_truncated, "no readable .npz file"),
    "a zip bomb": (_bomb, "unpacks to 4294967294 bytes"),
    "a shape that no file could hold": (_huge_shape, "array ids is cut short or says a wrong size"),
    "a pickle inside": (_evil, "ids.npy is no array of numpy"),
    "too many arrays": (_many, "holds 65 arrays"),
    "no array": (_empty, "holds no array"),
    "one .npy": (_one_array, "no readable .npz file"),
}


@pytest.mark.parametrize(("make", "sentence"), FILES.values(), ids=FILES.keys())
def test_a_file_that_is_no_data_is_refused_before_it_is_unpacked(
    tmp_path: Path, make: Callable[[Path], None], sentence: str
) -> None:
    make(tmp_path / "data.npz")
    with pytest.raises(Refused, match=sentence) as caught:
        data.load(tmp_path / "data.npz", TWO, "calibration")
    assert caught.value.reason == "InvalidData"


def test_good_data_is_cast_to_what_the_model_takes(tmp_path: Path) -> None:
    labels = np.arange(COUNT).reshape(-1, 1)
    samples = data.load(write(tmp_path / "d.npz", good(labels=labels)), TWO, "evaluation")
    assert {name: array.dtype.name for name, array in samples.inputs.items()} == {
        "ids": "int32",
        "image": "float16",
    }
    assert samples.labels is not None
    assert samples.labels.shape == (COUNT,)
    assert (samples.count, samples.source) == (COUNT, "evaluation")


def test_a_model_without_batches_takes_samples_with_or_without_its_leading_one(tmp_path: Path) -> None:
    for shape in ((9, 4), (9, 1, 4)):
        samples = data.load(write(tmp_path / "d.npz", {"x": np.ones(shape)}), WHOLE, "evaluation")
        assert samples.inputs["x"].shape == (9, 1, 4)


def test_strings_are_read_without_pickle(tmp_path: Path) -> None:
    path = write(tmp_path / "d.npz", {"text": np.array([["sea"], ["wall"]] * 5)})
    assert data.load(path, WORDS, "evaluation").inputs["text"].dtype == object


def test_too_few_samples_have_a_reason_of_their_own(tmp_path: Path) -> None:
    path = write(tmp_path / "d.npz", {name: array[:7] for name, array in good().items()})
    with pytest.raises(Refused, match="has 7 samples; at least 8 are needed") as caught:
        data.load(path, TWO, "calibration")
    assert caught.value.reason == "TooFewSamples"


def test_made_up_inputs_follow_the_role_and_the_seed() -> None:
    signature = Signature(
        (
            TensorSpec("input_ids", "int64", (None, None)),
            TensorSpec("attention_mask", "int64", (None, None)),
            TensorSpec("token_type_ids", "int64", (None, None)),
            TensorSpec("pixels", "uint8", (None, 4)),
            TensorSpec("x", "float32", (None, 4)),
        ),
        (),
        batched=True,
    )
    first, again, other = (data.generated(signature, seed) for seed in (1, 1, 2))
    assert first.source == "generated"
    assert (first.inputs["attention_mask"] == 1).all()
    assert 0 <= first.inputs["input_ids"].min() < first.inputs["input_ids"].max() <= data.LARGEST_TOKEN
    assert set(np.unique(first.inputs["token_type_ids"])) == {0, 1}
    assert first.inputs["pixels"].max() > 100
    assert np.array_equal(first.inputs["x"], again.inputs["x"])
    assert not np.array_equal(first.inputs["x"], other.inputs["x"])


SHARES = {
    # given files -> source and count of what proves, of what calibrates
    "both": ({"evaluation": 50, "calibration": 10}, ("evaluation", 50), ("calibration", 10)),
    "calibration alone": ({"calibration": 30}, ("calibration", 30), ("calibration", 30)),
    "evaluation alone gives a fifth": ({"evaluation": 50}, ("evaluation", 40), ("calibration", 10)),
    "but no more than is useful": ({"evaluation": 1000}, ("evaluation", 936), ("calibration", 64)),
    "and nothing when it is small": ({"evaluation": 39}, ("evaluation", 39), ("generated", 64)),
    "none": ({}, ("generated", 64), ("generated", 64)),
}


@pytest.mark.parametrize(("files", "proves", "calibrates"), SHARES.values(), ids=SHARES.keys())
def test_who_proves_and_who_calibrates(
    tmp_path: Path, files: dict[str, int], proves: tuple[str, int], calibrates: tuple[str, int]
) -> None:
    signature = Signature((TensorSpec("x", "float32", (None, 1)),), (), batched=True)
    paths = {
        name: write(tmp_path / f"{name}.npz", {"x": np.arange(count).reshape(-1, 1)})
        for name, count in files.items()
    }
    evaluation, calibration = data.shared_out(paths, signature, 0)
    assert (evaluation.source, evaluation.count) == proves
    assert (calibration.source, calibration.count) == calibrates
    if files.keys() == {"evaluation"} and calibration.source == "calibration":
        assert not set(evaluation.inputs["x"].flat) & set(calibration.inputs["x"].flat)

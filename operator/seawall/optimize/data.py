"""Evaluation and calibration data: from `.npz` files, or inputs made up instead."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from seawall.canary.samples import Unfit, matched, read
from seawall.optimize.types import Array, Refused, Samples, Signature, TensorSpec

FEWEST = 8
"""Samples below which neither a range nor an interval means anything: a t interval on 7 values is wider than
any floor allows, and a quantile of 7 activations is their maximum."""
MAX_BYTES = 2 * 2**30
"""of all arrays, unpacked: they are held in memory"""
GENERATED = 64
MOST_TO_CALIBRATE = 64
UNKNOWN_LENGTH = 16
"""for a dimension that varies and is not the batch"""
LARGEST_TOKEN = 100
"""every vocabulary has that many entries"""


def load(path: Path, signature: Signature, source: str) -> Samples:
    """The samples of one file. `source`: evaluation or calibration. Raises Refused."""
    what = f"the {source} data"
    try:
        with path.open("rb") as file:
            arrays = read(file, what, MAX_BYTES)
        inputs, labels = matched(arrays, signature.inputs, what, batched=signature.batched)
    except Unfit as problem:
        raise Refused("InvalidData", str(problem)) from problem
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

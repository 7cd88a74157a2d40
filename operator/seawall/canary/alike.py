"""When two answers of a model are the same answer: one set of definitions for builds and for rollouts.

All functions take one row per sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Metric = Literal["top1", "cosine", "relative-error"]

BOUNDS = {"cosine": 0.99, "relative-error": 0.1}
"""A cosine at which nearest neighbours mostly stay; of relative-error it is a ceiling."""


def decisions(rows: Array) -> Array:
    """The class of each sample: the largest score along the last axis, or the output itself if it is one."""
    if rows.dtype.kind == "f" and rows.ndim > 1 and rows.shape[-1] > 1:
        return np.asarray(np.argmax(rows, axis=-1))
    return np.asarray(rows > 0.5) if rows.dtype.kind == "f" else rows


def decided_alike(wanted: Array, found: Array) -> Array:
    """1 where every decision of a sample is the same; a sample of several positions has several."""
    same = decisions(wanted) == decisions(found)
    return np.asarray(same.reshape(len(wanted), -1).all(axis=1), dtype=np.float64)


def cosine(wanted: Array, found: Array) -> Array:
    def one(a: Array, b: Array) -> float:
        norms = float(np.linalg.norm(a) * np.linalg.norm(b))
        if norms == 0.0:
            return float(not a.any() and not b.any())
        return min(1.0, float(a @ b) / norms)

    return np.array([one(a, b) for a, b in _pairs(wanted, found)])


def relative_error(wanted: Array, found: Array) -> Array:
    def one(a: Array, b: Array) -> float:
        size, off = float(np.linalg.norm(a)), float(np.linalg.norm(a - b))
        return off / size if size else float(off > 0.0)

    return np.array([one(a, b) for a, b in _pairs(wanted, found)])


def _pairs(wanted: Array, found: Array) -> Iterator[tuple[Array, Array]]:
    for first, second in zip(wanted, found, strict=True):
        if first.dtype.kind in "OUS":
            # Words are equal or not: as numbers, the same direction or the opposite of nothing.
            yield np.ones(1), np.full(1, float(np.array_equal(first, second)))
            continue
        a, b = np.ravel(first).astype(np.float64), np.ravel(second).astype(np.float64)
        finite = np.isfinite(a)
        yield np.where(finite, a, 0.0), np.where(finite, b, 0.0)


def measured(metric: str, wanted: Sequence[Array], found: Sequence[Array]) -> Array:
    """One number per sample, over all outputs the worst; decisions are those of the first output."""
    if metric == "top1":
        return decided_alike(wanted[0], found[0])
    compare, worst = (cosine, np.min) if metric == "cosine" else (relative_error, np.max)
    each = [compare(w, f) for w, f in zip(wanted, found, strict=True)]
    return np.asarray(worst(np.stack(each), axis=0))


def same(metric: str, wanted: Sequence[Array], found: Sequence[Array]) -> Array:
    """Whether each sample got the same answer. An answer of another kind or shape, and one that is no
    number where a number was wanted, is another answer."""
    usable = np.ones(len(wanted[0]), dtype=bool)
    for first, second in zip(wanted, found, strict=True):
        words = [a.dtype.kind in "OUS" for a in (first, second)]
        if first.shape != second.shape or words[0] != words[1]:
            return np.zeros(len(usable), dtype=bool)
        usable &= _as_finite(first, second)
    if not usable.any():
        return usable
    at = np.flatnonzero(usable)
    values = measured(metric, [a[at] for a in wanted], [a[at] for a in found])
    if metric == "top1":
        usable[at] = values == 1.0
    else:
        usable[at] = values >= BOUNDS[metric] if metric == "cosine" else values <= BOUNDS[metric]
    return usable


def _as_finite(wanted: Array, found: Array) -> Array:
    if found.dtype.kind != "f":
        return np.ones(len(found), dtype=bool)
    bad = ~np.isfinite(found) & (found != wanted)
    return np.asarray(~bad.reshape(len(found), -1).any(axis=1))


def usual(first_output: Array, *, labelled: bool) -> Metric:
    """The metric where nobody has named one.

    Decisions where the output is certain to be some: there are labels to compare them with, it is no
    fraction, or every row is a share of one. Scores and embeddings look the same otherwise, and a comparison
    of directions is the stricter one.
    """
    rows = first_output
    if labelled or rows.dtype.kind != "f":
        return "top1"
    shares = rows.ndim > 1 and rows.shape[-1] > 1 and bool((rows >= 0).all())
    if shares and np.allclose(rows.astype(np.float64).sum(axis=-1), 1.0, atol=1e-2):
        return "top1"
    return "cosine"

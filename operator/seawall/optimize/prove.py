"""Whether a result still answers as the original does, and how sure that is.

The verdict stands on the unfavourable end of the 95 % interval, not on the measured value: few samples prove
little, and a floor is a promise. What lies above the floor but is not sure to is refused with the number of
samples that would do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from seawall.canary import alike
from seawall.optimize.graph import session
from seawall.optimize.intervals import mean_interval, paired_drop, wilson
from seawall.optimize.sessions import answer, batches, takes_batches
from seawall.optimize.types import AccuracyDrop, Array, Criterion, Graph, Proof, Refused, Samples

FLOORS = {"top1": 0.98, **alike.BOUNDS}
"""Where the request names none. Of relative-error it is a ceiling."""


def default_floor(metric: str) -> float:
    return FLOORS[metric]


def prove(
    original: Graph, candidate: Graph, samples: Samples, criterion: Criterion, threads: int = 0
) -> Proof:
    """Compares all outputs on all samples, batch by batch. Raises Refused where that makes no sense."""
    before, after = session(original, threads), session(candidate, threads)
    names = _output_names(before, after)
    together = takes_batches(before, samples)
    tally = _Tally(criterion.metric)
    labelled: list[Array] = []
    for feed in batches(before, samples):
        first, second = answer(before, feed, names), answer(after, feed, names)
        one = len(next(iter(feed.values()))) if together else None
        for name, wanted, found in zip(names, first, second, strict=True):
            _require_comparable(name, wanted, found)
        tally.add([_rows(a, one) for a in first], [_rows(a, one) for a in second])
        if samples.labels is not None:
            labelled.append(np.stack([_decisions(first[0], one), _decisions(second[0], one)]))
    return replace(tally.proof(criterion, samples), drop=_drop(labelled, samples.labels, before))


def verdict(proof: Proof) -> str:
    """Why a proof did not pass, in one sentence."""
    smaller_is_better = proof.metric == "relative-error"
    edge = proof.high if smaller_is_better else proof.low
    side, bound = ("above", "ceiling") if smaller_is_better else ("below", "floor")
    missed = proof.value > proof.floor if smaller_is_better else proof.value < proof.floor
    told = f"{proof.metric} is {proof.value:.4f} on {proof.samples} samples"
    if missed:
        return f"{told}, {side} the {bound} {proof.floor:g}"
    return (
        f"{told}, but may be {edge:.4f} (95 % interval), {side} the {bound} {proof.floor:g}:"
        f" {_samples_needed(proof)}"
    )


def _samples_needed(proof: Proof) -> str:
    """What would do, if further samples were like these: the interval shrinks with their root."""
    if proof.metric == "top1":
        for count in (int(proof.samples * 1.1**k) for k in range(1, 100)):
            if wilson(round(proof.value * count), count)[0] >= proof.floor:
                return f"about {count} such samples would do"
        return "set another floor"
    margin, reach = abs(proof.value - proof.floor), (proof.high - proof.low) / 2
    if margin < reach / 100:
        return "set another floor"
    return f"about {math.ceil(proof.samples * (reach / margin) ** 2) + 1} such samples would do"


@dataclass(slots=True)
class _Tally:
    """One number per sample; the outputs themselves are let go."""

    metric: str
    values: list[Array] = field(default_factory=list)

    def add(self, wanted: list[Array], found: list[Array]) -> None:
        self.values.append(alike.measured(self.metric, wanted, found))

    def proof(self, criterion: Criterion, samples: Samples) -> Proof:
        values = np.concatenate(self.values)
        value, metric = float(np.mean(values)), self.metric
        if metric == "top1":
            low, high = wilson(int(np.sum(values)), len(values))
        else:
            low, high = mean_interval(values)
            low = max(low, -1.0 if metric == "cosine" else 0.0)
            high = min(high, 1.0) if metric == "cosine" else high
        floor = default_floor(metric) if criterion.floor is None else criterion.floor
        # No number of samples proves a floor of 1: who sets it wants every sample the same.
        all_alike = floor == 1.0 and value == 1.0
        passed = high <= floor if metric == "relative-error" else low >= floor or all_alike
        made_up = samples.source == "generated"
        return Proof(
            metric, value, low, high, floor, len(values), samples.source, bool(passed), unproven=made_up
        )


def _output_names(before: Any, after: Any) -> list[str]:
    names, theirs = [o.name for o in before.get_outputs()], {o.name for o in after.get_outputs()}
    missing = [name for name in names if name not in theirs]
    if missing or not names:
        raise Refused("CompressionFailed", f"the result lost the output {', '.join(missing) or 'altogether'}")
    return names


def _rows(array: Array, count: int | None) -> Array:
    """One row per sample. An output that does not follow the batch cannot be told apart by sample."""
    if count is None:
        return array[np.newaxis]
    if not array.ndim or len(array) != count:
        raise Refused(
            "InvalidModel", f"an output of shape {list(array.shape)} does not hold one answer per sample"
        )
    return array


def _require_comparable(name: str, wanted: Array, found: Array) -> None:
    if wanted.shape != found.shape:
        raise Refused(
            "CompressionFailed",
            f"output {name} of the result has the shape {list(found.shape)}, of the original"
            f" {list(wanted.shape)}",
        )
    if wanted.dtype.kind == "f" and np.isnan(wanted).any():
        raise Refused("InvalidData", f"the original itself answers NaN in output {name} on these samples")
    if found.dtype.kind == "f" and (np.isnan(found).any() or (np.isinf(found) & np.isfinite(wanted)).any()):
        raise Refused("AccuracyBelowFloor", f"output {name} of the result holds NaN or Inf")


def _decisions(output: Array, count: int | None) -> Array:
    return alike.decisions(_rows(output, count))


def _drop(labelled: list[Array], labels: Array | None, session: Any) -> AccuracyDrop | None:
    if labels is None:
        return None
    before, after = np.concatenate(labelled, axis=1)
    if before.ndim != 1:
        output = session.get_outputs()[0]
        raise Refused(
            "InvalidData",
            f"labels need a model with one decision per sample; {output.name} has the shape {output.shape}",
        )
    return paired_drop(before == labels, after == labels)

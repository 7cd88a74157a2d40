"""Whether two revisions answer alike, from counts over recorded inputs that were all asked once.

The number of inputs is settled before the first is asked, so that exact bounds of a proportion hold: the
test is looked at once. What the stable revision does not repeat itself is noise, which no candidate is
blamed for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

Verdict = Literal["Pass", "Fail", "Unknown"]

STEPS = 50
"""of bisection: fifteen digits"""
MOST_SAMPLES = 10_000
"""Beyond this no number of samples is proposed."""
FINER = 1.1


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Where the right answers are known."""

    stable: int
    candidate: int
    lost: int
    """inputs that only the stable revision gets right"""
    won: int
    """inputs that only the candidate gets right"""


@dataclass(frozen=True, slots=True)
class Counts:
    samples: int
    differ: int
    """inputs that the candidate answers otherwise than the stable revision"""
    noise: int
    """inputs that the stable revision answers otherwise the second time"""
    only_candidate: int
    """inputs that differ and are not noise"""
    only_stable: int
    """inputs that are noise and do not differ"""
    repeats: bool = False
    """the stable revision is a plain graph, which is known to repeat its answers"""
    accuracy: Accuracy | None = None


@dataclass(frozen=True, slots=True)
class Demands:
    most: float
    """share of answers that may differ"""
    alpha: float
    """chance of failing a candidate that is within it"""
    beta: float
    """chance of passing one that is not"""


def lower(count: int, samples: int, level: float) -> float:
    """Largest share under which so many or more happen with this probability at most: C. J. Clopper and
    E. S. Pearson, Biometrika 26 (1934) 404; one side."""
    return 0.0 if count == 0 else _share_where(count - 1, samples, 1.0 - level)


def upper(count: int, samples: int, level: float) -> float:
    """Smallest share under which so few or fewer happen with this probability at most."""
    return 1.0 if count == samples else _share_where(count, samples, level)


def _share_where(count: int, samples: int, level: float) -> float:
    """The share under which so few or fewer happen with exactly this probability."""
    logs, numbers = _log_choose(count, samples), np.arange(count + 1)
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        share = (low + high) / 2
        terms = logs + numbers * math.log(share) + (samples - numbers) * math.log1p(-share)
        if float(np.exp(terms).sum()) > level:
            low = share
        else:
            high = share
    return (low + high) / 2


def _log_choose(most: int, samples: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """ln C(samples, k) for k from 0 to most."""
    k = np.arange(1, most + 1)
    return np.concatenate([[0.0], np.cumsum(np.log(samples - k + 1) - np.log(k))])


def one_sided(more: int, fewer: int) -> float:
    """Probability of so uneven a split of pairs when either side is as likely: Q. McNemar, Psychometrika 12
    (1947) 153, exactly and on one side."""
    pairs = more + fewer
    if pairs == 0:
        return 1.0
    logs = _log_choose(fewer, pairs)
    return min(1.0, float(np.exp(logs - pairs * math.log(2.0)).sum()))


def judge(counts: Counts, demands: Demands) -> tuple[Verdict, str]:
    """The verdict, and the figures behind it in one sentence."""
    told, known = _told(counts), _known(counts)
    accuracy = counts.accuracy
    alpha = demands.alpha if accuracy is None else demands.alpha / 2  # two ways to fail
    may = f"{percent(demands.most)} may"
    if lower(counts.noise, counts.samples, demands.beta) > demands.most:
        return "Unknown", (
            f"the stable revision itself answers {counts.noise} of {counts.samples} inputs otherwise the"
            f" second time, and {may}: its answers are not repeatable enough to compare with"
        )
    if accuracy is not None and one_sided(accuracy.lost, accuracy.won) <= alpha:
        return "Fail", f"the candidate is less accurate beyond chance: {told}{known}"
    least = lower(counts.differ, counts.samples, alpha)
    settled = counts.repeats and counts.noise == 0
    if least > demands.most and (settled or one_sided(counts.only_candidate, counts.only_stable) <= alpha):
        return "Fail", f"{told}, which shows {percent(least)} at least; {may}{known}"
    largest = upper(counts.differ, counts.samples, demands.beta)
    if largest <= demands.most:
        return "Pass", f"{told}, which shows {percent(largest)} at most; {may}{known}"
    if demands.most == 0.0 and counts.differ == 0:
        # No number of samples proves that none differs: who allows none wants every answer the same.
        return "Pass", f"{told}; none may{known}"
    needed = _needed(counts, demands, alpha)
    return "Unknown", f"{told}, which shows {percent(largest)} at most; {needed}{known}"


def _told(counts: Counts) -> str:
    told = f"{counts.differ} of {counts.samples} answers differ"
    return f"{told} (the stable revision's own: {counts.noise})" if counts.noise else told


def _known(counts: Counts) -> str:
    if counts.accuracy is None:
        return ""
    after, before = (100.0 * n / counts.samples for n in (counts.accuracy.candidate, counts.accuracy.stable))
    pairs = f"{counts.accuracy.lost} lost, {counts.accuracy.won} won"
    return f"; {after:.1f}% are right and were {before:.1f}% before ({pairs})"


def _needed(counts: Counts, demands: Demands, alpha: float) -> str:
    """How many inputs would settle it, if further ones were like these."""
    rate, most = counts.differ / counts.samples, demands.most
    if most == 0.0:
        return "none may"
    if counts.differ == 0:
        return f"{math.ceil(math.log(demands.beta) / math.log1p(-most))} samples show {percent(most)}"

    def shows(differ: int, samples: int) -> str:
        if upper(differ, samples, demands.beta) <= most:
            return "Pass"
        return "Fail" if lower(differ, samples, alpha) > most else ""

    return settling(rate, range(counts.samples, MOST_SAMPLES), most, shows, "samples")


def settling(rate: float, among: range, most: float, shows: Callable[[int, int], str], what: str) -> str:
    """How many would settle it, if further ones were like these. `among`: from those that there are to those
    that are too many. `shows`: what so many differences of so many would, "" where nothing."""
    samples = among.start
    while samples < among.stop:
        samples = math.ceil(samples * FINER)
        verdict = shows(round(rate * samples), samples)
        if verdict:
            more = "" if verdict == "Pass" else "more than "
            return f"about {samples} such {what} show {more}{percent(most)}"
    return f"{among.stop} such {what} would not tell it from {percent(most)}"


def percent(share: float) -> str:
    hundred = 100.0 * share
    return f"{hundred:.1f}%".replace(".0%", "%") if hundred >= 1 else f"{hundred:.2g}%"

"""Whether two revisions answer alike, from counts over live requests, which nobody has chosen and which come
until the step ends: the tests may be looked at as often as one likes, unlike those over a golden set.

One row of each request counts, so that a big batch says no more than a request of one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from seawall.canary.agreement import Demands, percent, settling
from seawall.canary.evidence import CAUGHT, CLEAN, both, level_evidence

Verdict = Literal["Open", "Pass", "Fail", "Unknown"]

EVEN = 0.5
"""Share of the candidate among the answers that only one of two comparisons finds different, under chance."""
MOST_SAMPLES = 100_000
"""Beyond this no number of requests is proposed."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What one comparator has counted since it started."""

    start: str
    """names that start: another one has begun at nothing"""
    order: str
    """the rollout and the step that it works for"""
    seen: int = 0
    """requests that came"""
    compared: int = 0
    differ: int = 0
    """answers of the candidate that are others than the stable revision's"""
    doubled: int = 0
    """those of the compared that were put to the stable revision twice"""
    noise: int = 0
    """of these, answers that the stable revision did not repeat"""
    only_candidate: int = 0
    """of these, answers that differ and are not noise"""
    only_stable: int = 0
    """of these, answers that are noise and do not differ"""
    dropped: int = 0
    """too big, or too many at once"""
    skipped: int = 0
    """of a kind that cannot be compared, or refused by the stable revision"""
    failed_stable: int = 0
    """without an answer from the stable revision"""
    failed_candidate: int = 0
    repeats: bool = False
    """the stable revision is a plain graph, which is known to repeat its answers"""
    metrics: tuple[str, ...] = ()
    refusal: str = ""
    """why nothing is compared at all"""
    remark: str = ""
    """the first thing that went wrong"""


def judge(tally: Tally, demands: Demands) -> tuple[Verdict, str]:
    """The verdict, and the figures behind it in one sentence. Open: neither is shown yet."""
    told, may = _told(tally), f"{percent(demands.most)} may"
    noisy = _level(tally.noise, tally.doubled, demands.most, "above")
    if noisy >= -math.log(demands.beta):
        return "Unknown", (
            f"the stable revision itself answers {tally.noise} of {tally.doubled} requests otherwise the"
            f" second time, and {may}: its answers are not repeatable enough to compare with"
        )
    worse = _level(tally.differ, tally.compared, demands.most, "above")
    if not (tally.repeats and tally.noise == 0):
        odd = tally.only_candidate + tally.only_stable
        worse = float(both(np.asarray(worse), np.asarray(_level(tally.only_candidate, odd, EVEN, "above"))))
    if worse >= -math.log(demands.alpha):
        return "Fail", f"{told}; {may}"
    if _passes(tally.differ, tally.compared, demands):
        return "Pass", f"{told}; {may}"
    return "Open", f"{told}; {may}"


def needed(tally: Tally, demands: Demands) -> str:
    """How many requests would settle it, if further ones were like these."""

    def shows(differ: int, samples: int) -> str:
        if _passes(differ, samples, demands):
            return "Pass"
        worse = _level(differ, samples, demands.most, "above") >= -math.log(demands.alpha)
        return "Fail" if worse else ""

    rate = tally.differ / tally.compared if tally.compared else 0.0
    return settling(rate, range(max(tally.compared, 1), MOST_SAMPLES), demands.most, shows, "requests")


def _passes(differ: int, compared: int, demands: Demands) -> bool:
    return _level(differ, compared, demands.most, "below") >= -math.log(demands.beta)


def _level(bad: int, total: int, bound: float, side: Literal["above", "below"]) -> float:
    prior = CAUGHT if side == "above" else CLEAN
    return float(level_evidence(bad, total - bad, bound, side, prior))


def _told(tally: Tally) -> str:
    told = f"{tally.differ} of {tally.compared} answers to live requests differ"
    if tally.noise:
        told += f" (the stable revision's own: {tally.noise} of {tally.doubled})"
    kinds = f"{', '.join(tally.metrics)}: " if tally.metrics else ""
    silent = ((tally.failed_candidate, "the candidate"), (tally.failed_stable, "the stable revision"))
    missing = "".join(f"; no answer of {who} to {count}" for count, who in silent if count)
    return f"{kinds}{told}{missing}"

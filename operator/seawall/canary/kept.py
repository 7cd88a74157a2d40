"""What must outlive the operator: one metric's trail as a short list of decimal strings, and back.

A status has no floats. Nine digits are enough: the sums of squares lose at most three of them where the arms
are alike, and evidence is held against a threshold with two.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seawall.canary.dispersion import Contrast, Dispersion
from seawall.canary.evidence import POINTS
from seawall.canary.judge import Trail

SUMS = tuple(name for name in Trail._fields if name not in {"up", "down", "dispersion", "contrast"})
LENGTH = 2 * POINTS + len(SUMS) + len(Dispersion._fields) + len(Contrast._fields)


def keep(trail: Trail) -> list[str]:
    """Of one rollout, not of many at once."""
    sums = [getattr(trail, name) for name in SUMS]
    values = [*trail.up, *trail.down, *sums, *trail.dispersion, *trail.contrast]
    return [f"{float(value):.9g}" for value in values]


def restore(kept: Sequence[str]) -> Trail:
    """ValueError where it is not what `keep` wrote: the evidence then begins anew."""
    if len(kept) != LENGTH:
        raise ValueError(f"{len(kept)} numbers are kept of a metric, {LENGTH} are needed")
    values = np.asarray([float(text) for text in kept])
    if not np.isfinite(values).all():
        raise ValueError("a kept number is not finite")
    bets, rest = values[: 2 * POINTS], values[2 * POINTS :]
    sums, rest = rest[: len(SUMS)], rest[len(SUMS) :]
    wide = len(Dispersion._fields)
    return Trail(
        up=bets[:POINTS],
        down=bets[POINTS:],
        dispersion=Dispersion(*(np.asarray(value) for value in rest[:wide])),
        contrast=Contrast(*(np.asarray(value) for value in rest[wide:])),
        **{name: np.asarray(value) for name, value in zip(SUMS, sums, strict=True)},
    )

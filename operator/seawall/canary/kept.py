"""What must outlive the operator: one metric's trails as a short list of decimal strings, and back.

A status has no floats. Nine digits are enough: the sums of squares lose at most three of them where the arms
are alike, and evidence is held against a threshold with two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from seawall.canary.dispersion import Contrast, Dispersion
from seawall.canary.evidence import POINTS, Floats
from seawall.canary.judge import Trail

SUMS = tuple(name for name in Trail._fields if name not in {"up", "down", "dispersion", "contrast"})
LENGTH = 2 * POINTS + len(SUMS) + len(Dispersion._fields) + len(Contrast._fields)
BOTH_LENGTH = LENGTH + 3
MOST = 1e15


def texts(values: Iterable[Any]) -> list[str]:
    return [f"{float(value):.9g}" for value in values]


def numbers(kept: Sequence[str], length: int) -> Floats:
    """ValueError where these are not so many finite numbers."""
    if len(kept) != length:
        raise ValueError(f"{len(kept)} numbers are kept, {length} are needed")
    values = np.asarray([float(text) for text in kept])
    if not np.isfinite(values).all():
        raise ValueError("a kept number is not finite")
    return values


def keep(trail: Trail) -> list[str]:
    """Of one rollout, not of many at once."""
    sums = [getattr(trail, name) for name in SUMS]
    return texts([*trail.up, *trail.down, *sums, *trail.dispersion, *trail.contrast])


def restore(kept: Sequence[str]) -> Trail:
    """ValueError where it is not what `keep` wrote: the evidence then begins anew."""
    values = numbers(kept, LENGTH)
    bets, rest = values[: 2 * POINTS], values[2 * POINTS :]
    if rest.min() < 0 or np.abs(values).max() > MOST:
        raise ValueError("a kept number is no sum of requests")
    sums, rest = rest[: len(SUMS)], rest[len(SUMS) :]
    wide = len(Dispersion._fields)
    return Trail(
        up=bets[:POINTS],
        down=bets[POINTS:],
        dispersion=Dispersion(*(np.asarray(value) for value in rest[:wide])),
        contrast=Contrast(*(np.asarray(value) for value in rest[wide:])),
        **{name: np.asarray(value) for name, value in zip(SUMS, sums, strict=True)},
    )


def keep_both(whole: Trail, step: Trail) -> list[str]:
    """A metric's trails of a whole rollout and of its step at hand. Of the whole, nobody asks what speaks for
    going on: these places hold the step's."""
    merged = whole._replace(down=step.down, bad_strictly=step.bad_strictly)
    return [*keep(merged), *texts([step.total, step.windows, step.pair_size])]


def restore_both(kept: Sequence[str]) -> tuple[Trail, Trail]:
    """ValueError where it is not what `keep_both` wrote."""
    sizes = numbers(kept[LENGTH:], BOTH_LENGTH - LENGTH)
    whole = restore(kept[:LENGTH])
    total, windows, pair_size = (np.asarray(value) for value in sizes)
    return whole, whole._replace(total=total, windows=windows, pair_size=pair_size)

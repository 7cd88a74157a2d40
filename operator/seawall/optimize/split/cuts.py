"""Where to cut: the slowest stage as fast as can be, then as few bytes as can be between the stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from seawall.optimize.types import Refused

NEAR = 0.05
"""a slowest stage this much slower than the best one is worth fewer bytes"""
Holds = Callable[[int, int], bool]
"""whether the operators from here to there fit one device"""


def choose(costs: Sequence[float], crossing: Mapping[int, int], parts: int, holds: Holds) -> tuple[int, ...]:
    """Positions of the cuts, ascending. `crossing` has the bytes at each position that can be cut.

    Raises Refused where there is no way to make so many stages.
    """
    places = [0, *sorted(crossing), len(costs)]
    if len(places) - 1 < parts:
        raise Refused(
            "CannotSplit",
            f"{parts} stages are asked for and the graph can be cut in {len(crossing)} place(s) only",
        )
    total = np.concatenate([[0.0], np.cumsum(costs)])
    spent = total[places]
    fits = np.array(
        [[i < j and holds(places[i], places[j]) for j in range(len(places))] for i in range(len(places))]
    )
    stage = np.where(fits, spent[None, :] - spent[:, None], np.inf)
    slowest, _ = _best(stage, np.zeros(len(places)), parts, np.maximum)
    if not np.isfinite(slowest):
        raise Refused("OutOfMemory", f"no way to cut the model into {parts} stages makes each fit its device")
    toll = np.array([0.0, *(float(crossing[p]) for p in places[1:-1]), 0.0])
    allowed = np.where(stage <= slowest * (1 + NEAR), 0.0, np.inf)
    _, chosen = _best(allowed, toll, parts, np.add)
    return tuple(places[index] for index in chosen)


def _best(stage: np.ndarray, toll: np.ndarray, parts: int, join: np.ufunc) -> tuple[float, tuple[int, ...]]:
    """The cheapest row of `parts` stages from the first place to the last, and the places between them."""
    count = len(toll)
    value = stage[0].copy()
    steps: list[np.ndarray] = []
    for _ in range(parts - 1):
        whole = join((value + toll)[:, None], stage)
        steps.append(np.argmin(whole, axis=0))
        value = whole[steps[-1], np.arange(count)]
    places, at = [], count - 1
    for step in reversed(steps):
        at = int(step[at])
        places.append(at)
    return float(value[-1]), tuple(reversed(places))

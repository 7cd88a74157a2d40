"""The judge beside three others, on the same streams: python bench/judge.py [--runs N]

How often each rolls a sound candidate back and promotes a bad one, and how many of the candidate's requests
it takes. The others are what people run: a quantile interpolated from a histogram's default buckets against
the SLO with strikes (as Flagger), the ratio of bad requests against a limit with a failureLimit (as Argo
Rollouts), and a two-proportion z-test at the end of a fixed horizon.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))

from seawall.canary.judge import PROMOTE, ROLLBACK  # noqa: E402
from support.rollout_streams import BAD, SOUND, Outcome, Stream, judge, windows  # noqa: E402

Floats = NDArray[np.float64]
SLO = 0.2
SIGMA = 0.5
"""of the logarithm of latency, of which only the share above the SLO is in a stream"""
EDGES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Prometheus' default buckets; none is at the SLO"""
MINUTE = 4
"""windows"""
STRIKES, STEPS = 5, 10
LIMIT = 0.02
"""A ratio of bad requests that a cautious person writes where 1 % is the budget."""
HORIZON = 40
"""windows of the fixed test"""
Z_ALPHA = 2.326
OTHER_ROWS = (
    Stream("the same, 40 windows before", before=40),
    Stream("half as many again", ratio=1.5, before=40),
    Stream("3 times as many slow", ratio=3, before=40),
    Stream("5 times", ratio=5, before=40),
    Stream("10 times", ratio=10, before=40),
    Stream("10 times, none before", ratio=10),
    Stream("errors .1 % in both arms", errors=0.001, before=40),
    Stream("errors .1 % -> 30 %", errors=0.001, error_ratio=300),
)


@dataclass
class Rollouts:
    """Each decided at most once."""

    verdict: NDArray[np.int64]
    requests: Floats

    def decide(self, which: NDArray[np.bool_], verdict: int, requests: Floats) -> None:
        new = which & (self.verdict == 0)
        self.verdict[new], self.requests[new] = verdict, requests[new]


def strikes(
    stream: Stream, runs: int, seed: int, failed: Callable[[Floats, Floats, Floats], NDArray[np.bool_]]
) -> Outcome:
    """A look every minute at the minute's sums; so many failures roll back, so many minutes promote."""
    told = Rollouts(np.zeros(runs, int), np.full(runs, np.inf))
    sums, asked, failures, looks = np.zeros((3, runs)), np.zeros(runs), np.zeros(runs, int), 0
    candidates = [w.candidate for w in windows(replace(stream, before=0), runs, seed)]
    for index, arm in enumerate(candidates, 1):
        counts = np.asarray([arm.requests, arm.slow, arm.errors], float)
        sums, asked = sums + counts, asked + counts[0]
        if index % MINUTE:
            continue
        failures, looks = failures + failed(*sums), looks + 1
        sums = np.zeros((3, runs))
        told.decide(failures >= STRIKES, ROLLBACK, asked)
        if looks == STEPS:
            told.decide(np.ones(runs, bool), PROMOTE, asked)
            break
    return Outcome(told.verdict, told.requests, np.full(runs, np.nan))


def histogram_quantile(n: Floats, slow: Floats, errors: Floats) -> NDArray[np.bool_]:
    """p99 by interpolation; counts at the edges follow from a lognormal with that share above the SLO."""
    share = np.clip(slow / np.maximum(n, 1), 1e-6, 0.999)
    centre = math.log(SLO) - SIGMA * _normal_quantile(1 - share)
    held = np.stack([_normal((math.log(edge) - centre) / SIGMA) for edge in EDGES])
    at = np.minimum((held < 0.99).sum(axis=0), len(EDGES) - 1)
    above = np.take_along_axis(held, at[None], 0)[0]
    below = np.where(at > 0, np.take_along_axis(held, np.maximum(at - 1, 0)[None], 0)[0], 0.0)
    edges = np.concatenate([[0.0], EDGES])
    quantile = edges[at] + (edges[at + 1] - edges[at]) * (0.99 - below) / np.maximum(above - below, 1e-9)
    return (quantile > SLO) | (errors / np.maximum(n, 1) > LIMIT) | (n == 0)


def ratio_limit(n: Floats, slow: Floats, errors: Floats) -> NDArray[np.bool_]:
    return (slow / np.maximum(n, 1) > LIMIT) | (errors / np.maximum(n, 1) > LIMIT) | (n == 0)


def fixed_horizon(stream: Stream, runs: int, seed: int) -> Outcome:
    sums = np.zeros((4, runs))
    for window in windows(replace(stream, before=0, windows=HORIZON), runs, seed):
        bad = [np.maximum(arm.slow, arm.errors) for arm in (window.candidate, window.stable)]
        sums += np.asarray([bad[0], window.candidate.requests, bad[1], window.stable.requests], float)
    x, n, y, m = sums
    pooled = np.clip((x + y) / (n + m), 1e-9, 1 - 1e-9)
    z = (x / n - y / m) / np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return Outcome(np.where(z > Z_ALPHA, ROLLBACK, PROMOTE), n, np.full(runs, float(HORIZON)))


def _normal(z: Floats) -> Floats:
    return np.vectorize(lambda value: 0.5 * math.erfc(-value / math.sqrt(2)))(z)


def _normal_quantile(p: Floats) -> Floats:
    from statistics import NormalDist  # noqa: PLC0415

    return np.vectorize(NormalDist().inv_cdf)(p)


def flagger(stream: Stream, runs: int, seed: int) -> Outcome:
    return strikes(stream, runs, seed, histogram_quantile)


def argo(stream: Stream, runs: int, seed: int) -> Outcome:
    return strikes(stream, runs, seed, ratio_limit)


JUDGES = {"seawall": judge, "quantile": flagger, "ratio": argo, "z-test": fixed_horizon}
CHEAP = 500
"""The others' figures are coarse enough to be seen in so many runs."""


def row(kind: str, stream: Stream, runs: int, seed: int) -> str:
    cells = []
    for name, each in JUDGES.items():
        outcome = each(stream, runs if name == "seawall" else min(runs, CHEAP), seed)
        back, forth = (float((outcome.verdict == verdict).mean()) for verdict in (ROLLBACK, PROMOTE))
        median = float(np.median(outcome.requests))
        cells.append(f"{back:6.4f} {forth:6.4f} {'-' if math.isinf(median) else f'{median:.0f}':>7}")
    return f"{kind:6}{stream.name:32} | " + " | ".join(cells)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    args = parser.parse_args()
    print(" " * 38 + " | " + " | ".join(f"{name:^21}" for name in JUDGES))
    print(f"{'':38} | " + " | ".join(["rolled   prom. req.p50"] * len(JUDGES)), flush=True)
    rows = [(kind, s) for kind, ss in (("sound", SOUND), ("bad", BAD), ("", OTHER_ROWS)) for s in ss]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), context) as pool:
        lines = [
            pool.submit(row, kind, stream, args.runs, 30_000 + number)
            for number, (kind, stream) in enumerate(rows)
        ]
        for line in lines:
            print(line.result(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

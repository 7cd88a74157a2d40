"""Service time by batch size, measured in rounds that go over all candidates in turn.

A busy machine slows everything in a round alike, so that ratios within one run stay honest where times
do not.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from seawall.optimize.graph import session
from seawall.optimize.intervals import median_interval
from seawall.optimize.sessions import answer, batch_of
from seawall.optimize.types import BatchTiming, Graph, Profile, Samples, Signature

ORIGINAL = "original"
"""the candidate that ratios refer to"""
SECONDS = 10.0
WARM_UP = 3
FEWEST = 500
NARROW = 0.02
"""half of the median's 95 % interval over the median, at which more measuring would tell little"""
TURN_MS = 20.0
"""how long one candidate is measured before the next one's turn, so that caches are warm for most of it"""
MOST_IN_A_TURN = 50
Runner = Callable[[int], float]
"""runs one batch of this size and returns how long it took, in milliseconds"""
Measured = Mapping[str, Mapping[int, Sequence[float]]]


def batch_sizes(max_batch_size: int, batched: bool) -> tuple[int, ...]:
    """Powers of two up to the largest batch, and that one."""
    most = max(1, max_batch_size) if batched else 1
    powers = [2**k for k in range(most.bit_length()) if 2**k <= most]
    return tuple(sorted({*powers, most}))


def interleaved(
    graphs: Mapping[str, Graph],
    signature: Signature,
    samples: Samples,
    batches: Sequence[int],
    threads: int,
    seconds: float = SECONDS,
    accelerator: str = "cpu",
) -> dict[str, Profile]:
    """onnxruntime in this process, one session per graph."""
    running = {name: session(graph, threads) for name, graph in graphs.items()}

    def runner(name: str) -> Runner:
        feeds = {size: batch_of(running[name], samples, size) for size in batches}

        def run(size: int) -> float:
            started = time.perf_counter()
            answer(running[name], feeds[size])
            return (time.perf_counter() - started) * 1000.0

        return run

    measured = in_rounds({name: runner(name) for name in graphs}, batches, seconds, time.perf_counter)
    most = max(batches) if signature.batched else 0
    return {
        name: Profile(accelerator, timings(measured, name), "onnxruntime", max_batch_size=most)
        for name in graphs
    }


def in_rounds(
    runners: Mapping[str, Runner], batches: Sequence[int], seconds: float, clock: Callable[[], float]
) -> Measured:
    """Rounds over all candidates and sizes until every median is narrow or the time is spent.

    Every candidate is measured at every size at least once, however short the time.
    """
    taken: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    turns: dict[tuple[str, int], int] = {}
    for name, run in runners.items():
        for size in batches:
            warm = [run(size) for _ in range(WARM_UP)]
            turns[name, size] = max(1, min(MOST_IN_A_TURN, int(TURN_MS / max(min(warm), 1e-6))))
    end = clock() + seconds
    open_sizes = list(batches)
    while open_sizes:
        for size in open_sizes:
            for name, run in runners.items():
                taken[name][size] += [run(size) for _ in range(turns[name, size])]
        if clock() >= end:
            break
        open_sizes = [s for s in open_sizes if not all(is_narrow(taken[name][s]) for name in runners)]
    return taken


def is_narrow(times: Sequence[float]) -> bool:
    if len(times) < FEWEST:
        return False
    ordered = sorted(times)
    low, high = median_interval(ordered)
    return (high - low) / 2 <= NARROW * ordered[len(ordered) // 2]


def timings(measured: Measured, name: str, original: str = ORIGINAL) -> tuple[BatchTiming, ...]:
    reference = measured.get(original)
    rows = []
    for size, times in sorted(measured[name].items()):
        middle = float(np.median(times))
        base = float(np.median(reference[size])) if reference is not None and name != original else None
        rows.append(
            BatchTiming(
                size=size,
                mean_ms=float(np.mean(times)),
                std_ms=float(np.std(times, ddof=1)) if len(times) > 1 else 0.0,
                p50_ms=middle,
                p99_ms=float(np.percentile(times, 99)),
                samples=len(times),
                ratio_to_original=middle / base if base else None,
            )
        )
    return tuple(rows)

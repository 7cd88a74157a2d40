"""Stages run one after the other, as an ensemble runs them: timed, and compared with the whole."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from seawall.optimize import graph as graphs
from seawall.optimize.sessions import answer, batch_of, batches
from seawall.optimize.split.extract import Piece
from seawall.optimize.types import Array, Graph, Samples

SECONDS = 2.0
FEWEST = 7
MOST = 400


class Chain:
    """Sessions of all stages."""

    def __init__(self, pieces: Sequence[Piece], threads: int = 1) -> None:
        self.pieces = pieces
        self.sessions = [graphs.session(piece.graph, threads) for piece in pieces]

    def feeds(self, inputs: dict[str, Array]) -> Iterator[tuple[Any, dict[str, Array], dict[str, Array]]]:
        """Of every stage in turn its session, what it takes, and all tensors known after it."""
        known = dict(inputs)
        for piece, session in zip(self.pieces, self.sessions, strict=True):
            feed = {name: known[name] for name in piece.inputs}
            known |= zip(piece.outputs, answer(session, feed, list(piece.outputs)), strict=True)
            yield session, feed, known

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        known: dict[str, Array] = {}
        for _, _, known in self.feeds(inputs):  # noqa: B007 - the last one knows all
            pass
        return known

    def milliseconds(self, inputs: dict[str, Array]) -> list[float]:
        """Of every stage, in rounds over all of them: what else the machine does hits them alike."""
        turns = [(session, feed) for session, feed, _ in self.feeds(inputs)]
        taken: list[list[float]] = [[] for _ in turns]
        end = time.perf_counter() + SECONDS
        for count in range(MOST):
            for (session, feed), times in zip(turns, taken, strict=True):
                started = time.perf_counter()
                session.run(None, feed)
                times.append((time.perf_counter() - started) * 1000.0)
            if count >= FEWEST and time.perf_counter() > end:
                break
        return [statistics.median(times) for times in taken]

    def sample(self, samples: Samples, batched: bool) -> list[dict[str, tuple[int, ...]]]:
        """Of every stage the dimensions of its inputs for one sample, without the batch."""
        feed = batch_of(self.sessions[0], samples, 1)
        return [
            {name: tuple(array.shape[1:] if batched else array.shape) for name, array in taken.items()}
            for _, taken, _ in self.feeds(feed)
        ]


def difference(whole: Graph, chain: Chain, samples: Samples, batch: int) -> float:
    """The largest, relative to values above one; infinity for other shapes, types, texts or whole numbers."""
    session = graphs.session(whole)
    names = [entry.name for entry in session.get_outputs()]
    worst = 0.0
    for feed in batches(session, samples, batch):
        found = chain.run(feed)
        for name, wanted in zip(names, answer(session, feed, names), strict=True):
            worst = max(worst, _difference(wanted, found[name]))
    return worst


def _difference(wanted: Array, found: Array) -> float:
    if wanted.shape != found.shape or wanted.dtype != found.dtype:
        return float("inf")
    if wanted.dtype.kind != "f":
        return 0.0 if np.array_equal(wanted, found) else float("inf")
    first, second = wanted.astype(np.float64), found.astype(np.float64)
    if not np.array_equal(np.isfinite(first), np.isfinite(second)):
        return float("inf")
    usual = np.isfinite(first)
    if not np.array_equal(first[~usual], second[~usual], equal_nan=True):
        return float("inf")
    gaps = np.abs(first - second)[usual] / np.maximum(1.0, np.abs(first[usual]))
    return float(gaps.max(initial=0.0))

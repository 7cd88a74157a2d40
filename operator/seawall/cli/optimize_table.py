"""The table of `seawall optimize`: a row as soon as a preset is done, progress beneath it on a terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from seawall.optimize.types import PresetResult, Profile, Proof

WIDTHS = (16, 10, 7, 27)
CELL = 22
MOST_BATCHES = 3
LINE = 100
TICK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Said:
    stage: str
    percent: float | None
    message: str
    since: float
    """when the stage began"""


class Table:
    """Inside `with`, the line of progress also tells how long its stage has taken."""

    def __init__(self, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet, self._clock = quiet, clock
        self._live = sys.stderr.isatty()
        self._sizes: tuple[int, ...] = ()
        self._said: _Said | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        if self._live:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._live:
            self._thread.join()
        self.clear()

    def say(self, stage: str, percent: float | None, message: str) -> None:
        """One line that is written over; nowhere but on a terminal."""
        with self._lock:
            before = self._said
            same = before is not None and before.stage == stage
            since = before.since if before is not None and same else self._clock()
            self._said = _Said(stage, percent, message, since)
            self._draw()

    def clear(self) -> None:
        with self._lock:
            self._said = None
            if self._live:
                print("\r\033[K", end="", file=sys.stderr, flush=True)

    def _tick(self) -> None:
        while not self._over.wait(TICK_SECONDS):
            with self._lock:
                self._draw()

    def _draw(self) -> None:
        if self._live and self._said is not None:
            line = progress_line(self._said, self._clock())
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)

    def head(self, prepared: Any, order: Any) -> None:
        from seawall.optimize.timing import batch_sizes  # noqa: PLC0415

        self._sizes = shown_sizes(batch_sizes(order.max_batch_size, prepared.signature.batched))
        if self._quiet:
            return
        self.clear()
        evaluation = prepared.evaluation
        print(
            f"{order.model}: {human(prepared.fetched.bytes)}, for {order.target.name};"
            f" {evaluation.count} {evaluation.source} samples"
        )
        times = [f"p50/p99 ms, batch {size}" for size in self._sizes]
        print(_line(("PRESET", "SIZE", "RATIO", order.criterion.metric.upper()), times, "VERDICT"))

    def row(self, result: PresetResult) -> None:
        if self._quiet:
            return
        self.clear()
        verdict = "accepted" if result.accepted else result.reason.partition(":")[0]
        ratio = result.compression_ratio
        size = "-" if result.compressed_bytes is None else human(result.compressed_bytes)
        first = (result.preset, size, "-" if ratio is None else f"{ratio:.2f}", accuracy(result.proof))
        print(_line(first, [_time(result.profile, size) for size in self._sizes], verdict), flush=True)

    def chosen(self, best: PresetResult) -> None:
        if not self._quiet:
            self.clear()
            print(f"auto: {best.preset}")

    def notes(self, rows: Sequence[PresetResult]) -> None:
        """The sentences that no column holds."""
        self.clear()
        for row in rows:
            if row.accepted and row.artifact is not None:
                print(f"{row.preset}: {row.artifact.uri}")
            for line in _details(row):
                print(f"{row.preset}: {line}")


def _details(row: PresetResult) -> list[str]:
    lines = []
    if row.compressed is not None and row.accepted:
        left = f"; left alone: {', '.join(row.compressed.excluded)}" if row.compressed.excluded else ""
        lines.append(f"{row.compressed.method}{left}")
    if row.proof is not None and row.proof.drop is not None:
        drop = row.proof.drop
        lines.append(
            f"accuracy {drop.original:.2f} % -> {drop.compressed:.2f} %,"
            f" drop {drop.drop:.2f} points ({drop.low:.2f} to {drop.high:.2f})"
        )
    if row.reason:
        lines.append(row.reason)
    return [*lines, *row.notes]


def progress_line(said: _Said, now: float) -> str:
    share = "" if said.percent is None else f" {said.percent:.0f} %"
    seconds = int(now - said.since)
    return f"{said.stage}{share}{f' {seconds} s' if seconds else ''}: {said.message}"[:LINE]


def shown_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    """The smallest, the largest, and 8 or the middle one."""
    if len(sizes) <= MOST_BATCHES:
        return tuple(sizes)
    middle = 8 if 8 in sizes[1:-1] else sizes[len(sizes) // 2]
    return (sizes[0], middle, sizes[-1])


def human(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def accuracy(proof: Proof | None) -> str:
    if proof is None:
        return "-"
    edge = f"<= {proof.high:.4f}" if proof.metric == "relative-error" else f">= {proof.low:.4f}"
    return f"{proof.value:.4f} ({edge}){' unproven' if proof.unproven else ''}"


def _time(profile: Profile | None, size: int) -> str:
    batch = next((b for b in profile.batches if b.size == size), None) if profile else None
    if batch is None:
        return "-"
    ratio = "" if batch.ratio_to_original is None else f" x{batch.ratio_to_original:.2f}"
    return f"{batch.p50_ms:.3g}/{batch.p99_ms:.3g}{ratio}"


def _line(first: Sequence[str], times: Sequence[str], verdict: str) -> str:
    cells = [text.ljust(width) for text, width in zip(first, WIDTHS, strict=True)]
    return "  ".join([*cells, *(time.ljust(CELL) for time in times), verdict]).rstrip()

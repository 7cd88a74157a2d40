"""The table of `seawall optimize`: a row as soon as a preset is done, progress beneath it on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from seawall.optimize.types import PresetResult, Profile, Proof

WIDTHS = (16, 10, 7, 27)
CELL = 22
MOST_BATCHES = 3


class Table:
    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty()
        self._sizes: tuple[int, ...] = ()

    def say(self, stage: str, percent: float | None, message: str) -> None:
        """One line that is written over; nowhere but on a terminal."""
        if self._live:
            share = "" if percent is None else f" {percent:.0f} %"
            print(f"\r\033[K{stage}{share}: {message}"[:100], end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

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
    return lines


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

"""How far a long simulation is, for whoever sits in front of it."""

from __future__ import annotations

import sys
from typing import TextIO


class Bar:
    """One line on standard error that is written over; nowhere but on a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._shown = -1

    def __call__(self, what: str, share: float) -> None:
        percent = int(100 * share)
        if self._live and percent != self._shown:
            self._shown = percent
            full = "#" * (percent // 4)
            print(f"\r\033[K[{full:<25}] {percent:3d} % {what}", end="", file=self._stream, flush=True)

    def clear(self) -> None:
        if self._live:
            print("\r\033[K", end="", file=self._stream, flush=True)

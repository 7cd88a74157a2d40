"""What the commands for people share: colours where a person looks, and which cluster is meant."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

Paint = Callable[[str, str], str]


def add_color(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto",
        help="auto: on a terminal, unless NO_COLOR is set (default: auto)",
    )  # fmt: skip


def add_context(parser: argparse.ArgumentParser) -> Any:
    return parser.add_argument(
        "--context", metavar="NAME", help="of the kubeconfig; default: the current one"
    )


def painter(choice: str, stream: TextIO, environment: Mapping[str, str] = os.environ) -> Paint:
    """paint(text, code): with the SGR code where colours are wanted, else the text alone."""
    wanted = choice == "always" or (
        choice == "auto"
        and not environment.get("NO_COLOR")
        and environment.get("TERM") != "dumb"
        and stream.isatty()
    )
    return _coloured if wanted else _plain


def _coloured(text: str, code: str) -> str:
    bare = text.rstrip()
    return f"\x1b[{code}m{bare}\x1b[0m{text[len(bare) :]}" if code and bare else text


def _plain(text: str, code: str) -> str:
    return text


def aligned(
    lines: Sequence[Sequence[str]],
    paint: Paint = _plain,
    code: Callable[[int, int], str] = lambda line, column: "",
    width: int | None = None,
) -> str:
    """Columns side by side. `code(line, column)` says the colour; `width`: the last column is cut to fit."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = []
    for number, line in enumerate(lines):
        cells = [cell.ljust(size) for cell, size in zip(line, widths, strict=True)]
        cells[-1] = (
            line[-1] if width is None else _cut(line[-1], width - sum(widths[:-1]) - 2 * len(cells) + 2)
        )
        painted = (paint(cell, code(number, column)) for column, cell in enumerate(cells))
        shown.append("  ".join(painted).rstrip())
    return "\n".join(shown)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= max(room, 20) else text[: max(room, 20) - 1] + "…"


__all__ = ["Paint", "add_color", "add_context", "aligned", "painter"]

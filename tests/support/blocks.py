"""The shell commands of a page of the documentation, as its reader would copy them."""

from __future__ import annotations

import re
from pathlib import Path

_BLOCK = re.compile(
    r"(?P<mark><!-- not run: [^>]+ -->\n)?^```sh\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


def shell_blocks(page: Path) -> list[str]:
    """Those that are to be run, in order. One that is not says why, in a comment right above it."""
    return [found["text"] for found in _BLOCK.finditer(page.read_text()) if not found["mark"]]

"""The directory outside the checkout that every checkout shares: programs, definitions, images."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory() -> Path:
    chosen = os.environ.get("SEAWALL_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "seawall"

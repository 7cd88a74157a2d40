"""One JSON object per line on standard output: the fetcher's log."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any


def say(message: str, level: str = "info", **facts: Any) -> None:
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "level": level, "message": message}
    sys.stdout.write(json.dumps({**line, **facts}) + "\n")
    sys.stdout.flush()

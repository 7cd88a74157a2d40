"""One JSON object per line on standard output: the fetcher's log."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

from seawall.fetch.redact import redacted


def say(message: str, level: str = "info", **facts: Any) -> None:
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "level": level, "message": message}
    told = {k: redacted(v) if isinstance(v, str) else v for k, v in {**line, **facts}.items()}
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()

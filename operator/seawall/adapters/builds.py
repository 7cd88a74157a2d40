"""Asks a build's pod how far it is. The pod belongs to a user's namespace: little is read, and nothing
believed beyond its type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from seawall.decide.types import Progress

TOTAL_SECONDS = 2.0
ANSWER_BYTES = 4096
STAGE_LIMIT, MESSAGE_LIMIT = 64, 256


class BuildPods:
    """Implements seawall.ports.Builds."""

    def __init__(self, total_seconds: float = TOTAL_SECONDS) -> None:
        self._timeout = aiohttp.ClientTimeout(total=total_seconds)

    async def progress(self, address: str) -> Progress | None:
        try:
            async with (
                aiohttp.ClientSession(timeout=self._timeout, trust_env=False) as session,
                session.get(f"http://{address}/progress", allow_redirects=False) as answer,
            ):
                if answer.status != 200:
                    return None
                return read_progress(await answer.content.read(ANSWER_BYTES))
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None


def read_progress(raw: bytes) -> Progress | None:
    try:
        told = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, Mapping) or not isinstance(told.get("stage"), str) or not told["stage"]:
        return None
    message = told.get("message")
    words = " ".join(message.split())[:MESSAGE_LIMIT] if isinstance(message, str) else ""
    return Progress(told["stage"][:STAGE_LIMIT], _percent(told.get("percent")), words)


def _percent(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(min(max(value, 0), 100)) if value == value else None  # noqa: PLR0124 - NaN is no percent

"""Asks the comparator of a shadow step what it has counted. Its pod runs in a user's namespace, so little is
read, and nothing believed that does not add up.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import aiohttp

from seawall.canary.shadow import Tally
from seawall.decide.types import TallyRequest
from seawall.ports import NoAnswer

TOTAL_SECONDS = 2.0
ANSWER_BYTES = 8192
TEXT_LIMIT = 300
MOST_COUNT = 10**12
WORDS = frozenset({"start", "order", "refusal", "remark"})


async def counted(request: TallyRequest, seconds: float = TOTAL_SECONDS) -> Tally:
    """Raises NoAnswer."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds), trust_env=False) as session,
            session.get(f"http://{request.address}/counts", allow_redirects=False) as answer,
        ):
            raw = await _read(answer) if answer.status == 200 else b""
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise NoAnswer(f"it does not answer: {str(error) or type(error).__name__}") from error
    tally = read_tally(raw)
    if tally is None:
        raise NoAnswer("what it answers are no counts")
    if tally.order != request.order:
        raise NoAnswer(f"it works for {tally.order or 'nobody'}, not for {request.order}")
    return tally


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    raw = b""
    async for chunk in answer.content.iter_chunked(ANSWER_BYTES):
        raw += chunk
        if len(raw) > ANSWER_BYTES:
            break
    return raw


def read_tally(raw: bytes) -> Tally | None:
    try:
        told = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or any(field.name not in told for field in fields(Tally)):
        return None
    found: dict[str, Any] = {}
    for field in fields(Tally):
        value = _value(field.name, told[field.name])
        if value is None:
            return None
        found[field.name] = value
    tally = Tally(**found)
    return tally if tally.start and _adds_up(tally) else None


def _value(name: str, value: Any) -> Any:
    if name in WORDS:
        return " ".join(value.split())[:TEXT_LIMIT] if isinstance(value, str) else None
    if name == "repeats":
        return value if isinstance(value, bool) else None
    if name == "metrics":
        words = isinstance(value, list) and all(isinstance(word, str) for word in value)
        return tuple(word[:TEXT_LIMIT] for word in value[:3]) if words else None
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_COUNT
    return value if whole else None


def _adds_up(tally: Tally) -> bool:
    return (
        tally.differ <= tally.compared <= tally.seen
        and tally.doubled <= tally.compared
        and tally.noise <= tally.doubled
        and tally.only_candidate <= min(tally.differ, tally.doubled)
        and tally.only_stable <= tally.noise
    )

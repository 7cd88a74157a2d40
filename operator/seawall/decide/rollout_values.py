"""Values out of a status that another version, or a hand, may have written.

What is not as it should be counts as absent: a rollout that remembers less begins again with no traffic, and
one that raises an error looks at nothing at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from seawall.decide.conditions import parse_timestamp

Fields = Mapping[str, Any]


def fields(raw: Any) -> Fields:
    return raw if isinstance(raw, Mapping) else {}


def text(raw: Any) -> str | None:
    return raw if isinstance(raw, str) and raw else None


def count(raw: Any, most: int | None = None) -> int | None:
    """A whole number from 0 on."""
    if not isinstance(raw, int) or isinstance(raw, bool) or raw < 0:
        return None
    return raw if most is None else min(raw, most)


def moment(raw: Any) -> datetime | None:
    try:
        found = parse_timestamp(raw) if isinstance(raw, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None


def entries(raw: Any) -> tuple[Fields, ...]:
    """Of a list of objects that each name a revision."""
    listed = raw if isinstance(raw, list) else []
    return tuple(e for e in listed if isinstance(e, Mapping) and text(e.get("revision")))

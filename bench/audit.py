"""What one user asked of the API server, read from the audit log while it grows."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
CLOCKWORK = frozenset({"leases"})
"""Asked for by the clock and not by the work: reported apart."""


@dataclass(frozen=True)
class Call:
    verb: str
    resource: str
    """plural, with the subresource after a slash"""
    namespace: str
    name: str
    code: int
    received: float
    answered: float

    @property
    def writes(self) -> bool:
        return self.verb in WRITES

    @property
    def created(self) -> bool:
        return self.code == 201


class AuditLog:
    """New calls of one user each time it is asked; every request once, watches when they begin."""

    def __init__(self, path: Path, user: str) -> None:
        self._path, self._user = path, user
        self._offset = 0
        self._seen_watches: set[str] = set()

    def new(self) -> list[Call]:
        if not self._path.exists():
            return []
        with self._path.open("rb") as log:
            log.seek(self._offset)
            data = log.read()
        complete = data.rfind(b"\n") + 1
        self._offset += complete
        events = (json.loads(line) for line in data[:complete].splitlines())
        return [call for event in events if (call := self._call(event)) is not None]

    def _call(self, event: dict[str, Any]) -> Call | None:
        if event["user"]["username"] != self._user:
            return None
        if event["stage"] == "ResponseStarted":
            self._seen_watches.add(event["auditID"])
        elif event["auditID"] in self._seen_watches:
            self._seen_watches.discard(event["auditID"])
            return None  # a watch that ends: counted when it began
        about = event.get("objectRef", {})
        resource = about.get("resource", event["requestURI"].partition("?")[0])
        if about.get("subresource"):
            resource = f"{resource}/{about['subresource']}"
        return Call(
            event["verb"],
            resource,
            about.get("namespace", ""),
            about.get("name", ""),
            event.get("responseStatus", {}).get("code", 0),
            _seconds(event["requestReceivedTimestamp"]),
            _seconds(event["stageTimestamp"]),
        )


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def work(calls: list[Call]) -> list[Call]:
    return [c for c in calls if c.resource not in CLOCKWORK]


def writes(calls: list[Call]) -> list[Call]:
    return [c for c in work(calls) if c.writes]


def by_kind(calls: list[Call]) -> dict[str, int]:
    """`verb resource` -> how often, the most frequent first."""
    counted = Counter(f"{c.verb} {c.resource}" for c in calls)
    return dict(counted.most_common())

"""What a check of `seawall doctor` starts from and what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

from seawall.cli.doctor_reader import Manifest, Reader, Reading

Level = Literal["ok", "none", "warn", "fail", "unknown"]
"""`none`: something optional is not there, and nobody asks for it. `unknown`: this account may not look."""


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    topic: str
    message: str
    advice: str = ""


Findings = Iterator[Finding]
SERVING = "/apis/serving.seawall.dev/v1alpha1"
OPERATOR_LABELS = "app.kubernetes.io/name=seawall,app.kubernetes.io/component=operator"


def hidden(topic: str, what: str, reading: Reading) -> Finding:
    """Of a reading that is neither found nor absent."""
    if reading.state == "Forbidden":
        return Finding("unknown", topic, f"this account may not look at {what}: {reading.message}")
    return Finding("unknown", topic, f"{what} cannot be read: {reading.message or reading.state}")


@dataclass
class Situation:
    """The cluster as far as several checks need it; each part is read once, and only if it is asked for."""

    reader: Reader
    now: datetime
    namespace: str | None = None
    """Where the operator is; None: look everywhere."""
    address: str = ""
    _kept: dict[str, Reading] = field(default_factory=dict)

    def get(self, path: str, **query: str) -> Reading:
        key = path + json.dumps(query, sort_keys=True)
        if key not in self._kept:
            self._kept[key] = self.reader.get(path, **query)
        return self._kept[key]

    @cached_property
    def operators(self) -> Reading:
        place = f"/namespaces/{self.namespace}" if self.namespace else ""
        return self.get(f"/apis/apps/v1{place}/deployments", labelSelector=OPERATOR_LABELS)

    @cached_property
    def operator(self) -> Manifest | None:
        """The first one, where there is any."""
        return next(iter(self.operators.items), None)

    @cached_property
    def settings(self) -> Mapping[str, str]:
        """What the operator's environment says, without what it gets from references."""
        if self.operator is None:
            return {}
        containers = self.operator["spec"]["template"]["spec"]["containers"]
        return {e["name"]: e["value"] for c in containers for e in c.get("env") or () if "value" in e}

    @property
    def services(self) -> Reading:
        return self.get(f"{SERVING}/inferenceservices")

    @property
    def classes(self) -> Reading:
        return self.get(f"{SERVING}/acceleratorclasses")

    def asking(self, *path: str) -> list[str]:
        """Names of the services that have something at this path of their spec."""
        found = []
        for service in self.services.items:
            value: Any = service.get("spec") or {}
            for step in path:
                value = value.get(step) if isinstance(value, Mapping) else None
            if value:
                found.append(name_of(service))
        return found

    def with_mode(self, mode: str) -> list[str]:
        return [
            name_of(s)
            for s in self.services.items
            if ((s.get("spec") or {}).get("scaling") or {}).get("mode") == mode
        ]

    def serves(self, group_version: str, *resources: str) -> bool | Reading:
        """Whether the API server lists all of these, or the reading that hides it."""
        reading = self.get(f"/apis/{group_version}")
        if reading.state in ("Forbidden", "Failed"):
            return reading
        names = {entry.get("name") for entry in reading.data.get("resources") or ()}
        return set(resources) <= names


def name_of(manifest: Mapping[str, Any]) -> str:
    meta = manifest["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


def some(names: list[str], most: int = 3) -> str:
    """The first few."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


__all__ = ["SERVING", "Finding", "Findings", "Level", "Situation", "hidden", "name_of", "some"]

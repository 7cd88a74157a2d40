"""Who needs which build: services that want it, and Deployments that serve what it made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from seawall.decide.types import Key
from seawall.desired.names import INPUTS_ANNOTATION
from seawall.runtime.kinds import DEPLOYMENT, SERVICE, Kind

Place = tuple[str, str, str]
"""kind, namespace, name"""


def place_of(kind: Kind, manifest: Mapping[str, Any]) -> Place:
    meta = manifest["metadata"]
    return kind.kind, meta.get("namespace", ""), meta["name"]


def build_named(kind: Kind, manifest: Mapping[str, Any]) -> str:
    """The build that the object names; empty where it names none."""
    if kind is SERVICE:
        rollout = (manifest.get("status") or {}).get("rollout") or {}
        return str(rollout.get("build") or "")
    if kind is DEPLOYMENT:
        text = (manifest["metadata"].get("annotations") or {}).get(INPUTS_ANNOTATION, "")
        return _build_of(text) if '"artifact"' in text else ""
    return ""


def _build_of(inputs: str) -> str:
    try:
        return str(json.loads(inputs)["platform"]["artifact"]["build"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


class Uses:
    def __init__(self) -> None:
        self._places: dict[tuple[str, str], set[Place]] = {}
        self._names: dict[Place, str] = {}

    def put(self, kind: Kind, place: Place, manifest: Mapping[str, Any]) -> None:
        name = build_named(kind, manifest)
        if self._names.get(place, "") == name:
            return
        self.drop(place)
        if name:
            self._names[place] = name
            self._places.setdefault((place[1], name), set()).add(place)

    def drop(self, place: Place) -> None:
        name = self._names.pop(place, None)
        if name is None:
            return
        members = self._places[place[1], name]
        members.discard(place)
        if not members:
            del self._places[place[1], name]

    def any(self, build: Key) -> bool:
        return (build.namespace, build.name) in self._places

    def services(self, namespace: str, build: str) -> list[Key]:
        places = self._places.get((namespace, build), ())
        return sorted(Key(ns, name) for kind, ns, name in places if kind == SERVICE.kind)

"""What the watch has told, kept small: every reconcile reads from here, so that it costs the API nothing.

Objects are kept as compact JSON rather than as trees of dicts: a Deployment takes a tenth of the memory, and
each reader gets a copy of its own. Three sources feed the store - the watch, our own writes, and a LIST that
repairs what a broken watch has missed - and none of them may take an object back to an older version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from seawall.decide.types import Key, Manifest
from seawall.desired.names import COMPONENT, MODEL_BUILD, MODEL_SERVER
from seawall.runtime.kinds import (
    ACCELERATOR,
    BUILD,
    BUILD_CHILDREN,
    BY_NAME,
    CHILDREN,
    SERVICE,
    SHARED,
    Kind,
    labels_of,
)
from seawall.runtime.reading import Ownership, accelerator_name, newer, owner_of, ownership, trimmed
from seawall.runtime.uses import Place, Uses, place_of

SHARED_BY_ALL = Key("", "")
USERS = {SERVICE.kind: MODEL_SERVER, BUILD.kind: MODEL_BUILD}
"""Which component's shared objects a kind uses."""

NOBODYS = Ownership("", False, False)


@dataclass(frozen=True, slots=True)
class Standing:
    """Who has a say in an object, from its managedFields; the server keeps them exact to the field."""

    version: str
    ours: str
    """digest of the set of fields that we own: it shrinks as soon as anybody else changes one of them"""
    alone: bool
    """nobody else has ever written to it, except to its status and its count"""
    counts: bool = False
    """the count is among our fields, as an earlier operator applied it"""


@dataclass(slots=True)
class _Entry:
    version: str
    uid: str
    owner: Key | None
    """the service or build that it belongs to, by label"""
    accelerator: str
    """the class of a service"""
    body: bytes
    ours: str = ""
    alone: bool = False
    counts: bool = False


class Store:
    def __init__(self) -> None:
        self._entries: dict[Place, _Entry] = {}
        self._owned: dict[Key, set[Place]] = {}
        self._users: dict[str, set[Key]] = {}
        self._kept: dict[tuple[str, str], set[str]] = {}
        self._service_count = 0
        self.uses = Uses()
        self._writing: dict[Place, str] = {}
        self._gone: dict[str, dict[Place, str]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    # What the watch, a LIST or our own write tells.

    def put(self, kind: Kind, manifest: Manifest) -> bool:
        """True when this is news: newer, different in what we look at, and not our own write."""
        place = place_of(kind, manifest)
        version = str(manifest["metadata"].get("resourceVersion", ""))
        if place in self._writing:
            self._writing[place] = newer(version, self._writing[place])
        changed = self._set(kind, place, manifest, version)
        return changed and place not in self._writing

    def remove(self, kind: Kind, manifest: Manifest) -> bool:
        """The watch says that this incarnation is gone."""
        place = place_of(kind, manifest)
        meta = manifest["metadata"]
        version = str(meta.get("resourceVersion", ""))
        if place in self._writing:
            self._writing[place] = newer(version, self._writing[place])
        if kind.kind in self._gone:
            self._gone[kind.kind][place] = version
        entry = self._entries.get(place)
        if entry is None or (entry.uid and meta.get("uid") and entry.uid != meta["uid"]):
            return False
        self._drop(place)
        return True

    def begin_list(self, kind: Kind) -> None:
        """From now until `replace`, what the watch reports gone is remembered, whatever the LIST says."""
        self._gone[kind.kind] = {}

    def replace(
        self, kind: Kind, items: Iterable[Manifest], list_version: str, namespace: str | None = None
    ) -> tuple[list[Manifest], list[Manifest]]:
        """What a LIST showed; returns what was news in it and what of ours it did not hold any more."""
        gone = self._gone.pop(kind.kind, {})
        listed: set[Place] = set()
        news = []
        for item in items:
            place = place_of(kind, item)
            listed.add(place)
            version = str(item["metadata"].get("resourceVersion", ""))
            if place in gone and newer(gone[place], version) == gone[place]:
                continue
            if self.put(kind, item):
                news.append(item)
        ghosts = [
            place
            for place, entry in self._entries.items()
            if place[0] == kind.kind
            and place not in listed
            and place not in self._writing
            and (namespace is None or place[1] == namespace)
            and newer(entry.version, list_version) == list_version
        ]
        vanished = [self._read(place) for place in ghosts]
        for place in ghosts:
            self._drop(place)
        return news, vanished

    def begin_write(self, kind: Kind, namespace: str, name: str) -> None:
        self._writing[(kind.kind, namespace, name)] = ""

    def end_write(self, kind: Kind, namespace: str, name: str, result: Manifest | None) -> bool:
        """True when the object deserves another look, because others have changed it around our write."""
        place = (kind.kind, namespace, name)
        seen = self._writing.pop(place, "")
        if result is None:
            return bool(seen)
        version = str(result["metadata"].get("resourceVersion", ""))
        before = self._entries.get(place)
        old = self._read(place) if before is not None and kind in (SERVICE, BUILD) else None
        if seen and seen != version and newer(seen, version) == seen:
            return True
        changed = self._set(kind, place, result, version)
        if old is not None:
            new = self._read(place)
            return _without_status(old) != _without_status(new)
        return bool(seen and seen != version) or (before is not None and changed)

    def forget(self, kind: Kind, namespace: str, name: str, uid: str | None) -> None:
        """We have deleted it."""
        place = (kind.kind, namespace, name)
        entry = self._entries.get(place)
        if entry is not None and uid in (None, entry.uid):
            self._drop(place)

    def clear(self, kind: Kind) -> None:
        """The cluster serves this kind no more."""
        for place in [place for place in self._entries if place[0] == kind.kind]:
            self._drop(place)

    # What reconciles ask.

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        place = (kind.kind, namespace, name)
        return self._read(place) if place in self._entries else None

    def standing(self, kind: Kind, namespace: str, name: str) -> Standing | None:
        entry = self._entries.get((kind.kind, namespace, name))
        return Standing(entry.version, entry.ours, entry.alone, entry.counts) if entry else None

    def service(self, key: Key) -> Manifest | None:
        return self.get(SERVICE, key.namespace, key.name)

    def accelerator(self, name: str) -> Manifest | None:
        return self.get(ACCELERATOR, "", name)

    def build(self, key: Key) -> Manifest | None:
        return self.get(BUILD, key.namespace, key.name)

    def children(self, key: Key) -> dict[str, list[Manifest]]:
        """By kind, in order of name."""
        kinds = BUILD_CHILDREN if key.kind == BUILD.kind else CHILDREN
        found: dict[str, list[Manifest]] = {kind.kind: [] for kind in kinds}
        for place in sorted(self._owned.get(key, ())):
            found[place[0]].append(self._read(place))
        return found

    def versions(self, key: Key) -> tuple[str, ...]:
        """Of the service and its children: as long as it stays the same, so have they."""
        service = self._entries.get((SERVICE.kind, key.namespace, key.name))
        children = sorted((place, self._entries[place].version) for place in self._owned.get(key, ()))
        return (service.version if service else "", *(f"{p[0]}/{p[2]}@{v}" for p, v in children))

    def places(self, key: Key) -> list[Place]:
        """Of the children of the service or build."""
        return list(self._owned.get(key, ()))

    def shared(self, namespace: str) -> list[Manifest]:
        """The namespace's objects that all its services use."""
        places = (p for p in self._shared_places() if p[1] == namespace)
        return [self._read(place) for place in places]

    def services(self) -> list[Key]:
        return [Key(namespace, name) for kind, namespace, name in self._entries if kind == SERVICE.kind]

    def builds(self) -> list[Key]:
        return [
            Key(namespace, name, BUILD.kind)
            for (kind, namespace), names in self._kept.items()
            if kind == BUILD.kind
            for name in names
        ]

    def builds_in(self, namespace: str) -> list[str]:
        return sorted(self._kept.get((BUILD.kind, namespace), ()))

    def users(self, accelerator: str) -> list[Key]:
        return sorted(self._users.get(accelerator, ()))

    @property
    def service_count(self) -> int:
        return self._service_count

    def serves(self, namespace: str) -> bool:
        """Whether any service lives in the namespace."""
        return (SERVICE.kind, namespace) in self._kept

    def services_in(self, namespace: str) -> Iterator[Key]:
        return (Key(namespace, name) for name in sorted(self._kept.get((SERVICE.kind, namespace), ())))

    def left_over(self, namespace: str) -> list[Manifest]:
        """The namespace's shared objects that nobody there shares any more."""
        kept = {name for kind, name in USERS.items() if (kind, namespace) in self._kept}
        return [live for live in self.shared(namespace) if labels_of(live).get(COMPONENT) not in kept]

    def shared_namespaces(self) -> set[str]:
        return {place[1] for place in self._shared_places()}

    def _shared_places(self) -> list[Place]:
        return sorted(self._owned.get(SHARED_BY_ALL, ()))

    # Bookkeeping.

    def _set(self, kind: Kind, place: Place, manifest: Manifest, version: str) -> bool:
        entry = self._entries.get(place)
        uid = str(manifest["metadata"].get("uid", ""))
        if entry is not None and (entry.version == version or newer(entry.version, version) == entry.version):
            return False
        body = json.dumps(trimmed(kind, manifest), separators=(",", ":")).encode()
        owned = ownership(manifest) if kind.selector else NOBODYS
        if entry is not None and entry.uid == uid and entry.body == body:
            changed, entry.version = entry.ours != owned.ours, version
            entry.ours, entry.alone, entry.counts = owned
            return changed
        if entry is not None:
            self._drop(place)
        owner = SHARED_BY_ALL if kind in SHARED else owner_of(kind, manifest)
        accelerator = accelerator_name(manifest) if kind is SERVICE else ""
        self._entries[place] = _Entry(version, uid, owner, accelerator, body, *owned)
        self._index(kind, place, self._entries[place])
        self.uses.put(kind, place, manifest)
        return True

    def _index(self, kind: Kind, place: Place, entry: _Entry) -> None:
        if kind.kind in USERS:
            self._kept.setdefault((kind.kind, place[1]), set()).add(place[2])
        if kind is SERVICE:
            self._service_count += 1
            self._users.setdefault(entry.accelerator, set()).add(Key(place[1], place[2]))
        if entry.owner is not None:
            self._owned.setdefault(entry.owner, set()).add(place)

    def _drop(self, place: Place) -> None:
        entry = self._entries.pop(place)
        kind, namespace, name = place
        self.uses.drop(place)
        if kind in USERS:
            _discard(self._kept, (kind, namespace), name)
        if kind == SERVICE.kind:
            self._service_count -= 1
            _discard(self._users, entry.accelerator, Key(namespace, name))
        if entry.owner is not None:
            _discard(self._owned, entry.owner, place)

    def _read(self, place: Place) -> Manifest:
        entry = self._entries[place]
        manifest: Manifest = json.loads(entry.body)
        kind = BY_NAME[place[0]]
        manifest["apiVersion"], manifest["kind"] = kind.api_version, kind.kind
        manifest["metadata"]["resourceVersion"] = entry.version
        return manifest


def _without_status(manifest: Manifest) -> Manifest:
    meta = {k: v for k, v in manifest["metadata"].items() if k != "resourceVersion"}
    return {**manifest, "metadata": meta, "status": None}


def _discard(index: dict[Any, set[Any]], key: Any, item: Any) -> None:
    members = index.get(key)
    if members is not None:
        members.discard(item)
        if not members:
            del index[key]

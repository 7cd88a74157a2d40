"""A Cluster in memory: server-side apply reduced to who owns an object, with faults to be injected.

It stands at the port and nowhere else. What the real API server does beyond this is tested against one.
"""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from seawall.decide.types import EventNote, Manifest, ObjectRef
from seawall.desired.canonical import canonical_json
from seawall.desired.names import REPLICAS_MANAGER, ROUTES_MANAGER
from seawall.ports import ApiConflict, ApiUnavailable

Place = tuple[str, str, str]
WRITES = ("apply", "patch", "scale", "status", "delete")
ROUTES = ("HTTPRoute", "GRPCRoute")
COUNT = {"f:spec": {"f:replicas": {}}}


class FakeCluster:
    def __init__(self) -> None:
        self.objects: dict[Place, Manifest] = {}
        self.calls: Counter[str] = Counter()
        self.events: list[EventNote] = []
        self.faults: list[Callable[[str, str], Exception | None]] = []
        self.on_apply: list[Callable[[Manifest], None]] = []
        self._versions = itertools.count(100)

    def fail(self, verb: str, error: Exception, *, kind: str = "", times: int = 1) -> None:
        """The next so many calls of this verb (on this kind) fail so."""
        left = [times]

        def fault(asked: str, what: str) -> Exception | None:
            if asked == verb and kind in ("", what) and left[0]:
                left[0] -= 1
                return error
            return None

        self.faults.append(fault)

    def add(self, manifest: Mapping[str, Any], manager: str = "somebody") -> Manifest:
        made = copy.deepcopy(dict(manifest))
        meta = made["metadata"]
        meta.setdefault("uid", f"uid-{next(self._versions)}")
        meta.setdefault("generation", 1)
        meta["resourceVersion"] = str(next(self._versions))
        meta["managedFields"] = [_entry(manager, manifest)]
        if made["kind"] == "Deployment" and made["apiVersion"] == "apps/v1" and "spec" in made:
            made["spec"].setdefault("replicas", 1)  # the server's default
        self.objects[_place(made)] = made
        return copy.deepcopy(made)

    def touch(self, live: Manifest) -> None:
        """This object of `objects` has been changed in place, where nobody else has a say."""
        live["metadata"]["resourceVersion"] = str(next(self._versions))

    def edited(self, live: Manifest) -> None:
        """Somebody has changed fields of ours in this object of `objects`, and owns them now."""
        ours = {"manager": "seawall", "operation": "Apply", "fieldsV1": {"less": {}}}
        live["metadata"]["managedFields"] = [ours, {"manager": "kubectl", "operation": "Update"}]
        self.touch(live)

    def writes(self) -> int:
        return sum(n for call, n in self.calls.items() if call.split()[0] in WRITES)

    def _call(self, verb: str, kind: str) -> None:
        self.calls[f"{verb} {kind}"] += 1
        for fault in self.faults:
            error = fault(verb, kind)
            if error is not None:
                raise error

    async def get(self, ref: ObjectRef) -> Manifest | None:
        self._call("get", ref.kind)
        return copy.deepcopy(self.objects.get((ref.kind, ref.namespace, ref.name)))

    async def list(
        self, api_version: str, kind: str, namespace: str | None = None, label_selector: str = ""
    ) -> tuple[Sequence[Manifest], str]:
        self._call("list", kind)
        wanted = dict(pair.split("=") for pair in label_selector.split(",") if pair)
        found = [
            copy.deepcopy(o)
            for (k, ns, _), o in self.objects.items()
            if k == kind
            and namespace in (None, "", ns)
            and wanted.items() <= (o["metadata"].get("labels") or {}).items()
        ]
        return found, str(next(self._versions))

    async def apply(self, manifest: Mapping[str, Any], *, force: bool) -> Manifest:
        self._call("apply", manifest["kind"])
        place = _place(manifest)
        live = self.objects.get(place)
        if live is None:
            made = self.add(manifest, "seawall")
        else:
            entries = live["metadata"]["managedFields"]
            managers = {m["manager"] for m in entries} - {REPLICAS_MANAGER}
            if not force and managers - {"seawall"}:
                raise ApiConflict(f"conflict with {sorted(managers)}")
            merged = copy.deepcopy(live) | copy.deepcopy(
                {k: v for k, v in manifest.items() if k != "metadata"}
            )
            if manifest["kind"] == "Deployment" and "replicas" not in manifest["spec"]:
                merged["spec"]["replicas"] = _count_left(live, entries)
            merged["metadata"] = copy.deepcopy(live["metadata"]) | dict(manifest["metadata"])
            others = [m for m in entries if m["manager"] != "seawall"]
            merged["metadata"]["managedFields"] = [_entry("seawall", manifest), *others]
            if merged != live:
                if merged["kind"] in ROUTES and merged["spec"] != live["spec"]:
                    merged["metadata"]["generation"] += 1
                self.touch(merged)
                self.objects[place] = merged
            made = copy.deepcopy(self.objects[place])
        for told in self.on_apply:
            told(copy.deepcopy(made))
        return made

    async def apply_status(self, ref: ObjectRef, status: Mapping[str, Any]) -> Manifest | None:
        self._call("status", ref.kind)
        live = self.objects.get((ref.kind, ref.namespace, ref.name))
        if live is None or ref.uid not in (None, live["metadata"]["uid"]):
            return None
        live["status"] = copy.deepcopy(dict(status))
        self.touch(live)
        return copy.deepcopy(live)

    async def scale(self, ref: ObjectRef, replicas: int, *, force: bool) -> Manifest | None:
        self._call("scale", ref.kind)
        live = self.objects.get((ref.kind, ref.namespace, ref.name))
        if live is None or ref.uid != live["metadata"]["uid"]:
            return None
        entries = live["metadata"]["managedFields"]
        before = live["spec"].get("replicas", 1)
        owners = [m for m in entries if _counts(m)]
        if before != replicas:
            if not force and [m for m in owners if m["manager"] != REPLICAS_MANAGER]:
                raise ApiConflict("conflict over spec.replicas")
            for entry in owners:
                entry["fieldsV1"]["f:spec"].pop("f:replicas")
        mine = {"manager": REPLICAS_MANAGER, "operation": "Apply", "fieldsV1": dict(COUNT)}
        kept = [m for m in entries if m["manager"] != REPLICAS_MANAGER]
        live["metadata"]["managedFields"] = [*kept, copy.deepcopy(mine)]
        live["spec"]["replicas"] = replicas
        self.touch(live)
        return copy.deepcopy(live)

    async def patch(self, ref: ObjectRef, operations: Sequence[Mapping[str, Any]]) -> Manifest | None:
        self._call("patch", ref.kind)
        live = self.objects.get((ref.kind, ref.namespace, ref.name))
        if live is None:
            return None
        changed = copy.deepcopy(live)
        for operation in operations:
            operate(changed, operation)
        if changed != live:
            _claim(changed, live)
            self.touch(changed)
            self.objects[_place(changed)] = changed
        return copy.deepcopy(changed)

    async def delete(self, ref: ObjectRef) -> None:
        self._call("delete", ref.kind)
        live = self.objects.get((ref.kind, ref.namespace, ref.name))
        if live is not None and ref.uid in (None, live["metadata"]["uid"]):
            del self.objects[(ref.kind, ref.namespace, ref.name)]

    async def record(self, regarding: Mapping[str, Any], note: EventNote) -> None:
        self._call("record", "Event")
        self.events.append(note)


def _entry(manager: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    labels = manifest["metadata"].get("labels") or {}
    fields: dict[str, Any] = {
        "of": canonical_json({k: v for k, v in manifest.items() if k != "status"}),
        "f:metadata": {"f:labels": {f"f:{key}": {} for key in labels}},
        "f:spec": {f"f:{key}": {} for key in manifest.get("spec") or {}},
    }
    return {"manager": manager, "operation": "Apply", "fieldsV1": fields}


def operate(document: Any, operation: Mapping[str, Any]) -> None:
    """One step of a JSON Patch (RFC 6902)."""
    *way, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    verb, value = operation["op"], copy.deepcopy(operation.get("value"))
    try:
        for part in way:
            document = document[int(part)] if isinstance(document, list) else document[part]
        at: Any = last
        if isinstance(document, list):
            at = len(document) if last == "-" and verb == "add" else int(last)
        if verb == "test":
            if document[at] != value:
                raise ApiUnavailable(f"{operation['path']} is not {value!r}")
        elif verb == "add" and isinstance(document, list):
            if at > len(document):
                raise IndexError(at)
            document.insert(at, value)
        elif verb == "add":
            document[at] = value
        else:
            assert verb == "replace", verb
            document[at]  # must be there
            document[at] = value
    except (KeyError, IndexError, ValueError) as missing:
        raise ApiUnavailable(f"{operation['path']} is not there: {missing}") from missing


def _claim(changed: Manifest, live: Mapping[str, Any]) -> None:
    """The parts of the spec that a patch has changed belong to its manager alone."""
    parts = {f"f:{key}" for key, value in changed["spec"].items() if live["spec"].get(key) != value}
    entries = changed["metadata"]["managedFields"]
    for entry in entries:
        for part in parts:
            entry["fieldsV1"].get("f:spec", {}).pop(part, None)
    others = [entry for entry in entries if entry["manager"] != ROUTES_MANAGER]
    mine = {"f:spec": {part: {} for part in parts}}
    patched = {"manager": ROUTES_MANAGER, "operation": "Update", "fieldsV1": mine}
    changed["metadata"]["managedFields"] = [*others, patched]
    changed["metadata"]["generation"] += bool(parts)


def _counts(entry: Mapping[str, Any]) -> bool:
    return "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})


def _count_left(live: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> int:
    """What becomes of a count that an apply leaves out: gone if nobody but this manager owned it."""
    owners = {m["manager"] for m in entries if _counts(m)}
    return 1 if owners == {"seawall"} else int(live["spec"].get("replicas", 1))


def _place(manifest: Mapping[str, Any]) -> Place:
    meta = manifest["metadata"]
    return manifest["kind"], meta.get("namespace", ""), meta["name"]

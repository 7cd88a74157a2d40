"""What was asked of the API server, and every version of what it holds: who wrote what, and what went back."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

Object = dict[str, Any]
GROUP = "serving.seawall.dev"
SERVICES = "apis/serving.seawall.dev/v1alpha1/namespaces/{namespace}/inferenceservices"
CHILDREN = {
    "Deployment": "apis/apps/v1/namespaces/{namespace}/deployments",
    "Service": "api/v1/namespaces/{namespace}/services",
    "PodDisruptionBudget": "apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets",
    "HTTPRoute": "apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes",
    "GRPCRoute": "apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/grpcroutes",
    "NetworkPolicy": "apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies",
    "ServiceAccount": "api/v1/namespaces/{namespace}/serviceaccounts",
}
WRITES = {"create", "update", "patch", "delete", "deletecollection"}
STARTS = 200


class Audit:
    """What the API server was asked for, each line read once."""

    def __init__(self, log: Path) -> None:
        self._log, self._at, self._rest = log, 0, b""
        self.events: list[Object] = []

    def read(self) -> list[Object]:
        with self._log.open("rb") as log:
            log.seek(self._at)
            fresh = log.read()
        self._at += len(fresh)
        *lines, self._rest = (self._rest + fresh).split(b"\n")
        self.events += [json.loads(line) for line in lines]
        return self.events

    def writes(self, user: str, *, dry: bool = False) -> list[Object]:
        """Of one user, that were acted on, or that were only tried."""
        return [
            event
            for event in self.read()
            if event["user"]["username"] == user
            and event["stage"] == "ResponseComplete"
            and event["verb"] in WRITES
            and ("dryRun=All" in event["requestURI"]) is dry
        ]

    def owned(self, user: str, *, dry: bool = False) -> list[str]:
        """Of these, the ones about what Git owns: verb and path of the object, without its status."""
        return [
            f"{event['verb']} {event['objectRef']['resource']}/{event['objectRef'].get('name', '')}"
            for event in self.writes(user, dry=dry)
            if event["objectRef"].get("apiGroup") == GROUP
            and event["objectRef"].get("subresource") != "status"
        ]


class Film:
    """Every version of the service and of its children, as the API server tells them."""

    def __init__(self, base: str, namespace: str) -> None:
        self.versions: dict[str, list[Object]] = {}
        self.lost: list[str] = []
        """why a part of it is missing"""
        for path in (SERVICES, *CHILDREN.values()):
            place = path.format(namespace=namespace)
            threading.Thread(target=self._watch, args=(f"{base}/{place}?watch=true",), daemon=True).start()

    def _watch(self, url: str) -> None:
        """A server that has only just learnt of a kind does not let it be watched at once."""
        for _ in range(STARTS):
            told, problem = self._stream(url)
            if told:
                break
            time.sleep(0.2)
        self.lost.append(f"{url}: {problem}")

    def _stream(self, url: str) -> tuple[int, str]:
        told = 0
        try:
            with urlopen(url, timeout=3600) as stream:  # noqa: S310 - loopback
                for line in stream:
                    event = json.loads(line)
                    live = event["object"]
                    if event["type"] == "ERROR":
                        return told, str(live.get("message"))
                    told += 1
                    name = f"{live['kind']} {live['metadata']['name']}"
                    self.versions.setdefault(name, []).append(live)
        except (OSError, ValueError) as failed:
            return told, str(failed)
        return told, "ended"

    def told(self, name: str) -> list[Object]:
        return [*self.versions.get(name, ())]

    def contents(self) -> dict[str, list[Object]]:
        """By child, what it was in turn, without status and bookkeeping; each change once."""
        found: dict[str, list[Object]] = {}
        for name, versions in list(self.versions.items()):
            if not name.startswith("InferenceService"):
                for live in [*versions]:
                    said = content(live)
                    mine = found.setdefault(name, [])
                    if not mine or mine[-1] != said:
                        mine.append(said)
        return found


def content(live: Object) -> Object:
    told = {key: value for key, value in live.items() if key not in ("metadata", "status")}
    return told | {key: live["metadata"].get(key, {}) for key in ("labels", "annotations")}


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {k: v for key, item in value.items() for k, v in leaves(item, f"{path}.{key}").items()}
    if isinstance(value, list) and value:
        return {k: v for at, item in enumerate(value) for k, v in leaves(item, f"{path}[{at}]").items()}
    return {path: value}


def flips(versions: list[Object]) -> set[str]:
    """Fields that went back to what they had been."""
    runs: dict[str, list[Any]] = {}
    for version in versions:
        for path, value in leaves(version).items():
            run = runs.setdefault(path, [])
            if not run or run[-1] != value:
                run.append(value)
    return {path for path, run in runs.items() if len({json.dumps(value) for value in run}) < len(run)}

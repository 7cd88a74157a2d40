"""kubectl as the demo and the node tests need it: asynchronous, because load runs beside it in one loop."""

import asyncio
import json
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

Object = dict[str, Any]
SERVICE_LABEL = "serving.seawall.dev/inferenceservice"
REVISION_LABEL = "serving.seawall.dev/revision"
MODELS, ARTIFACTS = "models", "artifacts"
"""claims"""
POLL_SECONDS = 0.2
LONGEST_LINE = 2**22
"""a watched object is one line"""


class KubeError(Exception):
    """kubectl said no, in its own words."""


class Waited(Exception):
    """What was waited for did not come; carries what was last seen."""


class Kube:
    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self._kubectl = shutil.which("kubectl") or "kubectl"

    async def start(self, *words: str, stdin: int = asyncio.subprocess.DEVNULL) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            self._kubectl,
            "--namespace",
            self.namespace,
            *words,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
        )

    async def run(self, *words: str, stdin: str | None = None) -> str:
        pipe = asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL
        process = await self.start(*words, stdin=pipe)
        out, err = await process.communicate(stdin.encode() if stdin is not None else None)
        if process.returncode:
            raise KubeError(err.decode(errors="replace").strip() or f"kubectl {words[0]} failed")
        return out.decode()

    async def get(self, kind: str, name: str) -> Object | None:
        text = await self.run("get", kind, name, "--ignore-not-found", "--output=json")
        return json.loads(text) if text.strip() else None

    async def listed(self, kind: str, **labels: str) -> list[Object]:
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        words = ["--selector", selector] if selector else []
        return list(json.loads(await self.run("get", kind, *words, "--output=json"))["items"])

    async def children(self, kind: str, service: str) -> list[Object]:
        return await self.listed(kind, **{SERVICE_LABEL: service})

    async def apply(self, *objects: Object) -> None:
        listing = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        await self.run("apply", "--server-side", "--filename=-", stdin=json.dumps(listing))

    async def put(self, wanted: Object) -> None:
        """The object as given and nothing more, whoever has changed it before."""
        there = await self.get(wanted["kind"], wanted["metadata"]["name"])
        await self.run("replace" if there else "create", "--filename=-", stdin=json.dumps(wanted))

    async def patch(self, kind: str, name: str, change: Object) -> None:
        await self.run("patch", kind, name, "--type=merge", f"--patch={json.dumps(change)}")

    async def delete(self, kind: str, name: str, *, wait: bool = False) -> None:
        await self.run("delete", kind, name, "--ignore-not-found", f"--wait={str(wait).lower()}")

    async def status(self, service: str) -> Object:
        return ((await self.get("inferenceservice", service)) or {}).get("status") or {}

    async def condition(self, service: str, kind: str) -> Object:
        return conditions(await self.status(service)).get(kind, {})

    async def wait_ready(self, service: str, seconds: float = 120) -> float:
        """Until Ready is True for the newest spec; returns the seconds it took."""

        async def look() -> tuple[bool, str]:
            found = await self.get("inferenceservice", service) or {}
            status = found.get("status") or {}
            ready = conditions(status).get("Ready", {})
            fresh = ready.get("observedGeneration") == found.get("metadata", {}).get("generation")
            return fresh and ready.get("status") == "True", summary(status)

        return await wait_for(look, f"{service} to be Ready", seconds)

    async def wait_condition(
        self, service: str, kind: str, status: str, *reasons: str, seconds: float = 120
    ) -> Object:
        """Until the condition has this status and one of these reasons; returns it."""
        found: Object = {}

        async def look() -> tuple[bool, str]:
            current = await self.status(service)
            found.clear()
            found.update(conditions(current).get(kind, {}))
            fits = found.get("status") == status and (not reasons or found.get("reason") in reasons)
            return fits, summary(current)

        await wait_for(look, f"{service}: {kind}={status} {'|'.join(reasons)}", seconds)
        return found

    async def wait_settled(self, service: str, seconds: float = 180) -> str:
        """Until one revision serves, nothing else is about, and its pods are all there; returns its name."""
        stable: list[str] = []

        async def look() -> tuple[bool, str]:
            found = await self.get("inferenceservice", service) or {}
            status = found.get("status") or {}
            fresh = status.get("observedGeneration") == found.get("metadata", {}).get("generation")
            rollout = status.get("rollout") or {}
            names = [d["metadata"]["name"] for d in await self.children("deployment", service)]
            pods = await self.children("pod", service)
            stable[:] = [rollout.get("stableRevision", "")]
            wanted = (status.get("scaling") or {}).get("desiredReplicas")
            settled = (
                fresh
                and rollout.get("phase") == "Idle"
                and names == [f"{service}-{stable[0]}"]
                and len(pods) == wanted
                and all(pod_ready(pod) for pod in pods)
            )
            return settled, f"{summary(status)}; deployments {names}; {len(pods)} pods"

        await wait_for(look, f"{service} to settle", seconds)
        return stable[0]


def conditions(status: Mapping[str, Any]) -> dict[str, Object]:
    return {each["type"]: each for each in status.get("conditions") or ()}


def summary(status: Mapping[str, Any]) -> str:
    parts = [
        f"{name}={each['status']} {each['reason']} ({each['message'][:160]})"
        for name, each in conditions(status).items()
        if each["status"] != "True"
    ]
    phase = (status.get("rollout") or {}).get("phase", "no phase")
    return f"{phase}; {'; '.join(parts) or 'all conditions true' if status else 'no status'}"


def pod_ready(pod: Mapping[str, Any]) -> bool:
    if pod["metadata"].get("deletionTimestamp"):
        return False
    found = {each["type"]: each["status"] for each in pod.get("status", {}).get("conditions") or ()}
    return found.get("Ready") == "True"


async def wait_for(look: Callable[[], Awaitable[tuple[bool, str]]], what: str, seconds: float) -> float:
    began, seen = time.monotonic(), ""
    while time.monotonic() - began < seconds:
        try:
            done, seen = await look()
        except KubeError as error:
            done, seen = False, str(error)
        if done:
            return time.monotonic() - began
        await asyncio.sleep(POLL_SECONDS)
    raise Waited(f"waited {seconds:.0f} s for {what}; last seen: {seen}")


def claim(name: str, namespace: str, folder: Path, mode: str) -> list[Object]:
    """A folder of this machine as a claim of a namespace, for uris like pvc://models/digits.onnx."""
    volume = f"{name}-{namespace}"
    size = {"storage": "1Gi"}
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume},
            "spec": {
                "capacity": size,
                "accessModes": [mode],
                "storageClassName": "",
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": namespace, "name": name},
                "hostPath": {"path": str(folder), "type": "Directory"},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "accessModes": [mode],
                "storageClassName": "",
                "volumeName": volume,
                "resources": {"requests": size},
            },
        },
    ]


def claims(namespace: str, models: Path, artifacts: Path) -> list[Object]:
    """Where models and data come from, and where builds publish; made writable for the pods' user."""
    artifacts.mkdir(exist_ok=True)
    artifacts.chmod(0o777)
    return [
        *claim(MODELS, namespace, models, "ReadOnlyMany"),
        *claim(ARTIFACTS, namespace, artifacts, "ReadWriteMany"),
    ]


def namespace_object(name: str) -> Object:
    """A namespace that admits only pods of the restricted standard."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}

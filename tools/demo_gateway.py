"""A rollout as its clients and its auditors see it: load through the gateway, every version of an object."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.http.aio as triton_http

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

from demo_kube import Kube, Object
from load import Arrays, Client, GrpcClient, HttpClient, Target, triton_inputs

GATEWAY = "gw.infra.svc.cluster.local:80"
PARENT = {"name": "gw", "namespace": "infra"}
HEAD_SECONDS = 0.5
"""for a watch to begin before what it is to see"""


def through(hostname: str) -> Callable[[Target], Client]:
    """A client of the gateway that asks for this host name, which no DNS has to know."""
    # Compressed, an error would not be readable: tritonclient decodes its bytes as they are.
    headers = {"Host": hostname, "Accept-Encoding": "identity"}

    class Http(HttpClient):
        async def infer(self, batch: Arrays) -> np.ndarray:
            inputs = triton_inputs(triton_http, batch)
            answer = await self._client.infer(self._model, inputs, headers=headers)
            return answer.as_numpy(answer.get_response()["outputs"][0]["name"])

    class Grpc(GrpcClient):
        CHANNEL = (*GrpcClient.CHANNEL, ("grpc.default_authority", hostname))

    return lambda target: (Grpc if target.protocol == "grpc" else Http)(target)


def entry(service: str, protocol: str) -> Target:
    return Target(service, GATEWAY, protocol)


@dataclass(frozen=True)
class Seen:
    """One version of an object, as it was written."""

    at: float
    """seconds since the epoch, on arrival"""
    revision: int
    """resourceVersion: the API server counts all its writes in one row"""
    content: Object

    @property
    def rollout(self) -> Object:
        return (self.content.get("status") or {}).get("rollout") or {}


class Watch:
    """Every version of one object from now on, deletions left out."""

    def __init__(self, kube: Kube, kind: str, name: str) -> None:
        self.versions: list[Seen] = []
        words = ("get", kind, f"--field-selector=metadata.name={name}", "--watch", "--output=json")
        self._words = words
        self._kube = kube
        self._news = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Watch":
        self._process = await self._kube.start(*self._words, "--output-watch-events")
        self._task = asyncio.create_task(self._read(self._process))
        await asyncio.sleep(HEAD_SECONDS)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
        if self._task is not None:
            await self._task

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            event = json.loads(line)
            if event["type"] in ("ADDED", "MODIFIED"):
                content = event["object"]
                revision = int(content["metadata"]["resourceVersion"])
                self.versions.append(Seen(time.time(), revision, content))
                self._news.set()

    def since(self, revision: int) -> list[Seen]:
        return [seen for seen in self.versions if seen.revision > revision]

    async def until(self, fits: Callable[[Seen], Any], since: int, seconds: float) -> Seen:
        """The first version after that one which fits, as soon as it comes."""
        async with asyncio.timeout(seconds):
            while True:
                for seen in self.since(since):
                    if fits(seen):
                        return seen
                self._news.clear()
                await self._news.wait()

    @property
    def revision(self) -> int:
        return self.versions[-1].revision if self.versions else 0


def weights(route: Mapping[str, Any]) -> list[dict[str, int]]:
    """Of each rule, by the name of the Service; a weight that is not given is 1."""
    return [
        {ref["name"]: ref.get("weight", 1) for ref in rule.get("backendRefs") or ()}
        for rule in route["spec"].get("rules") or ()
    ]


def share(route: Mapping[str, Any], service: str) -> int:
    """Percent of the candidate, of the first rule that leads to the service."""
    for rule in weights(route):
        ours = rule.get(service, 0), rule.get(f"{service}-candidate", 0)
        if service in rule:
            return round(100 * ours[1] / max(sum(ours), 1))
    raise AssertionError(f"no rule leads to {service}")


def course(values: list[Any]) -> list[Any]:
    """What they were, one after the other, without repetitions."""
    return [value for index, value in enumerate(values) if index == 0 or value != values[index - 1]]

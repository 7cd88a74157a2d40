"""InferenceServices and ModelBuilds at every point of their lives, as the real reconciler and the real plans tell
them: each status that is written on the way through some stories, once for each thing that it says.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple

from seawall.canary.shadow import Tally
from seawall.decide.types import ObjectRef, Verdict, WriteProblem
from support.golden import config_map
from support.rollout_stage import BROKEN, NEXT, OWN, Stage
from support.town import PLATFORM, Town, service

Object = dict[str, Any]
QUALITY = {"quality": {"goldenSet": {"configMapRef": "golden"}, "maxDisagreement": "0.01"}}
SHADOW = {"shadow": {"percent": 5, "duration": "60s"}}
COMPARED = Tally("s1", "", seen=20_000, compared=1000, doubled=500, repeats=True, metrics=("top1",))
BUILT = {"compression": {"preset": "int8"}}
STORE = replace(PLATFORM, artifacts_uri="s3://artifacts/builds", public_keys=("PEM",))


class Said(NamedTuple):
    """What tells one situation from another."""

    phase: str
    ready: str
    """the reason, with ! where it is not ready"""
    rollout: str
    """likewise, of RolloutHealthy"""
    waits: str = ""
    """hold, pause, or neither"""


def said(live: Object) -> Said:
    status = live["status"]
    conditions = {
        c["type"]: ("" if c["status"] == "True" else "!") + c["reason"] for c in status["conditions"]
    }
    rollout = status.get("rollout") or {}
    waits = "pause" if "pause" in rollout else "hold" if "hold" in rollout else ""
    return Said(rollout.get("phase", ""), conditions["Ready"], conditions["RolloutHealthy"], waits)


class Album:
    """A picture of each situation."""

    def __init__(self) -> None:
        self.pictures: dict[Said, Object] = {}

    def take(self, live: Object) -> None:
        if live.get("status", {}).get("conditions"):
            self.pictures.setdefault(said(live), copy.deepcopy(live))


class Theatre(Stage):
    """Takes a picture at each write."""

    def __init__(self, album: Album, spec: Object | None = None, **more: Any) -> None:
        self._album = album
        super().__init__({**OWN, **(spec or {})}, **more)
        self.cluster.checks.append(self._picture)

    def _raised(self, live: Object, share: int) -> None:
        """What must hold on the way is for the stage's own tests to say."""

    def _picture(self) -> None:
        self._album.take(self.cluster.live("InferenceService", "digits"))

    def start(self) -> None:
        super().start()
        # The comparator's answers are as old as the play's clock says.
        self.operator.reconcile._comparer._clock = self._seconds

    def _seconds(self) -> float:
        return self.now.timestamp()

    def tell(self) -> None:
        live = self.cluster.objects.get(("Service", "ns", "digits-shadow"))
        if live is not None and "clusterIP" not in live["spec"]:
            live["spec"]["clusterIP"] = "10.9.0.1"
            self.cluster.touch(live)
        super().tell()

    async def reaches(self, *phases: str) -> None:
        await self.until(lambda: self.rollout["phase"] in phases)

    async def weighs(self, weight: int) -> None:
        await self.until(
            lambda: self.rollout.get("desiredWeight") == weight and "stepStartedAt" in self.rollout
        )


def rolling(*steps: Object, **more: Any) -> Object:
    return {"rollout": {"steps": [*steps], **more}}


async def sound(album: Album) -> None:
    stage = Theatre(album, rolling(QUALITY, SHADOW, {"weight": "matched"}, {"weight": 50, "pause": True}))
    stage.cluster.add(config_map({"golden.npz": b"recorded"}))
    await stage.serving()
    stage.operator.servers.counts = COMPARED
    stage.edit(model=NEXT)
    await stage.weighs(25)
    stage.say("pause")
    await stage.pass_by(2)
    stage.say("resume")
    await stage.until(lambda: (stage.rollout.get("pause") or {}).get("reason") == "StepPassed")
    stage.say("promote")
    await stage.reaches("Idle")
    await stage.pass_by(2)


async def broken(album: Album) -> None:
    stage = Theatre(album, failing=BROKEN)
    await stage.serving()
    stage.edit(model=NEXT)
    await stage.reaches("RolledBack")
    await stage.pass_by(2)


async def broken_and_paused(album: Album) -> None:
    stage = Theatre(album, rolling({"weight": 50}, failurePolicy={"onRegression": "Pause"}), failing=BROKEN)
    await stage.serving()
    stage.edit(model=NEXT)
    await stage.until(lambda: "pause" in stage.rollout)
    stage.say("abort")
    await stage.reaches("RolledBack")


async def reverted(album: Album) -> None:
    stage = Theatre(album)
    await stage.serving()
    before = copy.deepcopy(stage.cluster.live("InferenceService", "digits")["spec"]["model"])
    stage.edit(model=NEXT)
    await stage.weighs(25)
    stage.edit(model=before)
    await stage.reaches("Idle")
    stage.edit(model=NEXT)
    await stage.reaches("Watching")
    stage.edit(model=before)
    await stage.reaches("Idle")


async def held(album: Album) -> None:
    """By lost pods, then by the spec, then by answers that cannot be compared."""
    stage = Theatre(album, rolling(QUALITY, {"weight": 50}))
    stage.cluster.add(config_map({"golden.npz": b"recorded"}))
    await stage.serving()
    stage.operator.servers.answers = "Unknown"
    stage.edit(model=NEXT)
    await stage.until(lambda: "pause" in stage.rollout)
    stage.say("promote")
    await stage.weighs(50)
    candidate = stage.rollout["candidateRevision"]
    for pod in [pod for pod in stage.ages if pod.startswith(f"digits-{candidate}-")][1:]:
        stage.ages[pod] = -1
        del stage.cluster.objects["Pod", "ns", pod]
    await stage.tick()
    rollout = stage.cluster.live("InferenceService", "digits")["spec"]["rollout"]
    stage.edit(rollout={**rollout, "paused": True})
    await stage.reaches("Paused")
    stage.edit(rollout=rollout, accelerator={"class": "missing"})
    await stage.pass_by(2)


async def paused_before_it_starts(album: Album) -> None:
    stage = Theatre(album, rolling(paused=True))
    await stage.serving()
    stage.edit(model=NEXT)
    await stage.reaches("Paused")


async def never_right(album: Album) -> None:
    stage = Theatre(album)
    await stage.serving()
    stage.operator.servers.verdict = Verdict.UNREACHABLE
    stage.edit(model=NEXT)
    await stage.reaches("Verifying")
    stage.operator.servers.verdict = Verdict.WRONG
    await stage.reaches("RolledBack")


async def at_once(album: Album) -> None:
    """Strategy Direct, and the pods of the old revision finish what they have begun."""
    town = Pictured(album)
    old = town.installed()
    town.edit(model={"uri": "s3://models/digits-2.onnx", "format": "onnx", "maxBatchSize": 8})
    town.step()
    revision = town.service["status"]["rollout"]["candidateRevision"]
    pod = {"containerStatuses": [{"name": "triton", "image": "triton:1", "state": WAITING_FOR_IMAGE}]}
    name = f"digits-{revision}-0"
    labels = town.objects["Deployment", f"digits-{revision}"]["spec"]["template"]["metadata"]["labels"]
    town.objects["Pod", name] = {"kind": "Pod", "metadata": {"name": name, "labels": labels}, "status": pod}
    town.step()
    town.make_ready(revision)
    town.answer()
    town.step()
    town.now += timedelta(seconds=60)
    town.step()
    town.step()
    assert old not in str(town.deployments())
    town.edit(scaling={"mode": "Fixed", "replicas": 0})
    town.step()
    town.make_ready(revision)
    town.step()


WAITING_FOR_IMAGE = {"waiting": {"reason": "ImagePullBackOff", "message": "not there"}}
TROUBLES: tuple[Object, ...] = (
    {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes fit"}]},
    {"containerStatuses": [{"name": "triton", "image": "triton:1", "state": WAITING_FOR_IMAGE}]},
    {
        "initContainerStatuses": [
            {"name": "fetch", "state": {"terminated": {"exitCode": 1, "message": "gone"}}}
        ]
    },
    {"containerStatuses": [{"name": "triton", "state": {"terminated": {"exitCode": 1, "message": "no"}}}]},
)


async def first_in_trouble(album: Album) -> None:
    for trouble in TROUBLES:
        town = Pictured(album)
        town.step()
        revision = town.service["status"]["rollout"]["candidateRevision"]
        town.make_ready(revision)
        town.objects["Deployment", f"digits-{revision}"]["status"] = {}
        for (kind, _), pod in town.objects.items():
            if kind == "Pod":
                pod["status"] = trouble
        town.step()
    refused = Pictured(album, accelerator=None)
    refused.step()
    wrong = Pictured(album)
    wrong.step()
    wrong.make_ready(wrong.service["status"]["rollout"]["candidateRevision"])
    wrong.answer(Verdict.WRONG)
    conflict = Pictured(album)
    conflict.installed()
    ref = ObjectRef("v1", "Service", "demo", "digits")
    conflict.step(write_problems=(WriteProblem(ref, "NameConflict", "belongs to somebody else"),))


async def building(album: Album) -> None:
    for phase, reason in (("Running", "Building"), ("Failed", "BuildFailed")):
        for installed in (False, True):
            town = Pictured(album, service=service(**({} if installed else BUILT)), platform=STORE)
            if installed:
                town.installed()
                town.edit(**BUILT)
            town.step()
            [name] = [name for kind, name in town.objects if kind == "ModelBuild"]
            complete = {"type": "Complete", "status": "Unknown", "reason": reason, "message": "as told"}
            town.objects["ModelBuild", name]["status"] = {"phase": phase, "conditions": [complete]}
            town.step()
    Pictured(album, service=service(**BUILT)).step()
    waiting = Pictured(album)
    waiting.installed()
    waiting.platform = replace(PLATFORM, fetcher_image="seawall:2")
    waiting.step(platform_slot=False)


class Pictured(Town):
    """A town, with a picture after each step."""

    def __init__(self, album: Album, **more: Any) -> None:
        super().__init__(**more)
        self._album = album

    def step(self, **over: Any) -> Any:
        made = super().step(**over)
        self._album.take(self.service)
        return made


STORIES: tuple[Callable[[Album], Awaitable[None]], ...] = (
    *(sound, broken, broken_and_paused, reverted, held, paused_before_it_starts, never_right),
    *(at_once, first_in_trouble, building),
)


@cache
def services() -> dict[Said, Object]:
    async def told() -> Album:
        album = Album()
        for story in STORIES:
            await story(album)
        return album

    return asyncio.run(told()).pictures

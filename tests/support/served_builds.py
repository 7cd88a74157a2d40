"""Services whose model is built first, and the words to ask a cluster about them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from demo_kube import Kube, conditions, summary, wait_for

Object = dict[str, Any]
BUILD_LABEL = "serving.seawall.dev/build"
DIGITS_DATA: Object = {
    "calibration": "pvc://models/digits-train.npz",
    "accuracy": {"metric": "top1", "floor": "0.98", "evaluation": "pvc://models/digits-test.npz"},
}
SENTENCES: Object = {
    "accuracy": {"metric": "cosine", "floor": "0.99", "evaluation": "pvc://models/minilm-evaluation.npz"},
}


def compressed(service: Object, preset: str = "int8", data: Mapping[str, Any] = DIGITS_DATA) -> Object:
    service["spec"]["compression"] = {"preset": preset, **copy.deepcopy(dict(data))}
    return service


async def builds(kube: Kube) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in await kube.listed("modelbuild")}


async def build_of(kube: Kube, service: str) -> Object:
    """The ModelBuild whose artefact the service serves."""
    name = (await kube.status(service))["model"]["buildRef"]
    found = await kube.get("modelbuild", name)
    assert found is not None, f"{name} is gone"
    return found


async def pods_made(kube: Kube) -> int:
    """How many build pods there have ever been: pods and Jobs go when a build is done, events stay."""
    events = await kube.listed("event")
    made = [e for e in events if e["involvedObject"]["kind"] == "Job" and e["reason"] == "SuccessfulCreate"]
    return sum(int(e.get("count") or 1) for e in made)


async def wait_running(kube: Kube, preset: str, before: set[str], stage: str = "") -> Object:
    """The pod of a build that was not there before, at work, at that stage where one is named."""
    found: list[Object] = []

    async def look() -> tuple[bool, str]:
        new = {n: b for n, b in (await builds(kube)).items() if n not in before and preset in n}
        for name, build in new.items():
            told = (build.get("status") or {}).get("progress") or {}
            if stage and told.get("stage") != stage:
                continue
            pods = await kube.listed("pod", **{"batch.kubernetes.io/job-name": name})
            found[:] = [p for p in pods if not p["metadata"].get("deletionTimestamp")]
            if (build.get("status") or {}).get("phase") == "Running" and found:
                return True, name
        return False, str({n: (b.get("status") or {}).get("progress") for n, b in new.items()})

    await wait_for(look, f"a build of {preset} to run", 120)
    return found[0]


class Watched:
    """What was seen of a service on its way to Ready."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.messages: set[str] = set()
        self.pods_while_building = 0
        self.restarts = 0

    async def until_ready(self, kube: Kube, service: str, seconds: float = 180) -> float:
        async def look() -> tuple[bool, str]:
            pods = await kube.children("pod", service)
            status = await kube.status(service)
            found = conditions(status)
            said = found.get("ModelReady", {})
            if said.get("reason") and self.reasons[-1:] != [said["reason"]]:
                self.reasons.append(said["reason"])
            if said.get("reason") == "Building":
                self.messages.add(said["message"])
                self.pods_while_building += len(pods)
            containers = [c for pod in pods for c in pod["status"].get("containerStatuses") or ()]
            self.restarts += sum(c["restartCount"] for c in containers)
            return found.get("Ready", {}).get("status") == "True", summary(status)

        return await wait_for(look, f"{service} to be Ready", seconds)

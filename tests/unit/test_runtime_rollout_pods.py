"""Whole rollouts without a gateway through the real reconciler: what the Services select, in which order, and
what is left in the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from seawall.decide.types import Manifest
from seawall.ports import ApiRejected
from support import rollout_stage
from support.rollout_stage import BROKEN, BY_PODS, NAMED, NEXT, OWN, PODS, Stage, new, phase, weighs
from support.scene import KEY

pytestmark = pytest.mark.long

FOREVER = 40
"""Ticks: longer than any window or time limit of these plans."""


async def begun(**more: Any) -> tuple[Stage, str]:
    return await rollout_stage.begun(BY_PODS | more.pop("spec", {}), **more)


def alone(stage: Stage, revision: str) -> None:
    """This revision serves, and nothing of another one is there."""
    names = {name for kind, _, name in stage.cluster.objects if kind == "Service"}
    assert names == {"digits", "digits-headless"}
    assert stage.revisions() == {revision}
    for name in names:
        live = stage.cluster.live("Service", name)
        assert live["spec"]["selector"]["serving.seawall.dev/revision"] == revision
        assert "serving.seawall.dev/stable-revision" not in live["metadata"]["annotations"]
    assert not {"step", "desiredWeight", "candidateRevision", "previousRevision"} & stage.rollout.keys()


def condition(stage: Stage, name: str) -> dict[str, Any]:
    [found] = [c for c in stage.status["conditions"] if c["type"] == name]
    return dict(found)


async def test_a_sound_candidate_takes_over_by_its_pods() -> None:
    stage, first = await begun()
    after = new(stage)
    await stage.until(weighs(stage, 25))
    assert condition(stage, "RouteReady")["message"] == (
        f"The Services select revision {first} and, beside it, {after}"
    )
    assert (stage.share(), stage.rollout["observedWeight"]) == (25, 25)
    await stage.until(phase(stage, "Watching"))
    assert stage.revisions() == {first, after}
    await stage.until(phase(stage, "Idle"))
    await stage.tick()
    alone(stage, after)
    assert stage.ages[f"digits-{after}-0"] > 20, "the pod that has answered first serves on"
    assert stage.cluster.recorded() == [0, 25, 50, 0]
    assert stage.cluster.story() == [
        f"apply Deployment digits-{after} 0",
        "apply Service digits-headless both",
        "apply Service digits both",
        f"scale Deployment digits-{after} {PODS}",
        f"apply Service digits-headless {after}",
        f"apply Service digits {after}",
        f"delete Deployment digits-{first} None",
    ]
    before = stage.cluster.count
    await stage.pass_by(FOREVER)
    assert stage.cluster.count == before


async def test_a_broken_candidate_loses_the_services_before_its_pods() -> None:
    stage, first = await begun(failing=BROKEN)
    after = new(stage)
    await stage.until(phase(stage, "RolledBack"))
    await stage.until(lambda: stage.revisions() == {first})
    alone(stage, first)
    assert stage.rollout["lastRejected"]["reason"] == "Regression"
    assert stage.cluster.recorded() == [0, 25, 0]
    assert stage.cluster.story()[-3:] == [
        f"apply Service digits-headless {first}",
        f"apply Service digits {first}",
        f"delete Deployment digits-{after} None",
    ]


@pytest.mark.long
async def test_an_abort_in_the_watch_selects_the_warm_pods_in_one_switch() -> None:
    stage, first = await begun()
    await stage.until(phase(stage, "Watching"))
    stage.say("abort")
    await stage.tick()
    assert {stage.selected(name) for name in ("digits", "digits-headless")} == {first}
    await stage.until(lambda: stage.revisions() == {first})
    alone(stage, first)


async def test_traffic_goes_back_although_something_else_cannot_be_written() -> None:
    stage, first = await begun()
    await stage.until(weighs(stage, 25))
    stage.looks_twice = False
    honest = stage.cluster.apply

    async def apply(manifest: Mapping[str, Any], *, force: bool) -> Manifest:
        if manifest["kind"] == "Deployment":
            raise ApiRejected("quota")
        return await honest(manifest, force=force)

    stage.cluster.apply = apply  # type: ignore[method-assign]
    for deployment in stage.cluster.of("Deployment"):  # somebody has changed them, so that they are due
        deployment["metadata"]["annotations"].pop("serving.seawall.dev/applied")
        stage.cluster.touch(deployment)
    stage.start()  # who has applied them itself knows that they stand
    stage.say("abort")
    await stage.tick()
    assert not stage.both()
    assert stage.selected("digits") == first


@pytest.mark.long
async def test_an_autoscaler_that_adds_stable_pods_begins_no_step_anew() -> None:
    stage = Stage({**BY_PODS, "scaling": {"mode": "HPA", "minReplicas": 1, "maxReplicas": 9}})
    stage.busy = PODS
    await stage.serving()
    stage.looks_twice = True
    stage.edit(model=NEXT)
    await stage.tick()
    await stage.until(weighs(stage, 25))
    started = stage.rollout["stepStartedAt"]
    stage.busy = 7
    await stage.until(lambda: stage.rollout.get("observedWeight") == 12, 10)
    assert (stage.rollout["desiredWeight"], stage.rollout["stepStartedAt"]) == (25, started)
    await stage.until(lambda: stage.rollout.get("step") == 1 and "stepStartedAt" in stage.rollout)
    assert stage.rollout["candidateReplicas"] == 7
    await stage.until(phase(stage, "Watching"))
    assert stage.deployment(stage.first)["spec"]["replicas"] == 7


@pytest.mark.parametrize("spec", [OWN, NAMED, BY_PODS], ids=["own routes", "named routes", "pods"])
async def test_a_service_deleted_in_the_middle_of_a_step_is_left_to_the_garbage_collection(
    spec: dict[str, Any],
) -> None:
    """Nothing is written any more, and everything that is ours goes with it: its Services too, by which alone
    a route of the user's could lead anywhere.
    """
    stage = Stage(spec)
    await stage.serving()
    stage.edit(model=NEXT)
    await stage.until(weighs(stage, 25))
    live = stage.cluster.live("InferenceService", "digits")
    live["metadata"]["deletionTimestamp"] = "2026-01-01T13:00:00Z"
    stage.cluster.touch(live)
    before = stage.cluster.count
    for _ in range(3):
        stage.tell()
        assert await stage.operator.reconcile(KEY) is None
    assert stage.cluster.count == before
    for kind in ("Service", "Deployment", "HTTPRoute", "GRPCRoute", "PodDisruptionBudget"):
        for child in stage.cluster.of(kind):
            if child["metadata"]["name"] not in ("theirs", "calls"):
                assert child["metadata"]["ownerReferences"][0]["uid"] == live["metadata"]["uid"]


@pytest.mark.long
async def test_a_gateway_that_comes_in_the_middle_takes_over_from_the_pods() -> None:
    stage, _ = await begun()
    await stage.until(weighs(stage, 25))
    stage.looks_twice = False
    after = new(stage)
    stage.edit(
        rollout={**stage.cluster.live("InferenceService", "digits")["spec"]["rollout"], "traffic": {}}, **OWN
    )
    await stage.tick()
    assert not stage.both()
    await stage.until(phase(stage, "Idle"))
    assert stage.revisions() == {after}

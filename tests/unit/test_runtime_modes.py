"""What a reconcile writes under each way of scaling, and from one to the next: no count ever falls by it."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from seawall.decide.types import Assessment, Capabilities, Manifest
from seawall.desired.names import REPLICAS_MANAGER
from seawall.ports import ApiRejected, ApiUnavailable
from seawall.runtime.queue import RetryLater
from seawall.sizing.state import Decision, Terms
from support.scene import KEY, Scene, digits, edit, serving

OURS = Capabilities(metrics_api="Ours", metrics_api_message="")
KEDA = Capabilities(keda=True, prometheus_url="http://prometheus:9090")
HPA = {"mode": "HPA", "minReplicas": 1, "maxReplicas": 9}


def scene_of(**scaling: Any) -> Scene:
    made = Scene()
    made.put(digits(scaling=scaling) if scaling else digits())
    return made


def decided(scene: Scene, revision: str, replicas: int, mode: str = "Direct") -> None:
    decision = Decision(
        replicas, "Demand", Terms(replicas, replicas, 0), 0.9, 100.0, 50.0, 12.0, True, "for 100 requests/s"
    )
    scene.scales.assessments = {
        revision: Assessment(revision, decision=decision, load=replicas - 0.5, mode=mode)
    }


def deployment(scene: Scene) -> Manifest:
    [found] = scene.deployments()
    return found


def count(scene: Scene) -> int:
    return int(deployment(scene)["spec"]["replicas"])


def kinds(scene: Scene) -> set[str]:
    return {kind for kind, _, _ in scene.cluster.objects}


async def look(scene: Scene) -> None:
    await scene.reconcile(KEY)
    scene.told()


async def test_the_first_look_at_a_fixed_count_makes_the_deployment_and_then_its_count() -> None:
    scene = scene_of(replicas=3)
    await look(scene)
    assert count(scene) == 3
    assert scene.cluster.calls["scale Deployment"] == 1
    scene.cluster.calls.clear()
    await look(scene)
    assert scene.cluster.writes() == 0


async def test_a_fixed_count_that_somebody_changed_is_set_back_with_one_write() -> None:
    scene = scene_of(replicas=3)
    await look(scene)
    live = deployment(scene)
    live["spec"]["replicas"] = 7
    scene.cluster.touch(live)
    scene.told()
    scene.cluster.calls.clear()
    await scene.reconcile(KEY)
    assert count(scene) == 3
    assert scene.cluster.calls == {"scale Deployment": 1}


@pytest.mark.parametrize(
    ("scaling", "capabilities", "kind"),
    [
        ({"replicas": 3}, Capabilities(), None),
        ({"mode": "External", "replicas": 3}, Capabilities(), None),
        ({"mode": "Direct", "minReplicas": 3}, Capabilities(), None),
        (HPA, OURS, "HorizontalPodAutoscaler"),
        ({"mode": "KEDA"}, KEDA, "ScaledObject"),
        ({}, OURS, "HorizontalPodAutoscaler"),
        ({}, KEDA, "ScaledObject"),
        ({}, Capabilities(), None),
        (HPA, Capabilities(), "HorizontalPodAutoscaler"),
    ],
    ids=str,
)
async def test_each_mode_settles_and_then_writes_nothing(
    scaling: dict[str, Any], capabilities: Capabilities, kind: str | None
) -> None:
    scene = scene_of(**scaling)
    scene.survey.capabilities = capabilities
    await serving(scene)
    for _ in range(3):
        await look(scene)
    assert kinds(scene) & {"HorizontalPodAutoscaler", "ScaledObject"} == ({kind} if kind else set())
    scene.cluster.calls.clear()
    for _ in range(3):
        await look(scene)
    assert scene.cluster.writes() == 0


async def test_an_autoscalers_own_count_is_not_fought() -> None:
    scene = scene_of(**HPA)
    scene.survey.capabilities = OURS
    await serving(scene)
    await look(scene)
    live = deployment(scene)
    live["spec"]["replicas"] = 6
    scene.cluster.touch(live)
    scene.told()
    scene.cluster.calls.clear()
    await look(scene)
    assert count(scene) == 6
    assert not [call for call in scene.cluster.calls if call.endswith(" Deployment")]


async def test_in_mode_direct_the_decided_count_is_written_when_it_changes() -> None:
    scene = scene_of(mode="Direct")
    revision = await serving(scene)
    await look(scene)
    for wanted in (4, 4, 2):
        decided(scene, revision, wanted)
        scene.cluster.calls.clear()
        before = count(scene)
        await look(scene)
        assert count(scene) == wanted
        assert scene.cluster.calls["scale Deployment"] == (before != wanted)


async def test_from_mode_to_mode_no_count_falls_and_one_writer_follows_the_other() -> None:
    scene = scene_of(replicas=5)
    scene.survey.capabilities = OURS
    revision = await serving(scene)
    assert count(scene) == 5
    steps: list[tuple[dict[str, Any], bool]] = [
        (HPA, True),
        ({"mode": "Direct", "maxReplicas": 9}, False),
        ({"mode": "External", "replicas": 5}, False),
        (HPA, True),
        ({"replicas": 5}, False),
    ]
    for scaling, autoscaled in steps:
        edit(scene, scaling=scaling)
        for _ in range(3):
            await look(scene)
            assert count(scene) == 5, scaling
        assert ("HorizontalPodAutoscaler" in kinds(scene)) is autoscaled
    assert scene.cluster.objects["Deployment", "ns", f"digits-{revision}"]


async def test_an_autoscaler_goes_before_the_first_count_that_is_ours() -> None:
    scene = scene_of(**HPA)
    scene.survey.capabilities = OURS
    await serving(scene)
    await look(scene)
    edit(scene, scaling={"replicas": 4})
    order: list[str] = []
    real_delete, real_scale = scene.cluster.delete, scene.cluster.scale

    async def delete(ref: Any) -> None:
        order.append(f"delete {ref.kind}")
        await real_delete(ref)

    async def scale(ref: Any, replicas: int, *, force: bool) -> Any:
        order.append(f"scale {replicas}")
        return await real_scale(ref, replicas, force=force)

    scene.cluster.delete, scene.cluster.scale = delete, scale  # type: ignore[method-assign]
    await scene.reconcile(KEY)
    assert order == ["delete HorizontalPodAutoscaler", "scale 4"]
    assert count(scene) == 4


async def test_an_autoscaler_that_cannot_be_removed_keeps_the_last_word_for_now() -> None:
    scene = scene_of(**HPA)
    scene.survey.capabilities = OURS
    await serving(scene)
    await look(scene)
    edit(scene, scaling={"replicas": 4})
    scene.cluster.fail("delete", ApiUnavailable("later"))
    scene.cluster.calls.clear()
    with pytest.raises(RetryLater):
        await scene.reconcile(KEY)
    assert scene.cluster.calls["scale Deployment"] == 0
    await scene.reconcile(KEY)
    assert count(scene) == 4


async def test_a_count_that_is_refused_stands_in_the_status() -> None:
    scene = scene_of(replicas=2)
    await serving(scene)
    edit(scene, scaling={"replicas": 8})
    scene.cluster.fail("scale", ApiRejected("exceeded quota"), times=9)
    requeue = await scene.reconcile(KEY)
    assert requeue is not None
    told = [c for c in scene.status()["conditions"] if "exceeded quota" in c["message"]]
    assert told
    assert all(c["status"] == "False" or c["type"] == "Ready" for c in told)


async def test_an_earlier_operators_deployment_is_taken_over_without_a_fall() -> None:
    scene = scene_of(replicas=4)
    await serving(scene)
    live = deployment(scene)
    own = next(m for m in live["metadata"]["managedFields"] if m["manager"] == "seawall")
    own["fieldsV1"]["f:spec"] = {"f:replicas": {}}
    live["metadata"]["managedFields"] = [own]
    live["metadata"]["annotations"]["serving.seawall.dev/applied"] = "of the earlier operator"
    later = Scene()
    later.cluster.objects, later.cluster._versions = scene.cluster.objects, scene.cluster._versions
    later.cluster.touch(live)
    edit(later, scaling=HPA)
    later.survey.capabilities = OURS
    seen = []
    later.cluster.on_apply.append(lambda _: seen.append(count(later)))
    for _ in range(3):
        await look(later)
    assert set(seen) == {4}
    owners = {
        m["manager"]
        for m in deployment(later)["metadata"]["managedFields"]
        if "f:replicas" in (m["fieldsV1"].get("f:spec") or {})
    }
    assert owners == {REPLICAS_MANAGER}


async def test_figures_that_are_public_change_no_status_twice() -> None:
    scene = scene_of(mode="Direct")
    revision = await serving(scene)
    decided(scene, revision, 1)
    await look(scene)
    before = copy.deepcopy(scene.status())
    scene.cluster.calls.clear()
    for _ in range(3):
        await look(scene)
    assert scene.cluster.writes() == 0
    held = scene.scales.assessments[revision]
    assert held.decision is not None
    scene.scales.assessments = {revision: replace(held, decision=replace(held.decision, demand_rps=200.0))}
    await look(scene)
    assert scene.cluster.calls == {"status InferenceService": 1}
    assert scene.status()["scaling"]["demandRps"] != before["scaling"]["demandRps"]

"""Builds through the real plans: services and their builds look at one another, and each is written once."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from seawall.decide.types import Key, Progress
from seawall.desired.inputs import Platform
from seawall.ports import ApiRejected
from seawall.runtime.handlers import Told
from seawall.runtime.kinds import BUILD, BY_NAME, JOB, SERVICE
from seawall.runtime.slots import BuildSlots
from seawall.runtime.store import Store
from support.scene import KEY, Scene, digits, edit, serving

STORE = Platform("operator:1", artifacts_uri="s3://artifacts/builds")
INT8 = {"preset": "int8"}
OTHER = Key("ns", "other")


@pytest.fixture
def scene() -> Scene:
    made = Scene(STORE)
    made.put(digits(compression=INT8))
    return made


def objects(scene: Scene, kind: str) -> list[dict[str, Any]]:
    return [o for (k, _, _), o in sorted(scene.cluster.objects.items()) if k == kind]


def build_key(scene: Scene, number: int = 0) -> Key:
    return Key("ns", objects(scene, "ModelBuild")[number]["metadata"]["name"], "ModelBuild")


async def started(scene: Scene) -> Key:
    """The service has made its build, and that its Job."""
    await scene.reconcile(KEY)
    key = build_key(scene)
    await scene.reconcile(key)
    scene.told()
    return key


def pod(scene: Scene, key: Key, phase: str, **states: Any) -> None:
    """The Job's only pod, as a kubelet would report it."""
    scene.cluster.add(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{key.name}-x",
                "namespace": "ns",
                "labels": {
                    "app.kubernetes.io/managed-by": "seawall",
                    "serving.seawall.dev/modelbuild": key.name,
                },
            },
            "status": {
                "phase": phase,
                "podIP": "10.0.0.7",
                "containerStatuses": [{"name": name, "state": state} for name, state in states.items()],
            },
        }
    )
    scene.told()


def ends(scene: Scene, condition: str, reason: str = "") -> None:
    live = objects(scene, "Job")[0]
    live["status"] = {"conditions": [{"type": condition, "status": "True", "reason": reason}]}
    scene.cluster.touch(live)
    scene.told()


RESULT = {
    "result": {"preset": "int8", "format": "onnx", "originalBytes": 4, "compressedBytes": 1},
    "artifact": {"uri": "s3://artifacts/builds/abc/", "digest": "d" * 64, "format": "onnx"},
}


async def built(scene: Scene) -> Key:
    key = await started(scene)
    finish = {"terminated": {"exitCode": 0, "message": json.dumps(RESULT)}}
    pod(scene, key, "Succeeded", finish=finish)
    ends(scene, "Complete")
    await scene.reconcile(key)
    scene.told()
    await scene.reconcile(key)
    return key


def phase(scene: Scene) -> str:
    return str(objects(scene, "ModelBuild")[0]["status"]["phase"])


async def test_a_service_makes_its_build_and_wakes_it(scene: Scene) -> None:
    await scene.reconcile(KEY)
    assert scene.kinds() == {"ModelBuild"}
    assert scene.woken == [build_key(scene)]
    assert scene.condition("ModelReady")["reason"] == "Building"
    assert scene.cluster.calls["apply ModelBuild"] == scene.cluster.calls["status InferenceService"] == 1


async def test_a_build_makes_its_job_its_account_and_its_policy(scene: Scene) -> None:
    await started(scene)
    assert scene.kinds() == {"ModelBuild", "Job", "ServiceAccount", "NetworkPolicy"}
    owner = objects(scene, "Job")[0]["metadata"]["ownerReferences"][0]
    assert owner["uid"] == objects(scene, "ModelBuild")[0]["metadata"]["uid"]
    assert {o["metadata"]["name"] for o in objects(scene, "ServiceAccount")} == {"seawall-build"}


async def test_looks_with_nothing_to_do_write_nothing_while_a_build_runs(scene: Scene) -> None:
    key = await started(scene)
    pod(scene, key, "Running", finish={"running": {}})
    scene.pods.says = Progress("profile", 70, "batch 4")
    await scene.reconcile(key)
    await scene.reconcile(KEY)
    scene.told()
    scene.cluster.calls.clear()
    for _ in range(3):
        await scene.reconcile(key)
        await scene.reconcile(KEY)
    assert scene.cluster.writes() == 0
    assert "stage profile, 70 %" in scene.condition("ModelReady")["message"]
    assert set(scene.pods.asked) == {"10.0.0.7:8085"}


async def test_a_build_wakes_the_services_that_wait_for_it(scene: Scene) -> None:
    key = await started(scene)
    pod(scene, key, "Running", finish={"running": {}})
    scene.woken.clear()
    await scene.reconcile(key)
    assert scene.woken == [KEY]


async def test_what_was_built_is_served_and_its_job_is_gone(scene: Scene) -> None:
    key = await built(scene)
    assert phase(scene) == "Succeeded"
    assert "Job" not in scene.kinds()
    await serving(scene)
    assert scene.status()["model"]["buildRef"] == key.name
    assert "s3://artifacts/builds/abc/" in str(scene.deployments()[0])
    scene.told()
    scene.cluster.calls.clear()
    for look in (key, KEY):
        await scene.reconcile(look)
    assert scene.cluster.calls == {}


async def test_a_restarted_operator_writes_nothing_about_finished_and_running_builds(scene: Scene) -> None:
    key = await built(scene)
    await serving(scene)
    edit(scene, compression={"preset": "int4"})
    await scene.reconcile(KEY)
    second = next(k for k in (build_key(scene, n) for n in (0, 1)) if k != key)
    await scene.reconcile(second)
    scene.told()
    await scene.reconcile(second)
    await scene.reconcile(KEY)
    again = Scene(STORE)
    again.cluster.objects = scene.cluster.objects
    again.told()
    for look in (KEY, key, second):
        await again.reconcile(look)
    assert again.cluster.writes() == 0


async def test_a_second_service_shares_the_build_and_no_job_is_made_again(scene: Scene) -> None:
    await built(scene)
    other = digits(compression=INT8)
    other["metadata"] |= {"name": "other", "uid": "uid-other"}
    scene.put(other)
    scene.cluster.calls.clear()
    await scene.reconcile(OTHER)
    assert len(objects(scene, "ModelBuild")) == 1
    assert scene.cluster.calls["apply Job"] == scene.cluster.calls["apply ModelBuild"] == 0
    orders = [str(d["spec"]["template"]["spec"]["initContainers"]) for d in scene.deployments()]
    assert len(orders) == 1
    assert "s3://artifacts/builds/abc/" in orders[0]


async def test_a_refusal_leaves_the_serving_revision(scene: Scene) -> None:
    edit(scene, compression={"preset": "none"})
    first = await serving(scene)
    edit(scene, compression=INT8)
    key = await started(scene)
    words = json.dumps({"reason": "AccuracyBelowFloor", "message": "cosine 0.91 is below 0.99"})
    pod(scene, key, "Failed", finish={"terminated": {"exitCode": 1, "message": words}})
    ends(scene, "Failed", "PodFailurePolicy")
    await scene.reconcile(key)
    await scene.reconcile(KEY)
    assert scene.condition("Ready")["status"] == "True"
    assert scene.condition("ModelReady")["reason"] == "AccuracyBelowFloor"
    assert scene.status()["rollout"]["stableRevision"] == first
    assert [e.reason for e in scene.cluster.events][-1] == "AccuracyBelowFloor"


async def test_a_pod_that_tells_of_another_store_is_not_believed(scene: Scene) -> None:
    key = await started(scene)
    told = {**RESULT, "artifact": {**RESULT["artifact"], "uri": "https://elsewhere/x/"}}
    pod(scene, key, "Succeeded", finish={"terminated": {"exitCode": 0, "message": json.dumps(told)}})
    ends(scene, "Complete")
    await scene.reconcile(key)
    assert phase(scene) == "Failed"


async def test_a_job_told_of_before_its_pod_is_read_live(scene: Scene) -> None:
    key = await started(scene)
    finish = {"terminated": {"exitCode": 0, "message": json.dumps(RESULT)}}
    pod(scene, key, "Succeeded", finish=finish)
    ends(scene, "Complete")
    scene.store.forget(BY_NAME["Pod"], "ns", f"{key.name}-x", None)
    await scene.reconcile(key)
    assert phase(scene) == "Succeeded"


async def test_as_many_builds_run_as_may_and_the_next_is_woken(scene: Scene) -> None:
    first = await started(scene)
    other = digits(compression={"preset": "int4"})
    other["metadata"] |= {"name": "other", "uid": "uid-other"}
    scene.put(other)
    await scene.reconcile(OTHER)
    second = next(k for k in (build_key(scene, 0), build_key(scene, 1)) if k != first)
    again = await scene.reconcile(second)
    assert again is not None
    waiting = scene.cluster.objects["ModelBuild", "ns", second.name]["status"]["conditions"][0]
    assert waiting["reason"] == "WaitingForTurn"
    scene.woken.clear()
    ends(scene, "Failed", "DeadlineExceeded")
    await scene.reconcile(first)
    assert second in scene.woken
    await scene.reconcile(second)
    assert len(objects(scene, "Job")) == 2


async def test_what_the_api_server_refuses_is_told_by_the_build_and_its_service(scene: Scene) -> None:
    await scene.reconcile(KEY)
    key = build_key(scene)
    scene.cluster.fail("apply", ApiRejected("exceeded quota: jobs"), kind="Job")
    assert await scene.reconcile(key) == 60.0
    assert scene.slots.running == set()
    await scene.reconcile(KEY)
    assert "exceeded quota: jobs" in scene.condition("ModelReady")["message"]


async def test_an_unused_build_is_marked_then_removed_and_the_shared_objects_follow(scene: Scene) -> None:
    key = await built(scene)
    objects(scene, "ModelBuild")[0]["metadata"]["creationTimestamp"] = "2025-12-01T00:00:00Z"
    scene.cluster.touch(objects(scene, "ModelBuild")[0])
    gone = scene.cluster.objects.pop(("InferenceService", "ns", "digits"))
    scene.store.remove(SERVICE, gone)
    scene.told()
    await scene.reconcile(key)
    scene.told()
    assert objects(scene, "ModelBuild")[0]["status"]["unusedSince"] == "2026-01-01T00:00:00Z"
    name = build_key(scene).name
    told = {
        s.labels["modelbuild"]
        for f in scene.telemetry.registry.collect()
        for s in f.samples
        if s.name == "seawall_build_phase"
    }
    assert name not in told, "nobody is to be called for it"
    scene.clock.moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=8)
    await scene.reconcile(key)
    assert objects(scene, "ModelBuild") == []
    assert Key("ns", "") in scene.woken
    await scene.reconcile(Key("ns", ""))
    assert scene.kinds() & {"ServiceAccount", "NetworkPolicy"} == set()


async def test_a_build_that_somebody_uses_by_now_is_not_removed(scene: Scene) -> None:
    key = await built(scene)
    live = objects(scene, "ModelBuild")[0]
    live["metadata"]["creationTimestamp"] = "2025-12-01T00:00:00Z"
    live["status"]["unusedSince"] = "2025-12-01T00:00:00Z"
    scene.cluster.touch(live)
    scene.told()
    scene.store.forget(SERVICE, "ns", "digits", None)  # the watch is behind
    await scene.reconcile(key)
    assert len(objects(scene, "ModelBuild")) == 1
    assert "unusedSince" not in objects(scene, "ModelBuild")[0]["status"]


async def test_a_revision_that_is_still_there_keeps_its_build(scene: Scene) -> None:
    key = await built(scene)
    await serving(scene)
    assert scene.store.uses.any(key)
    scene.store.forget(SERVICE, "ns", "digits", None)
    assert scene.store.uses.any(key), "the Deployment serves what it made"
    name = scene.deployments()[0]["metadata"]["name"]
    scene.store.forget(BY_NAME["Deployment"], "ns", name, None)
    assert not scene.store.uses.any(key)


async def test_services_without_builds_share_nothing_with_those_of_builds(scene: Scene) -> None:
    edit(scene, compression={"preset": "none"})
    await scene.reconcile(KEY)
    assert {o["metadata"]["name"] for o in objects(scene, "ServiceAccount")} == {"seawall-model"}
    assert scene.store.left_over("ns") == []


async def test_builds_are_counted_by_phase(scene: Scene) -> None:
    def count(phase: str) -> float | None:
        return scene.telemetry.registry.get_sample_value("seawall_builds", {"phase": phase})

    def told(key: Key, phase: str) -> float | None:
        labels = {"namespace": "ns", "modelbuild": key.name, "phase": phase}
        return scene.telemetry.registry.get_sample_value("seawall_build_phase", labels)

    key = await started(scene)
    assert (count("Pending"), count("Succeeded")) == (1, 0)
    assert (told(key, "Pending"), told(key, "Succeeded")) == (1, None)
    scene.store.forget(BUILD, "ns", key.name, None)
    await scene.reconcile(key)
    assert count("Pending") == 0
    assert told(key, "Pending") is None


def test_events_find_the_build_and_the_services_that_wait_for_it() -> None:
    store, keys = Store(), []
    told = Told(store, keys.append)
    service = digits() | {"status": {"rollout": {"build": "b"}}}
    store.put(SERVICE, service)
    build = {"metadata": {"name": "b", "namespace": "ns", "uid": "u", "resourceVersion": "5"}, "spec": {}}
    told.event(BUILD, "ADDED", build)
    assert keys == [Key("ns", "b", "ModelBuild"), KEY]
    keys.clear()
    labels = {"serving.seawall.dev/modelbuild": "b"}
    for kind in (JOB, BY_NAME["Pod"]):
        told.event(kind, "ADDED", {"metadata": {"name": "j", "namespace": "ns", "labels": labels}})
    assert keys == [Key("ns", "b", "ModelBuild")] * 2
    keys.clear()
    labels = {"app.kubernetes.io/component": "model-build"}
    told.event(
        BY_NAME["ServiceAccount"], "DELETED", {"metadata": {"name": "s", "namespace": "ns", "labels": labels}}
    )
    told.changed(BY_NAME["ServiceAccount"], {"metadata": {"name": "s", "namespace": "ns", "labels": labels}})
    assert keys == [Key("ns", "b", "ModelBuild")]


@pytest.mark.parametrize(("at_once", "free"), [(1, False), (2, True)])
def test_places_of_builds_that_ran_before_a_restart_are_taken(at_once: int, free: bool) -> None:
    slots = BuildSlots(at_once, lambda key: None)
    one = Key("ns", "one", "ModelBuild")
    slots.restore([one])
    assert slots.free_for(one)
    assert slots.free_for(Key("ns", "two", "ModelBuild")) is free

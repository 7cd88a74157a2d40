"""One look at one service, through the real plan, with a cluster and model servers in memory."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from seawall.decide.types import Key, Verdict
from seawall.ports import ApiConflict, ApiRejected, ApiUnavailable
from seawall.runtime.kinds import BY_NAME, SERVICE, WATCHED
from seawall.runtime.queue import RetryLater, WorkQueue
from support.scene import CHILDREN, KEY, Scene, digits, edit, serving


@pytest.fixture
def scene() -> Scene:
    made = Scene()
    made.put(digits())
    return made


async def test_a_new_service_costs_one_write_for_each_object_and_one_for_its_status(scene: Scene) -> None:
    await scene.reconcile(KEY)
    assert scene.kinds() == CHILDREN
    assert scene.cluster.calls == {
        "get ServiceAccount": 1,
        "get NetworkPolicy": 1,
        "apply ServiceAccount": 1,
        "apply NetworkPolicy": 1,
        "apply Deployment": 1,
        "apply PodDisruptionBudget": 1,
        "apply Service": 2,
        "status InferenceService": 1,
    }
    assert scene.woken == []


async def test_a_look_with_nothing_to_do_calls_nobody(scene: Scene) -> None:
    await scene.reconcile(KEY)
    scene.told()
    scene.cluster.calls.clear()
    await scene.reconcile(KEY)
    assert scene.cluster.calls == {}


async def test_a_restarted_operator_writes_nothing(scene: Scene) -> None:
    await scene.reconcile(KEY)
    again = Scene()
    again.cluster.objects = scene.cluster.objects
    again.told()
    await again.reconcile(KEY)
    assert again.cluster.writes() == 0


async def test_the_status_tells_of_the_objects_just_made_in_the_same_write(scene: Scene) -> None:
    await scene.reconcile(KEY)
    assert scene.condition("RouteReady")["status"] == "True"
    assert "0 of 1 replicas" in scene.condition("WorkloadReady")["message"]


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("Deployment", lambda o: o["spec"]["template"]["spec"]["containers"][0].update(image="evil:1")),
        ("Service", lambda o: o["spec"].update(selector={"app": "other"})),
        ("Service", lambda o: o["metadata"]["labels"].clear()),
        ("PodDisruptionBudget", lambda o: o["spec"].clear()),
        ("NetworkPolicy", lambda o: o["spec"].update(ingress=[{}])),
        ("ServiceAccount", lambda o: o.update(automountServiceAccountToken=True)),
        ("Deployment", lambda o: o["metadata"].pop("annotations")),
    ],
)
async def test_a_field_that_somebody_changed_is_set_back_with_one_write(
    scene: Scene, kind: str, damage: Any
) -> None:
    await scene.reconcile(KEY)
    scene.told()
    place = next(p for p in scene.cluster.objects if p[0] == kind)
    live = scene.cluster.objects[place]
    before = copy.deepcopy({k: v for k, v in live.items() if k != "metadata"})
    damage(live)
    live["metadata"]["labels"].setdefault("app.kubernetes.io/managed-by", "seawall")
    if kind not in ("ServiceAccount", "NetworkPolicy"):
        live["metadata"]["labels"].setdefault("serving.seawall.dev/inferenceservice", "digits")
    scene.cluster.edited(live)
    scene.told()
    scene.cluster.calls.clear()
    await scene.reconcile(KEY)
    assert scene.cluster.calls[f"apply {kind}"] == 1
    assert scene.cluster.writes() == 1
    healed = scene.cluster.objects[place]
    assert {k: v for k, v in healed.items() if k != "metadata"} == before


async def test_a_child_deleted_by_hand_comes_back(scene: Scene) -> None:
    await scene.reconcile(KEY)
    scene.told()
    gone = scene.cluster.objects.pop(("Service", "ns", "digits"))
    scene.store.remove(BY_NAME["Service"], gone)
    await scene.reconcile(KEY)
    assert ("Service", "ns", "digits") in scene.cluster.objects


async def test_a_value_that_the_server_spells_differently_is_not_sent_for_ever(scene: Scene) -> None:
    real_apply = scene.cluster.apply

    async def spelling_server(manifest: Any, *, force: bool) -> Any:
        made = await real_apply(manifest, force=force)
        if manifest["kind"] == "PodDisruptionBudget":
            live = scene.cluster.objects[("PodDisruptionBudget", "ns", "digits")]
            live["spec"] = live["spec"] | {"maxUnavailable": "respelled"}
            made["spec"] = live["spec"]
        return made

    scene.cluster.apply = spelling_server  # type: ignore[method-assign]
    for _ in range(4):
        await scene.reconcile(KEY)
        scene.told()
    assert scene.cluster.calls["apply PodDisruptionBudget"] == 1


async def test_a_key_that_somebody_adds_to_a_selector_is_taken_out(scene: Scene) -> None:
    await scene.reconcile(KEY)
    scene.told()
    live = scene.cluster.objects[("Service", "ns", "digits")]
    live["spec"]["selector"]["app"] = "theirs"  # what is compared key by key would not see it
    scene.cluster.edited(live)
    scene.told()
    await scene.reconcile(KEY)
    assert "app" not in scene.cluster.objects[("Service", "ns", "digits")]["spec"]["selector"]


async def test_an_object_that_others_have_written_to_is_applied_once_after_a_restart(scene: Scene) -> None:
    await scene.reconcile(KEY)
    live = scene.cluster.objects[("Service", "ns", "digits")]
    live["spec"]["selector"]["app"] = "theirs"
    scene.cluster.edited(live)
    again = Scene()
    again.cluster.objects = scene.cluster.objects
    again.cluster._versions = scene.cluster._versions
    again.told()
    await again.reconcile(KEY)
    await again.reconcile(KEY)
    assert again.cluster.calls["apply Service"] == 1
    assert "app" not in again.cluster.objects[("Service", "ns", "digits")]["spec"]["selector"]


@pytest.mark.parametrize("kind", ["Service", "Deployment"])
async def test_a_name_that_belongs_to_somebody_else_is_told_and_left_alone(scene: Scene, kind: str) -> None:
    await scene.reconcile(KEY)  # to learn the names
    name = next(p[2] for p in scene.cluster.objects if p[0] == kind)
    fresh = Scene()
    fresh.put(digits())
    theirs = {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {"x": 1},
    }
    fresh.cluster.add(theirs)
    requeue = await fresh.reconcile(KEY)
    live = fresh.cluster.objects[(kind, "ns", name)]
    assert live["spec"] == {"x": 1}
    type_ = "RouteReady" if kind == "Service" else "WorkloadReady"
    assert fresh.condition(type_)["reason"] == "NameConflict"
    assert requeue is not None, "it is looked at again without an event, but not at once"
    assert requeue > 5


async def test_a_foreign_object_that_would_merge_without_conflict_is_given_back(scene: Scene) -> None:
    released: list[dict[str, Any]] = []
    real_apply = scene.cluster.apply

    async def merging(manifest: Any, *, force: bool) -> Any:
        if manifest["kind"] == "Service" and manifest["metadata"]["name"] == "digits":
            if "spec" not in manifest:
                released.append(manifest)
            merged = dict(manifest) | {"metadata": dict(manifest["metadata"])}
            merged["metadata"] |= {"resourceVersion": "5", "uid": "theirs"}
            merged["metadata"]["managedFields"] = [
                {"manager": "seawall", "operation": "Apply"},
                {"manager": "helm", "operation": "Update"},
            ]
            return merged
        return await real_apply(manifest, force=force)

    scene.cluster.apply = merging  # type: ignore[method-assign]
    await scene.reconcile(KEY)
    assert len(released) == 1
    assert set(released[0]["metadata"]) == {"name", "namespace"}
    assert scene.condition("RouteReady")["reason"] == "NameConflict"
    assert scene.store.get(BY_NAME["Service"], "ns", "digits") is None


async def test_what_the_api_server_refuses_is_told_in_its_words_and_nothing_is_switched(scene: Scene) -> None:
    scene.cluster.fail("apply", ApiRejected("exceeded quota: gpus, requested 1"), kind="Deployment")
    requeue = await scene.reconcile(KEY)
    condition = scene.condition("WorkloadReady")
    assert condition["reason"] == "Rejected"
    assert "exceeded quota" in condition["message"]
    assert "Service" not in scene.kinds()
    assert requeue is not None


@pytest.mark.parametrize(
    ("verb", "kind", "error"),
    [
        ("apply", "Deployment", ApiUnavailable("429", retry_after=7)),
        ("apply", "Service", ApiUnavailable("503")),
        ("apply", "ServiceAccount", ApiUnavailable("time-out")),
        ("status", "InferenceService", ApiUnavailable("409 on a race")),
    ],
)
async def test_a_passing_fault_is_retried_and_nothing_is_done_twice(
    scene: Scene, verb: str, kind: str, error: ApiUnavailable
) -> None:
    scene.cluster.fail(verb, error, kind=kind)
    with pytest.raises(RetryLater) as caught:
        await scene.reconcile(KEY)
    assert caught.value.at_least == (error.retry_after or 0)
    await scene.reconcile(KEY)
    assert scene.kinds() == CHILDREN
    assert scene.cluster.calls[f"{verb} {kind}"] <= 3
    assert scene.condition("RouteReady")["status"] == "True"


async def test_faults_without_end_are_retried_with_growing_pauses_only(scene: Scene) -> None:
    scene.cluster.fail("apply", ApiUnavailable("503"), times=10**9)
    now = 0.0
    queue: WorkQueue[Key] = WorkQueue(clock=lambda: now, spread=lambda: 0.5)
    queue.start(1, scene.reconcile)
    queue.add(KEY)
    attempts = 0
    while now < 600:
        for _ in range(60):
            await asyncio.sleep(0)
        attempts = scene.cluster.calls["apply ServiceAccount"]
        now += 1
        queue.keys.wake(now)
        queue.add_after(Key("ns", "nobody"), 10**6)
    assert 5 <= attempts <= 12, "0.5 s doubling to 5 min: a dozen in ten minutes"
    await queue.drain(1)


async def test_our_own_object_that_the_watch_has_not_told_of_is_taken_over(scene: Scene) -> None:
    await scene.reconcile(KEY)
    scene.told()
    place = next(p for p in scene.cluster.objects if p[0] == "Deployment")
    live = scene.cluster.objects[place]
    scene.store.forget(BY_NAME["Deployment"], "ns", place[2], None)
    live["spec"]["replicas"] = 5
    scene.cluster.edited(live)
    await scene.reconcile(KEY)
    assert scene.cluster.objects[place]["spec"]["replicas"] == 1


async def test_a_conflict_in_a_race_with_our_own_past_is_forced_after_a_look(scene: Scene) -> None:
    scene.cluster.fail("apply", ApiConflict("raced"), kind="PodDisruptionBudget")
    await scene.reconcile(KEY)
    assert "PodDisruptionBudget" in scene.kinds()


async def test_the_leftovers_of_a_deleted_service_of_the_same_name_make_room(scene: Scene) -> None:
    await scene.reconcile(KEY)
    old = scene.cluster.objects[("Service", "ns", "digits")]["metadata"]["uid"]
    successor = digits()
    successor["metadata"]["uid"] = "uid-second"
    del scene.cluster.objects[("InferenceService", "ns", "digits")]
    scene.store.forget(SERVICE, "ns", "digits", None)
    scene.put(successor)
    await scene.reconcile(KEY)
    live = scene.cluster.objects[("Service", "ns", "digits")]["metadata"]
    assert live["uid"] != old
    assert live["ownerReferences"][0]["uid"] == "uid-second"


async def test_an_update_comes_up_beside_is_verified_and_switched_on_a_live_read(scene: Scene) -> None:
    first = await serving(scene)
    edit(scene, model={"uri": "s3://models/digits-2.onnx"})
    await scene.reconcile(KEY)
    assert len(scene.deployments()) == 2
    new = next(d for d in scene.deployments() if not d["metadata"]["name"].endswith(first))
    scene.bring_up(new)
    scene.cluster.calls.clear()
    await scene.reconcile(KEY)
    reads = {call: n for call, n in scene.cluster.calls.items() if call.split()[0] in ("get", "list")}
    assert reads == {
        "get InferenceService": 1,
        "list Deployment": 1,
        "list Service": 1,
        "list PodDisruptionBudget": 1,
        "list Pod": 1,
        "list HorizontalPodAutoscaler": 1,
    }
    selector = scene.cluster.objects[("Service", "ns", "digits")]["spec"]["selector"]
    assert selector["serving.seawall.dev/revision"] == scene.status()["rollout"]["stableRevision"] != first
    assert scene.condition("Ready")["status"] == "True", "it does not blink while traffic moves"
    assert scene.cluster.calls["status InferenceService"] == 1


async def test_a_wrong_answer_keeps_the_old_revision_and_says_so(scene: Scene) -> None:
    first = await serving(scene)
    scene.servers.verdict = Verdict.WRONG
    edit(scene, model={"uri": "s3://models/broken.onnx"})
    await scene.reconcile(KEY)
    new = next(d for d in scene.deployments() if not d["metadata"]["name"].endswith(first))
    scene.bring_up(new)
    await scene.reconcile(KEY)
    rollout = scene.status()["rollout"]
    assert (rollout["phase"], rollout["stableRevision"]) == ("RolledBack", first)
    assert [e.reason for e in scene.cluster.events][-1] == "RolledBack"


async def test_a_silent_server_holds_no_worker_and_its_answer_wakes_the_service(scene: Scene) -> None:
    scene.servers.gate = asyncio.Event()
    await scene.reconcile(KEY)
    scene.bring_up(scene.deployments()[0])
    await scene.reconcile(KEY)
    assert scene.condition("ModelReady")["reason"] == "Verifying"
    scene.woken.clear()
    scene.servers.gate.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert scene.woken == [KEY]
    await scene.reconcile(KEY)
    assert scene.condition("Ready")["status"] == "True"
    assert len(scene.servers.asked) == 1


async def test_without_the_lease_nothing_is_written(scene: Scene) -> None:
    scene.holds = False
    with pytest.raises(RetryLater):
        await scene.reconcile(KEY)
    assert scene.cluster.writes() == 0


async def test_the_last_service_takes_the_shared_objects_with_it(scene: Scene) -> None:
    await scene.reconcile(KEY)
    scene.told()
    gone = scene.cluster.objects.pop(("InferenceService", "ns", "digits"))
    scene.store.remove(SERVICE, gone)
    await scene.reconcile(KEY)
    assert scene.woken == [Key("ns", "")]
    await scene.reconcile(Key("ns", ""))
    assert not scene.kinds() & {"ServiceAccount", "NetworkPolicy"}


async def test_shared_objects_stay_while_the_api_server_knows_a_service_that_the_watch_has_not_told_of(
    scene: Scene,
) -> None:
    await scene.reconcile(KEY)
    scene.told()
    scene.store.forget(SERVICE, "ns", "digits", None)
    await scene.reconcile(Key("ns", ""))
    assert {"ServiceAccount", "NetworkPolicy"} <= scene.kinds()


async def test_the_content_of_a_named_secret_is_part_of_the_revision(scene: Scene) -> None:
    edit(scene, model={"uri": "s3://models/digits.onnx", "credentialsSecret": "reader"})
    await scene.reconcile(KEY)
    assert scene.condition("SpecAccepted")["reason"] == "SecretNotFound"
    names = []
    for content in ("b25l", "dHdv"):
        scene.cluster.objects[("Secret", "ns", "reader")] = {
            "kind": "Secret",
            "metadata": {"name": "reader", "namespace": "ns"},
            "data": {"key": content},
        }
        await scene.reconcile(KEY)
        names.append({d["metadata"]["name"] for d in scene.deployments()})
    assert len(names[0]) == 1
    assert names[0] != names[1]
    assert "b25l" not in str(scene.status())


async def test_a_secret_that_may_not_be_read_still_lets_the_service_run(scene: Scene) -> None:
    edit(scene, model={"uri": "s3://models/digits.onnx", "credentialsSecret": "reader"})
    scene.cluster.fail("get", ApiRejected("forbidden"), kind="Secret", times=9)
    await scene.reconcile(KEY)
    assert scene.condition("SpecAccepted")["status"] == "True"


async def test_a_wrong_model_config_is_refused_with_the_schemas_words(scene: Scene) -> None:
    edit(scene, model={"uri": "s3://models/digits.onnx", "config": {"typo": 1}})
    await scene.reconcile(KEY)
    assert "unknown field" in scene.condition("SpecAccepted")["message"]


async def test_the_figures_of_a_service_are_exported_while_it_exists(scene: Scene) -> None:
    def value(name: str) -> float | None:
        for metric in scene.telemetry.registry.collect():
            for sample in metric.samples:
                if sample.name == name and sample.labels.get("inferenceservice") == "digits":
                    return float(sample.value)
        return None

    await scene.reconcile(KEY)
    assert value("seawall_slo_target_seconds") == 0.05
    assert value("seawall_desired_replicas") == 1
    assert value("seawall_condition") == 0, "Ready comes first, and no pod has started"
    assert value("seawall_rollout_phase") == 1
    assert value("seawall_rollout_progress_timestamp_seconds") is not None
    scene.store.forget(SERVICE, "ns", "digits", None)
    await scene.reconcile(KEY)
    assert value("seawall_slo_target_seconds") is None
    assert value("seawall_condition") is None
    assert value("seawall_rollout_progress_timestamp_seconds") is None


def test_every_kind_that_a_plan_may_write_is_watched() -> None:
    assert {kind.kind for kind in WATCHED} >= CHILDREN

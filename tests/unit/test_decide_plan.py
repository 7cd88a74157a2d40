"""Observed -> Plan, from the first apply to the drained update, with a small world that obeys the plan."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from seawall.decide.plan import plan
from seawall.decide.types import (
    ObjectRef,
    Plan,
    PlatformUpdate,
    Verdict,
    Verification,
    WriteProblem,
)
from support.town import CPU, PLATFORM, Town, service


def test_a_first_apply_makes_every_child_in_one_pass_and_says_starting() -> None:
    town = Town()
    made = town.step()
    kinds = [m["kind"] for m in made.apply]
    assert kinds == [
        "ServiceAccount", "NetworkPolicy", "Deployment", "PodDisruptionBudget", "Service", "Service",
    ]  # fmt: skip
    assert town.condition("Ready")[0] == "False"
    assert town.condition("ModelReady") == ("False", "Loading")
    assert made.events == ()


def test_a_service_becomes_ready_only_after_a_right_answer() -> None:
    town = Town()
    town.step()
    revision = town.service["status"]["rollout"]["candidateRevision"]
    town.make_ready(revision)
    asked = plan(town.observed())
    assert asked.verify is not None
    assert asked.verify.addresses == ("10.1.0.0:8000", "10.1.0.1:8000")
    assert town.condition("Ready")[0] == "False"
    town.answer()
    town.step()
    assert town.condition("Ready") == ("True", "Serving")
    assert town.service["status"]["replicas"] == 2


@pytest.mark.parametrize(
    ("left", "ready"), [(1, ("True", "Serving")), (0, ("False", "ArtifactDigestMismatch"))]
)
def test_a_pod_that_may_not_load_what_its_revision_serves_says_why(left: int, ready: tuple[str, str]) -> None:
    town = Town()
    revision = town.installed()
    pod = town.objects["Pod", f"digits-{revision}-1"]
    told = json.dumps({"reason": "ArtifactDigestMismatch", "message": "model.onnx was changed"})
    ended = {"exitCode": 1, "reason": "Error", "message": told}
    pod["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    pod["status"]["initContainerStatuses"] = [{"name": "fetch", "state": {"terminated": ended}}]
    numbers = {"availableReplicas": left, "readyReplicas": left}
    town.objects["Deployment", f"digits-{revision}"]["status"].update(numbers)
    town.step()
    assert town.condition("ModelReady") == ("False", "ArtifactDigestMismatch")
    assert town.condition("Ready") == ready
    assert town.service["status"]["rollout"]["stableRevision"] == revision


def test_nothing_to_do_changes_nothing() -> None:
    town = Town()
    town.installed()
    town.step()
    before = town.writes
    for _ in range(3):
        made = town.step()
        town.now += timedelta(hours=1)
        assert (made.delete, made.events, made.requeue_after) == ((), (), None)
    assert town.writes == before


def test_an_update_moves_traffic_after_the_answer_and_drains_the_old_revision() -> None:
    town = Town()
    old = town.installed()
    town.edit(model={"uri": "s3://models/digits-2.onnx", "format": "onnx", "maxBatchSize": 8})
    town.step()
    new = town.service["status"]["rollout"]["candidateRevision"]
    assert (town.selected(), len(town.deployments())) == (old, 2)
    assert town.condition("Ready") == ("True", "Updating")
    town.make_ready(new)
    switched = town.answer()
    assert switched.needs_live_read
    assert town.selected() == new
    town.step()
    assert len(town.deployments()) == 2
    town.now += timedelta(seconds=60)
    town.step()
    assert town.deployments() == {f"digits-{new}"}
    town.step()
    assert town.condition("Ready") == ("True", "Serving")


def test_a_wrong_answer_never_gets_traffic_and_stays_rejected() -> None:
    town = Town()
    old = town.installed()
    town.edit(model={"uri": "s3://models/bad.onnx", "format": "onnx", "maxBatchSize": 8})
    town.step()
    town.make_ready(town.service["status"]["rollout"]["candidateRevision"])
    town.answer(Verdict.WRONG)
    for _ in range(3):
        town.step()
    assert town.selected() == old
    assert town.deployments() == {f"digits-{old}"}
    assert town.condition("Ready") == ("True", "RolloutFailed")
    assert town.condition("RolloutHealthy") == ("False", "VerificationFailed")
    assert town.condition("ModelReady") == ("False", "VerificationFailed")


def test_a_first_revision_that_answers_wrong_is_withheld() -> None:
    town = Town()
    town.step()
    town.make_ready(town.service["status"]["rollout"]["candidateRevision"])
    made = town.answer(Verdict.WRONG)
    assert town.selected() == "withheld"
    assert made.requeue_after is not None
    assert town.condition("Ready")[0] == "False"
    town.answer()
    town.step()
    assert town.condition("Ready") == ("True", "Serving")


@pytest.mark.parametrize(
    ("edit", "reason", "word"),
    [
        ({"scaling": {"mode": "Auto", "minReplicas": 0}}, "ScaleToZeroNotSupported", "minReplicas"),
        ({"scaling": {"minReplicas": 0, "maxReplicas": 3}}, "ScaleToZeroNotSupported", "mode Fixed"),
        (
            {"scaling": {"mode": "HPA", "behavior": {"scaleUp": {"policies": [{"type": "Pods"}]}}}},
            "Invalid",
            "behavior.scaleUp.policies.0.value",
        ),
        ({"compression": {"preset": "fp16"}}, "PresetNotSupported", "use int8"),
        ({"compression": {"preset": "none", "calibration": "s3://m/c.npz"}}, "NothingToBuild", "calibration"),
        (
            {"model": {"uri": "s3://m/x.py"}, "compression": {"preset": "int8"}},
            "PresetNotSupported",
            "format python",
        ),
        (
            {"model": {"uri": "s3://m/repo/"}, "parallelism": {"pipeline": 2}},
            "PipelineNotSupported",
            "repository",
        ),
        (
            {
                "model": {"uri": "pvc://a/m.onnx"},
                "compression": {"preset": "int8", "calibration": "pvc://b/c"},
            },
            "TooManyClaims",
            "a, b",
        ),
        ({"rollout": {"strategy": "Canary"}}, "NotImplemented", "Canary"),
        ({"rollout": {"capacity": {"mode": "Displace"}}}, "NotImplemented", "Displace"),
        ({"model": {"uri": "s3://m/x.plan", "format": "tensorrt"}}, "FormatNotSupported", "GPU"),
        ({"model": {"uri": "s3://m/thing"}}, "FormatUnknown", "format"),
        ({"podTemplate": {"spec": {"containers": "none"}}}, "InvalidPodTemplate", "podTemplate"),
        ({"slo": {"p99": "20"}}, "Invalid", "p99"),
    ],
)
def test_a_refused_change_is_named_and_the_serving_revision_stays(
    edit: dict[str, Any], reason: str, word: str
) -> None:
    town = Town()
    old = town.installed()
    town.edit(**edit)
    town.step()
    assert town.condition("SpecAccepted") == ("False", reason)
    assert word in town.message("SpecAccepted")
    assert (town.selected(), town.deployments()) == (old, {f"digits-{old}"})
    assert town.condition("Ready") == ("True", "SpecRefused")
    assert town.count(old) == 2


def test_routes_that_the_cluster_cannot_have_leave_what_serves_alone() -> None:
    town = Town()
    old = town.installed()
    town.edit(routing={"gateways": [{"name": "g"}]})
    town.step()
    assert town.condition("SpecAccepted") == ("False", "GatewayAPIMissing")
    assert (town.selected(), town.deployments()) == (old, {f"digits-{old}"})
    assert town.condition("Ready") == ("True", "SpecRefused")


def test_a_service_refused_from_the_first_day_makes_nothing() -> None:
    town = Town(service=service(routing={"gateways": [{"name": "g"}]}))
    made = town.step()
    assert made.apply == ()
    assert town.condition("Ready") == ("False", "GatewayAPIMissing")


@pytest.mark.parametrize(
    ("over", "reason"),
    [
        ({"accelerator": None}, "AcceleratorClassNotFound"),
        ({"config_problem": 'no field named "max_bach_size"'}, "InvalidConfig"),
        ({"references": {("Secret", "s3-reader"): None}}, "SecretNotFound"),
        ({"references": {("ConfigMap", "env"): None}}, "ConfigMapNotFound"),
        (
            {"accelerator": {**CPU, "spec": {"type": "tpu", "resourceName": "google.com/tpu"}}},
            "RuntimeMissing",
        ),
        ({"accelerator": {**CPU, "spec": {"type": "quantum"}}}, "AcceleratorClassInvalid"),
    ],
)
def test_what_only_other_objects_can_tell_is_refused_by_condition(over: dict[str, Any], reason: str) -> None:
    town = Town()
    town.step(**{k: v for k, v in over.items() if k != "accelerator"}) if "accelerator" not in over else None
    if "accelerator" in over:
        town.accelerator = over["accelerator"]
        town.step()
    assert town.condition("SpecAccepted") == ("False", reason)
    assert not town.deployments()


def test_labels_annotations_slo_and_replicas_never_make_a_revision() -> None:
    town = Town()
    old = town.installed()
    town.step()
    template = copy.deepcopy(town.objects["Deployment", f"digits-{old}"]["spec"]["template"])
    town.service["metadata"]["labels"] = {"team": "search"}
    town.service["metadata"]["annotations"]["note"] = "x"
    town.edit(slo={"p99": "5ms"}, scaling={"mode": "Fixed", "replicas": 5}, rollout={"strategy": "Direct"})
    town.step()
    assert town.deployments() == {f"digits-{old}"}
    deployment = town.objects["Deployment", f"digits-{old}"]
    assert (deployment["spec"]["template"], deployment["spec"]["replicas"]) == (template, 5)
    assert "follow 5ms with the next revision" in town.message("Ready")


def test_a_platform_change_waits_for_its_slot_and_then_rolls() -> None:
    town = Town()
    old = town.installed()
    town.platform = replace(PLATFORM, fetcher_image="seawall:2")
    waiting = town.step(platform_slot=False)
    assert waiting.platform_update is PlatformUpdate.WAITING
    assert town.deployments() == {f"digits-{old}"}
    assert town.condition("RolloutHealthy") == ("True", "PlatformUpdateWaiting")
    running = town.step()
    assert running.platform_update is PlatformUpdate.RUNNING
    assert len(town.deployments()) == 2
    assert town.service["status"]["rollout"]["trigger"] == "Platform"


def test_a_deployment_of_another_template_version_is_left_as_it_is_until_its_turn() -> None:
    town = Town()
    old = town.installed()
    before = copy.deepcopy(town.objects["Deployment", f"digits-{old}"]["spec"])
    town.platform = replace(PLATFORM, template_version=2)
    town.step(platform_slot=False)
    assert town.objects["Deployment", f"digits-{old}"]["spec"] == before
    town.edit(scaling={"mode": "Fixed", "replicas": 3})
    town.step(platform_slot=False)
    assert town.objects["Deployment", f"digits-{old}"]["spec"] == {**before, "replicas": 3}


def test_a_hand_edited_child_is_planned_back() -> None:
    town = Town()
    old = town.installed()
    town.objects["Deployment", f"digits-{old}"]["spec"]["replicas"] = 7
    town.objects["Service", "digits"]["spec"]["selector"] = {"app": "other"}
    town.step()
    assert town.objects["Deployment", f"digits-{old}"]["spec"]["replicas"] == 2
    assert town.selected() == old


def test_children_of_ours_that_are_not_planned_are_deleted_and_foreign_ones_are_not() -> None:
    town = Town()
    old = town.installed()
    stray = copy.deepcopy(town.objects["Service", "digits"])
    stray["metadata"]["name"] = "digits-leftover"
    foreign = copy.deepcopy(stray)
    foreign["metadata"] |= {"name": "foreign", "ownerReferences": [{"uid": "somebody-else"}]}
    town.objects["Service", "digits-leftover"], town.objects["Service", "foreign"] = stray, foreign
    made = town.step()
    assert [ref.name for ref in made.delete] == ["digits-leftover"]
    assert town.deployments() == {f"digits-{old}"}


def test_a_failed_write_is_told_and_the_rollout_does_not_advance() -> None:
    town = Town()
    old = town.installed()
    town.edit(model={"uri": "s3://models/digits-2.onnx", "format": "onnx", "maxBatchSize": 8})
    town.step()
    town.make_ready(town.service["status"]["rollout"]["candidateRevision"])
    asked = plan(town.observed())
    assert asked.verify is not None
    ref = ObjectRef("v1", "Service", "demo", "digits")
    problem = WriteProblem(ref, "NameConflict", "belongs to somebody else")
    answer = Verification(asked.verify.revision, Verdict.PASSED)
    failed = plan(town.observed(verification=answer, write_problems=(problem,)))
    assert failed.status is not None
    assert failed.status["rollout"]["stableRevision"] == old
    assert failed.events == ()
    assert failed.requeue_after is not None
    [route] = [c for c in failed.status["conditions"] if c["type"] == "RouteReady"]
    assert (route["status"], route["reason"]) == ("False", "NameConflict")


def test_scaled_to_zero_is_said_and_not_called_ready() -> None:
    town = Town()
    old = town.installed()
    town.edit(scaling={"mode": "Fixed", "replicas": 0})
    town.step()
    assert town.objects["Deployment", f"digits-{old}"]["spec"]["replicas"] == 0
    town.objects["Deployment", f"digits-{old}"]["status"] = {"observedGeneration": 9}
    town.step()
    assert town.condition("Ready") == ("False", "ScaledToZero")


def test_a_service_being_deleted_is_left_to_garbage_collection() -> None:
    town = Town()
    town.installed()
    town.service["metadata"]["deletionTimestamp"] = "2026-11-01T12:00:00Z"
    assert plan(town.observed()) == Plan()

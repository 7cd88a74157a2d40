"""A service whose model has to be built: what it says while it waits, and what serves meanwhile."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from seawall.api.validate import problems
from seawall.decide.types import ObjectRef, PlatformUpdate, WriteProblem
from support.town import CPU, PLATFORM, Town, service

STORE = replace(
    PLATFORM, artifacts_uri="s3://artifacts/builds", artifacts_secret="store", public_keys=("PEM",)
)
INT8 = {"preset": "int8"}
RESULT = {
    "preset": "int8", "originalBytes": 4000, "compressedBytes": 1000, "compressionRatio": "4", "unproven": False,
    "accuracy": {"metric": "cosine", "value": "0.999", "low": "0.998", "samples": 100, "source": "evaluation"},
}  # fmt: skip


def town(**spec: Any) -> Town:
    return Town(service=service(**spec), platform=STORE)


def builds(here: Town) -> list[str]:
    return sorted(name for kind, name in here.objects if kind == "ModelBuild")


def status(
    here: Town, name: str, phase: str, reason: str = "Building", message: str = "", **more: Any
) -> None:
    complete = {"type": "Complete", "status": "Unknown", "reason": reason, "message": message}
    here.objects["ModelBuild", name]["status"] = {"phase": phase, "conditions": [complete], **more}


def done(here: Town, name: str, format_: str = "onnx") -> None:
    artifact = {"uri": f"s3://artifacts/builds/{name}/", "digest": "d" * 64, "format": format_}
    status(here, name, "Succeeded", "Built", artifact=artifact, result={**RESULT, "format": format_})


def test_a_first_service_makes_its_build_and_nothing_else_until_that_is_done() -> None:
    here = town(compression=INT8)
    made = here.step()
    assert [m["kind"] for m in made.apply] == ["ModelBuild"]
    assert problems(made.apply[0]) == []
    assert "ownerReferences" not in made.apply[0]["metadata"]
    assert here.condition("SpecAccepted")[0] == "True"
    assert here.condition("ModelReady") == here.condition("Ready") == ("False", "Building")
    [name] = builds(here)
    assert here.service["status"]["rollout"] == {"phase": "Building", "build": name, "trigger": "Spec"}
    assert here.service["status"]["model"] == {"buildRef": name}


def test_progress_of_the_build_is_told_by_the_service() -> None:
    here = town(compression=INT8)
    here.step()
    [name] = builds(here)
    status(here, name, "Pending", "Unschedulable", "No node fits pod x")
    here.step()
    assert "Unschedulable: No node fits pod x" in here.message("ModelReady")
    progress = {"stage": "compress", "percent": 40, "message": "layer 3 of 8"}
    status(here, name, "Running", progress=progress)
    made = here.step()
    assert here.message("Ready") == f"ModelBuild {name}: stage compress, 40 %: layer 3 of 8"
    assert made.requeue_after == 30.0


def test_the_artefact_becomes_the_revision_and_is_told_in_the_status() -> None:
    here = town(compression=INT8)
    here.step()
    [name] = builds(here)
    done(here, name)
    here.installed()
    here.step()
    assert here.condition("Ready") == ("True", "Serving")
    model = here.service["status"]["model"]
    assert (model["preset"], model["format"], model["buildRef"]) == ("int8", "onnx", name)
    assert (model["originalBytes"], model["compressionRatio"], model["unproven"]) == (4000, "4", False)
    assert model["accuracy"] == {"metric": "cosine", "value": "0.999", "low": "0.998", "samples": 100}
    [deployment] = [o for (kind, _), o in here.objects.items() if kind == "Deployment"]
    [fetch] = deployment["spec"]["template"]["spec"]["initContainers"]
    order = next(e["value"] for e in fetch["env"] if e["name"] == "SEAWALL_FETCH")
    assert f'"uri":"s3://artifacts/builds/{name}/"' in order
    assert f'"artifact":{{"digest":"{"d" * 64}","publicKeys":["PEM"]}}' in order
    assert fetch["envFrom"] == [{"secretRef": {"name": "store"}}]


def test_a_new_preset_leaves_the_old_revision_serving_until_its_build_is_done() -> None:
    here = town()
    old = here.installed()
    here.step()
    here.edit(compression=INT8)
    here.step()
    assert here.condition("ModelReady") == ("False", "Building")
    assert here.condition("Ready") == ("True", "Updating")
    assert here.deployments() == {f"digits-{old}"}
    assert here.service["status"]["model"] == {"preset": "none"}
    done(here, builds(here)[0])
    here.step()
    new = here.service["status"]["rollout"]["candidateRevision"]
    assert here.deployments() == {f"digits-{old}", f"digits-{new}"}
    here.make_ready(new)
    here.answer()
    assert here.selected() == new


@pytest.mark.parametrize(("phase", "reason"), [("Refused", "AccuracyBelowFloor"), ("Failed", "OutOfMemory")])
def test_a_build_that_ends_badly_leaves_the_old_revision_serving_and_says_why(
    phase: str, reason: str
) -> None:
    here = town()
    old = here.installed()
    here.step()
    here.edit(compression=INT8)
    here.step()
    status(here, builds(here)[0], phase, reason, "cosine is 0.91")
    made = here.step()
    assert here.condition("ModelReady") == ("False", reason)
    assert here.condition("Ready") == ("True", "BuildFailed")
    assert "cosine is 0.91" in here.message("Ready")
    assert (here.selected(), here.deployments()) == (old, {f"digits-{old}"})
    [rejected] = here.service["status"]["model"]["rejectedPresets"]
    assert rejected["preset"] == "int8"
    assert made.requeue_after is None
    here.edit(compression={"preset": "none"})
    here.step()
    assert here.condition("Ready") == ("True", "Serving")


def test_a_first_build_that_is_refused_is_told_by_ready() -> None:
    here = town(compression=INT8)
    here.step()
    status(here, builds(here)[0], "Refused", "Unproven", "no evaluation data")
    here.step()
    assert here.condition("Ready") == ("False", "Unproven")
    assert not here.deployments()


def test_without_a_store_nothing_is_built_and_what_serves_serves_on() -> None:
    here = Town()
    old = here.installed()
    here.step()
    here.edit(compression=INT8)
    here.step()
    assert builds(here) == []
    assert here.condition("ModelReady") == ("False", "ArtifactStoreMissing")
    assert here.condition("Ready") == ("True", "BuildFailed")
    assert here.selected() == old


def test_a_build_without_an_image_says_so_and_goes_on_when_there_is_one() -> None:
    here = Town(platform=STORE)
    old = here.installed()
    here.step()
    here.edit(compression=INT8)
    here.step()
    [name] = builds(here)
    status(here, name, "Pending", "OptimizerImageMissing", "none is configured")
    here.step()
    assert here.condition("ModelReady") == ("False", "OptimizerImageMissing")
    assert here.condition("Ready") == ("True", "BuildFailed")
    assert (here.selected(), builds(here)) == (old, [name])
    status(here, name, "Pending", "Starting")
    here.step()
    assert here.condition("ModelReady") == ("False", "Building")
    done(here, name)
    here.step()
    assert len(here.deployments()) == 2


def test_a_build_that_the_api_server_refuses_is_told_by_the_model_and_not_by_the_workload() -> None:
    here = town()
    here.installed()
    here.step()
    here.edit(compression=INT8)
    ref = ObjectRef("serving.seawall.dev/v1alpha1", "ModelBuild", "demo", "x")
    here.step(write_problems=[WriteProblem(ref, "Rejected", "exceeded quota")])
    assert here.condition("ModelReady") == ("False", "Rejected")
    assert here.condition("WorkloadReady")[0] == "True"
    assert here.condition("Ready")[0] == "True"


def test_a_spec_that_goes_back_serves_what_served_and_forgets_the_build() -> None:
    here = town()
    old = here.installed()
    here.step()
    here.edit(compression=INT8)
    here.step()
    here.edit(compression={"preset": "none"})
    here.step()
    assert here.condition("Ready") == ("True", "Serving")
    assert "build" not in here.service["status"]["rollout"]
    assert here.deployments() == {f"digits-{old}"}


def test_what_drains_when_a_build_begins_goes_in_its_time() -> None:
    here = town()
    here.installed()
    here.edit(model={"uri": "s3://models/digits-2.onnx", "maxBatchSize": 8})
    here.step()
    second = here.service["status"]["rollout"]["candidateRevision"]
    here.make_ready(second)
    here.answer()
    here.edit(compression=INT8)
    here.step()
    assert len(here.deployments()) == 2
    here.now += timedelta(seconds=60)
    here.step()
    assert here.deployments() == {f"digits-{second}"}


def test_a_candidate_of_an_earlier_spec_makes_room_for_the_build() -> None:
    here = town()
    old = here.installed()
    here.edit(model={"uri": "s3://models/digits-2.onnx", "maxBatchSize": 8})
    here.step()
    assert len(here.deployments()) == 2
    here.edit(compression=INT8)
    here.step()
    here.now += timedelta(seconds=60)
    here.step()
    assert here.deployments() == {f"digits-{old}"}
    assert here.service["status"]["rollout"]["history"][0]["outcome"] == "Aborted"


def with_image(image: str) -> dict[str, Any]:
    return {**CPU, "spec": {**CPU["spec"], "runtime": {"image": image, "tritonVersion": "24.10"}}}


def compressed() -> Town:
    here = town(compression=INT8)
    here.step()
    done(here, builds(here)[0])
    here.installed()
    here.step()
    return here


def test_a_change_of_the_platform_makes_its_build_only_when_its_turn_has_come() -> None:
    here = compressed()
    [first] = builds(here)
    here.accelerator = with_image("triton:2")
    waiting = here.step(platform_slot=False)
    assert waiting.platform_update is PlatformUpdate.WAITING
    assert builds(here) == [first]
    assert here.condition("RolloutHealthy") == ("True", "PlatformUpdateWaiting")
    assert here.condition("ModelReady") == ("True", "Verified")
    assert here.service["status"]["rollout"]["build"] == first
    running = here.step()
    assert running.platform_update is PlatformUpdate.RUNNING
    [second] = set(builds(here)) - {first}
    rollout = here.service["status"]["rollout"]
    assert (rollout["phase"], rollout["trigger"], rollout["build"]) == ("Building", "Platform", second)
    done(here, second)
    rolling = here.step()
    assert rolling.platform_update is PlatformUpdate.RUNNING
    assert len(here.deployments()) == 2


def test_a_failed_build_of_the_platform_gives_its_turn_back_as_a_failure() -> None:
    here = compressed()
    [first] = builds(here)
    here.accelerator = with_image("triton:broken")
    here.step()
    [second] = set(builds(here)) - {first}
    status(here, second, "Failed", "BuildFailed", "exit code 2")
    made = here.step()
    assert made.platform_update is PlatformUpdate.NONE
    assert here.service["status"]["rollout"]["phase"] == "RolledBack"
    assert here.condition("Ready") == ("True", "BuildFailed")


def test_a_new_release_of_the_pipeline_is_a_change_of_the_platform() -> None:
    here = compressed()
    here.platform = replace(STORE, pipeline_version=2)
    assert here.step(platform_slot=False).platform_update is PlatformUpdate.WAITING


def test_another_objective_of_preset_auto_is_a_change_of_its_owner() -> None:
    here = town(compression={"preset": "auto"})
    here.step()
    done(here, builds(here)[0])
    here.installed()
    here.step()
    here.edit(slo={"p99": "5ms"})
    made = here.step(platform_slot=False)
    assert made.platform_update is PlatformUpdate.NONE
    assert len(builds(here)) == 2
    assert here.condition("Ready") == ("True", "Updating")


def test_two_services_that_need_the_same_result_name_the_same_build() -> None:
    one, other = town(compression=INT8), town(compression=INT8, scaling={"mode": "Fixed", "replicas": 5})
    other.service["metadata"]["name"] = "other"
    one.step()
    other.step()
    assert builds(one) == builds(other)
    assert one.objects["ModelBuild", builds(one)[0]] == other.objects["ModelBuild", builds(one)[0]]


def test_a_refused_spec_keeps_the_build_that_was_wanted() -> None:
    here = compressed()
    [first] = builds(here)
    here.edit(routing={"gateways": [{"name": "g"}]})
    here.step()
    assert here.condition("Ready") == ("True", "SpecRefused")
    assert here.service["status"]["rollout"]["build"] == first


def test_nothing_to_do_changes_nothing() -> None:
    here = compressed()
    before = here.writes
    for _ in range(3):
        made = here.step()
        here.now += timedelta(hours=1)
        assert (made.delete, made.events, made.requeue_after) == ((), (), None)
    assert here.writes == before


@pytest.mark.parametrize(
    "spec",
    [
        {"model": {"uri": "s3://m/x.pt2"}},
        {"model": {"uri": "s3://m/x.tflite"}},
        {"model": {"uri": "s3://m/x", "format": "tensorflow"}},
        {"parallelism": {"pipeline": 2}},
        {"compression": {"preset": "auto"}},
        {"compression": {"preset": "pruned+int8", "training": {"data": "s3://m/t.npz"}}},
    ],
)
def test_what_triton_does_not_load_as_it_comes_is_built(spec: dict[str, Any]) -> None:
    here = town(**spec)
    made = here.step()
    assert [m["kind"] for m in made.apply] == ["ModelBuild"]
    assert problems(made.apply[0]) == []

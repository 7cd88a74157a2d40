"""One ModelBuild from its Job to its end: ObservedBuild -> Plan, and what a pod may and may not tell."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from seawall.decide.build_plan import plan_build
from seawall.decide.build_result import BadResult, parse_refusal, parse_result
from seawall.decide.types import ObjectRef, ObservedBuild, Plan, Progress, WriteProblem
from seawall.desired.build_job import BuildSettings

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
SETTINGS = BuildSettings("optimizer:1", "training:1", "s3://artifacts/builds")
SPEC = {
    "model": {"uri": "s3://models/digits.onnx", "format": "onnx"},
    "compression": {"preset": "int8"},
    "accelerator": {"class": "cpu", "type": "cpu"},
    "runtime": {"image": "triton:1", "tritonVersion": "24.10"},
    "pipelineVersion": 1,
}
NAME = "digits-int8-0123456789"
ARTIFACT = {"uri": "s3://artifacts/builds/abc/", "digest": "d" * 64, "format": "onnx"}
RESULT = {
    "result": {
        "preset": "int8", "format": "onnx", "originalBytes": 4000, "compressedBytes": 1000, "compressionRatio": "4",
        "accuracy": {"metric": "cosine", "value": "0.999", "low": "0.998", "samples": 100},
        "unproven": False, "profile": {"source": "triton", "batches": [{"size": 1, "p50Ms": "1.5"}]},
    },
    "artifact": ARTIFACT,
    "versions": {"onnxruntime": "1.31.1"},
}  # fmt: skip


def build(**status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.seawall.dev/v1alpha1",
        "kind": "ModelBuild",
        "metadata": {
            "name": NAME, "namespace": "ns", "uid": "b1", "generation": 1, "creationTimestamp": "2026-11-01T11:00:00Z",
        },
        "spec": SPEC,
        **({"status": status} if status else {}),
    }  # fmt: skip


def build_for(device: str, **more: Any) -> dict[str, Any]:
    accelerator = {"class": device, "type": device, "resourceName": f"example.com/{device}"}
    return {**build(), "spec": {**SPEC, "accelerator": accelerator, **more}}


def job(condition: str = "", reason: str = "", **status: Any) -> dict[str, Any]:
    conditions = [{"type": condition, "status": "True", "reason": reason}] if condition else []
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": NAME, "namespace": "ns", "uid": "j1",
            "ownerReferences": [{"kind": "ModelBuild", "uid": "b1", "controller": True}],
        },
        "status": {"conditions": conditions, "startTime": "2026-11-01T11:30:00Z", **status},
    }  # fmt: skip


def pod(phase: str, made: str = "11:30", conditions: Any = (), **containers: Any) -> dict[str, Any]:
    """Containers by name, each with its state."""
    statuses = [{"name": name, "state": state} for name, state in containers.items()]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{NAME}-{made}", "creationTimestamp": f"2026-11-01T{made}:00Z"},
        "status": {
            "phase": phase, "podIP": "10.0.0.7", "conditions": list(conditions),
            "initContainerStatuses": [s for s in statuses if s["name"] != "finish"],
            "containerStatuses": [s for s in statuses if s["name"] == "finish"],
        },
    }  # fmt: skip


def ended(code: int, message: Any = "", reason: str = "Error") -> dict[str, Any]:
    text = message if isinstance(message, str) else json.dumps(message)
    return {"terminated": {"exitCode": code, "reason": reason, "message": text}}


RUNNING = {"running": {"startedAt": "2026-11-01T11:31:00Z"}}


def observed(live: dict[str, Any] | None = None, **over: Any) -> ObservedBuild:
    given: dict[str, Any] = {"build": live or build(), "settings": SETTINGS, "now": NOW, **over}
    return ObservedBuild(**given)


def told(made: Plan) -> tuple[str, str]:
    assert made.status is not None
    [complete] = made.status["conditions"]
    return made.status["phase"], complete["reason"]


def message(made: Plan) -> str:
    assert made.status is not None
    return str(made.status["conditions"][0]["message"])


def test_a_new_build_gets_its_job_and_what_that_needs() -> None:
    made = plan_build(observed())
    assert [m["kind"] for m in made.apply] == ["ServiceAccount", "NetworkPolicy", "Job"]
    assert made.apply[-1]["metadata"]["ownerReferences"][0]["kind"] == "ModelBuild"
    assert told(made) == ("Pending", "Starting")
    assert made.holds_build_slot


@pytest.mark.parametrize(
    ("over", "reason"),
    [
        ({"settings": replace(SETTINGS, artifacts_uri="")}, "ArtifactStoreMissing"),
        ({"live": build_for("gpu")}, "OptimizerImageMissing"),
        ({"slot": False}, "WaitingForTurn"),
        (
            {
                "write_problems": [
                    WriteProblem(ObjectRef("batch/v1", "Job", "ns", NAME), "Rejected", "over quota")
                ]
            },
            "Rejected",
        ),
    ],
)
def test_what_may_not_start_yet_says_why_and_holds_no_place(over: dict[str, Any], reason: str) -> None:
    made = plan_build(observed(**over))
    assert told(made) == ("Pending", reason)
    assert not made.apply
    assert not made.holds_build_slot


def test_an_image_that_is_set_later_starts_a_build_that_waited_for_it() -> None:
    waits = plan_build(observed(build_for("gpu")))
    assert "builds.gpuOptimizerImage" in message(waits)
    made = plan_build(
        observed(
            {**build_for("gpu"), "status": waits.status},
            settings=replace(SETTINGS, gpu_optimizer_image="gpu:1"),
        )
    )
    assert told(made) == ("Pending", "Starting")
    assert made.apply[-1]["spec"]["template"]["spec"]["initContainers"][0]["image"] == "gpu:1"


def test_what_no_image_can_build_is_refused_for_good() -> None:
    settings = replace(SETTINGS, tpu_optimizer_image="tpu:1")
    trained = {"preset": "pruned+bf16", "training": {"data": "s3://models/train.npz"}}
    made = plan_build(observed(build_for("tpu", compression=trained), settings=settings))
    assert told(made) == ("Refused", "PresetUnsupported")
    assert "PyTorch" in message(made)
    assert not made.apply


@pytest.mark.parametrize(
    ("pods", "phase", "word"),
    [
        ([], "Pending", "no pod yet"),
        ([pod("Pending")], "Pending", "about to start"),
        (
            [
                pod(
                    "Pending",
                    conditions=[{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}],
                )
            ],
            "Pending",
            "0/1 nodes",
        ),
        (
            [pod("Pending", triton={"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}})],
            "Pending",
            "no such image",
        ),
        ([pod("Pending", prepare=RUNNING)], "Running", "Phase prepare"),
        ([pod("Running", prepare=ended(0), finish=RUNNING)], "Running", "Phase finish"),
        ([pod("Succeeded", prepare=ended(0), finish=ended(0))], "Running", "about to be read"),
        (
            [
                pod("Failed", "11:20", [{"type": "DisruptionTarget", "status": "True"}], prepare=ended(137)),
                pod("Pending", "11:30", prepare=RUNNING),
            ],
            "Running",
            "a pod before it was evicted",
        ),
    ],
)
def test_where_a_build_stands_while_its_job_runs(pods: Any, phase: str, word: str) -> None:
    made = plan_build(observed(job=job(), pods=pods))
    assert told(made)[0] == phase
    assert word in message(made)
    assert made.holds_build_slot
    assert made.requeue_after == 5.0


def test_progress_is_what_the_pod_says_and_stays_while_it_is_silent() -> None:
    at_work = observed(job=job(active=1, failed=1), pods=[pod("Pending", prepare=RUNNING)])
    made = plan_build(replace(at_work, progress=Progress("compress", 40, "layer 3 of 8")))
    assert made.status is not None
    assert made.status["progress"] == {"stage": "compress", "percent": 40, "message": "layer 3 of 8"}
    assert made.status["attempts"] == 2
    assert made.status["startedAt"] == "2026-11-01T11:30:00Z"
    silent = plan_build(replace(at_work, build=build(**made.status)))
    assert silent.status == made.status
    training = plan_build(replace(at_work, build=build(**made.status), pods=[pod("Pending", train=RUNNING)]))
    assert training.status is not None
    assert training.status["progress"] == {"stage": "train"}


def test_a_build_that_ends_well_says_what_it_made() -> None:
    pods = [pod("Succeeded", prepare=ended(0), triton=ended(143), finish=ended(0, RESULT, "Completed"))]
    made = plan_build(
        observed(build(phase="Running", attempts=1), job=job("Complete", succeeded=1), pods=pods)
    )
    assert told(made) == ("Succeeded", "Built")
    assert made.status is not None
    assert made.status["artifact"] == ARTIFACT
    assert made.status["result"]["compressionRatio"] == "4"
    assert made.status["versions"] == {"onnxruntime": "1.31.1"}
    assert "progress" not in made.status
    assert [e.type for e in made.events] == ["Normal"]
    assert not made.delete, "the Job tells the result until the status does"
    assert not made.holds_build_slot


def test_a_complete_job_without_its_pod_is_looked_for_before_it_is_given_up() -> None:
    gone = observed(job=job("Complete"))
    assert plan_build(gone).needs_live_read
    assert told(plan_build(replace(gone, live=True))) == ("Failed", "BadResult")


FAILURES = {
    "a refusal": (
        "PodFailurePolicy",
        [pod("Failed", prepare=ended(1, {"reason": "AccuracyBelowFloor", "message": "cosine 0.91"}))],
        ("Refused", "AccuracyBelowFloor", "cosine 0.91"),
    ),
    "a crash, which ends with 1 as well": (
        "PodFailurePolicy",
        [pod("Failed", prepare=ended(1, "Traceback\nKeyError: 'x'"))],
        ("Failed", "BuildFailed", "exit code 1"),
    ),
    "memory": (
        "PodFailurePolicy",
        [pod("Failed", prepare=ended(137, "", "OOMKilled"))],
        ("Failed", "OutOfMemory", "8Gi"),
    ),
    "time": ("DeadlineExceeded", [], ("Failed", "DeadlineExceeded", "7200 s")),
    "a store that was away three times": (
        "BackoffLimitExceeded",
        [
            pod("Failed", "11:00", finish=ended(75, {"reason": "Early", "message": "first"})),
            pod("Failed", "11:20", finish=ended(75, {"reason": "StoreUnavailable", "message": "503"})),
        ],
        ("Failed", "BuildFailed", "StoreUnavailable: 503"),
    ),
    "a Triton that was killed after the refusal": (
        "PodFailurePolicy",
        [
            pod(
                "Failed",
                triton=ended(137),
                finish=ended(1, {"reason": "ProfileFailed", "message": "no answer"}),
            )
        ],
        ("Refused", "ProfileFailed", "no answer"),
    ),
    "pods that are gone": ("BackoffLimitExceeded", [], ("Failed", "BuildFailed", "BackoffLimitExceeded")),
}


@pytest.mark.parametrize("case", FAILURES)
def test_each_bad_end_is_told_apart(case: str) -> None:
    reason, pods, (phase, expected, word) = FAILURES[case]
    made = plan_build(observed(build(phase="Running"), job=job("Failed", reason), pods=pods))
    assert told(made) == (phase, expected)
    assert word in message(made)
    assert [e.type for e in made.events] == ["Warning"]
    assert "artifact" not in (made.status or {})


def test_the_log_of_a_crash_is_kept() -> None:
    pods = [pod("Failed", compress=ended(1, "x" * 5000 + "the end"))]
    made = plan_build(observed(job=job("Failed", "PodFailurePolicy"), pods=pods))
    assert made.status is not None
    assert made.status["logTail"].endswith("the end")
    assert len(made.status["logTail"]) <= 2048


@pytest.mark.parametrize("phase", ["Succeeded", "Refused", "Failed"])
def test_the_job_goes_when_its_result_stands_in_the_status_and_nothing_is_built_again(phase: str) -> None:
    done = build(phase=phase, artifact=ARTIFACT)
    made = plan_build(observed(done, job=job("Complete")))
    assert [ref.kind for ref in made.delete] == ["Job"]
    assert made.delete[0].uid == "j1"
    assert made.status == done["status"]
    later = plan_build(observed(done))
    assert (later.apply, later.delete, later.events, later.requeue_after) == ((), (), (), None)


def test_somebody_elses_job_of_the_same_name_is_not_read() -> None:
    theirs = {**job("Complete"), "metadata": {"name": NAME, "namespace": "ns", "uid": "x"}}
    assert "Job" in [m["kind"] for m in plan_build(observed(job=theirs)).apply]


def test_an_unused_build_goes_after_its_retention_and_a_used_one_stays() -> None:
    done = build(phase="Succeeded", artifact=ARTIFACT)
    unused = plan_build(observed(done, in_use=False))
    assert unused.status is not None
    assert unused.status["unusedSince"] == "2026-11-01T12:00:00Z"
    assert unused.requeue_after == SETTINGS.retention_seconds
    marked = build(**unused.status)
    later = NOW + timedelta(days=6)
    waiting = plan_build(observed(marked, in_use=False, now=later))
    assert (waiting.delete, waiting.status) == ((), unused.status)
    expired = plan_build(observed(marked, in_use=False, now=NOW + timedelta(days=7)))
    assert [ref.kind for ref in expired.delete] == ["ModelBuild"]
    assert expired.needs_live_read
    used = plan_build(observed(marked, in_use=True, now=NOW + timedelta(days=8)))
    assert used.delete == ()
    assert used.status == done["status"]


def test_a_build_that_was_made_just_now_is_not_called_unused() -> None:
    made = plan_build(observed(in_use=False, now=datetime(2026, 11, 1, 11, 0, 30, tzinfo=UTC)))
    assert "unusedSince" not in (made.status or {})


def test_a_build_that_is_being_deleted_is_left_alone() -> None:
    going = build()
    going["metadata"]["deletionTimestamp"] = "2026-11-01T12:00:00Z"
    assert plan_build(observed(going)) == Plan()


def test_a_spec_that_this_version_cannot_read_fails_once() -> None:
    broken = build()
    broken["spec"] = {"model": {}}
    assert told(plan_build(observed(broken))) == ("Failed", "Invalid")


def change(**artifact: Any) -> dict[str, Any]:
    return {**RESULT, "artifact": {**ARTIFACT, **artifact}}


@pytest.mark.parametrize(
    "words",
    [
        "", "done", "[]", "{}", '{"result": 1}', "[" * 100_000,
        json.dumps({"result": {}}),
        json.dumps({**RESULT, "result": {"originalBytes": "many"}}),
        json.dumps({**RESULT, "result": {"preset": "x" * 65}}),
        json.dumps({**RESULT, "versions": {"a": 1}}),
        json.dumps(change(uri="https://elsewhere/model/")),
        json.dumps(change(uri="s3://artifacts/builds-of-others/abc/")),
        json.dumps(change(uri="s3://artifacts/builds/../others/")),
        json.dumps(change(uri="s3://artifacts/builds/a b/")),
        json.dumps(change(digest="d" * 63)),
        json.dumps(change(format="python")),
    ],
    ids=range(16),
)  # fmt: skip
def test_what_no_build_of_ours_tells_is_not_believed(words: str) -> None:
    with pytest.raises(BadResult):
        parse_result(words, "s3://artifacts/builds")


@pytest.mark.parametrize(
    ("store", "uri"),
    [
        ("s3://a/b", "s3://a/b/key/"),
        ("pvc://claim/folder", "pvc://claim/folder/key/"),
        ("oci://registry.example.com/models", f"oci://registry.example.com/models@sha256:{'a' * 64}"),
    ],
)
def test_an_artefact_lies_in_its_store(store: str, uri: str) -> None:
    words = "a line of log\n" + json.dumps(change(uri=uri))
    assert parse_result(words, store).artifact["uri"] == uri


@pytest.mark.parametrize(
    "words", ["", "Traceback", "{}", '{"reason": "x y", "message": ""}', '{"reason": "Ok1", "message": 5}']
)
def test_a_crash_is_no_refusal(words: str) -> None:
    assert parse_refusal(words) is None

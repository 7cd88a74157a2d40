"""Pod and Deployment states as Kubernetes reports them -> the one sentence that explains them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from seawall.decide.conditions import Condition, clipped, rendered
from seawall.decide.diagnose import trouble_of


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "digits-1"}, "status": status}


def fetch(message: str, **over: Any) -> dict[str, Any]:
    ended = {"exitCode": 1, "reason": "Error", "message": message}
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 10s"}
    return {
        "name": "fetch",
        "restartCount": 2,
        "state": {"waiting": waiting},
        "lastState": {"terminated": ended},
    } | over


def triton(message: str, restarts: int = 1, **ended: Any) -> dict[str, Any]:
    last = {"exitCode": 1, "reason": "Error", "message": message} | ended
    return {
        "name": "triton",
        "restartCount": restarts,
        "ready": False,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": last},
    }


REFUSED = (
    "I1121 07:00:00.000 1 model_lifecycle.cc:472] loading: digits:1\n"
    "E1121 07:00:01.000 1 model_lifecycle.cc:641] failed to load 'digits' version 1: Internal: "
    "onnxruntime: INVALID_PROTOBUF: Protobuf parsing failed.\n"
    "error: creating server: Internal - failed to load all models"
)
CASES: dict[str, tuple[list[dict[str, Any]], dict[str, Any] | None, tuple[str, str, bool, str] | None]] = {
    "a starting pod is no trouble": ([pod(phase="Pending")], None, None),
    "a ready pod with an old crash is no trouble": (
        [pod(containerStatuses=[triton(REFUSED) | {"ready": True}])],
        None,
        None,
    ),
    "a running container after one restart is starting again": (
        [
            pod(
                containerStatuses=[
                    {"name": "triton", "ready": False, "restartCount": 1, "state": {"running": {}}}
                ]
            )
        ],
        None,
        None,
    ),
    "an image that does not exist": (
        [
            pod(
                containerStatuses=[
                    {
                        "name": "triton",
                        "image": "x:1",
                        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}},
                    }
                ]
            )
        ],
        None,
        ("WorkloadReady", "ImagePullFailed", False, "x:1"),
    ),
    "a digest that differs can never get better": (
        [
            pod(
                initContainerStatuses=[
                    fetch(json.dumps({"reason": "DigestMismatch", "message": "sha256 is 12, not 34"}))
                ]
            )
        ],
        None,
        ("ModelReady", "DigestMismatch", True, "sha256 is 12, not 34"),
    ),
    "a model that is not there yet may come": (
        [pod(initContainerStatuses=[fetch(json.dumps({"reason": "ModelNotFound", "message": "s3://m/x"}))])],
        None,
        ("ModelReady", "ModelNotFound", False, "s3://m/x"),
    ),
    "a fetch that died without a word": (
        [pod(initContainerStatuses=[fetch("")])],
        None,
        ("ModelReady", "FetchFailed", False, "exit code 1"),
    ),
    "a reason outside the closed list is not passed on as one": (
        [pod(initContainerStatuses=[fetch(json.dumps({"reason": "Gremlins", "message": "m"}))])],
        None,
        ("ModelReady", "FetchFailed", False, "Gremlins"),
    ),
    "a fetch out of memory": (
        [
            pod(
                initContainerStatuses=[
                    fetch("", lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}})
                ]
            )
        ],
        None,
        ("WorkloadReady", "OOMKilled", False, "memory limit"),
    ),
    "Triton refuses the model, in its own words": (
        [pod(containerStatuses=[triton(REFUSED)])],
        None,
        ("ModelReady", "ServerRefusedModel", False, "Protobuf parsing failed"),
    ),
    "Triton has refused the model often enough": (
        [pod(containerStatuses=[triton(REFUSED, restarts=3)])],
        None,
        ("ModelReady", "ServerRefusedModel", True, "Protobuf parsing failed"),
    ),
    "a server that ends without saying why": (
        [pod(containerStatuses=[triton("", exitCode=139)])],
        None,
        ("WorkloadReady", "CrashLooping", False, "139"),
    ),
    "a server out of memory": (
        [pod(containerStatuses=[triton("", reason="OOMKilled", exitCode=137)])],
        None,
        ("WorkloadReady", "OOMKilled", False, "spec.podTemplate"),
    ),
    "no node fits": (
        [
            pod(
                conditions=[
                    {"type": "PodScheduled", "status": "False", "message": "0/1 nodes: nvidia.com/gpu"}
                ]
            )
        ],
        None,
        ("WorkloadReady", "Unschedulable", False, "nvidia.com/gpu"),
    ),
    "a missing key in a Secret": (
        [
            pod(
                containerStatuses=[
                    {
                        "name": "triton",
                        "state": {
                            "waiting": {"reason": "CreateContainerConfigError", "message": "key x not found"}
                        },
                    }
                ]
            )
        ],
        None,
        ("WorkloadReady", "ContainerConfigError", False, "key x not found"),
    ),
    "an evicted pod": (
        [pod(reason="Evicted", message="low on memory")],
        None,
        ("WorkloadReady", "Evicted", False, "low on memory"),
    ),
    "pods that the API server will not admit": (
        [],
        {
            "status": {
                "conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]
            }
        },
        ("WorkloadReady", "PodsRefused", False, "exceeded quota"),
    ),
    "the model's own trouble comes before a pod that waits": (
        [
            pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "no room"}]),
            pod(initContainerStatuses=[fetch(json.dumps({"reason": "InvalidModel", "message": "not ONNX"}))]),
        ],
        None,
        ("ModelReady", "InvalidModel", True, "not ONNX"),
    ),
    "a pod that is going does not count": (
        [
            {
                "metadata": {"name": "x", "deletionTimestamp": "2026-11-01T00:00:00Z"},
                "status": {"containerStatuses": [triton(REFUSED)]},
            }
        ],
        None,
        None,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_trouble(name: str) -> None:
    pods, deployment, expected = CASES[name]
    found = trouble_of(pods, deployment)
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert (found.condition, found.reason, found.permanent) == expected[:3]
    assert expected[3] in found.message


NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
OLD = {"type": "Ready", "status": "True", "reason": "A", "lastTransitionTime": "2026-10-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("status", "expected"),
    [(True, "2026-10-01T00:00:00Z"), (False, "2026-11-01T12:00:00Z"), (None, "2026-11-01T12:00:00Z")],
)
def test_transition_time_moves_only_with_the_status(status: bool | None, expected: str) -> None:
    [condition] = rendered([Condition("Ready", status, "B", "m")], [OLD], 3, NOW)
    assert condition["lastTransitionTime"] == expected
    assert condition["observedGeneration"] == 3


def test_messages_are_one_line_and_bounded() -> None:
    assert clipped("a\n b   c") == "a b c"
    assert len(clipped("x" * 5000)) == 1024

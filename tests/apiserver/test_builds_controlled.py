"""What Kubernetes' own Job controller makes of a build's Job; the test is the kubelet."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apiserver.operators import CLASS, ROOT, Cluster, eventually, operator, service
from apiserver.test_builds import INT8, MOMENT, RESULT, STORE, container, ended, patch_status

pytestmark = pytest.mark.apiserver
REFUSAL = {"reason": "AccuracyBelowFloor", "message": "cosine 0.91 is below 0.99"}
AWAY = {"reason": "StoreUnavailable", "message": "503"}
EVICTED = {"type": "DisruptionTarget", "status": "True", "lastTransitionTime": MOMENT, "reason": "Evicted"}


@pytest.fixture(scope="module")
def controlled(controlled_apiserver: Any) -> Cluster:
    controlled_apiserver.kubectl("apply", "-f", str(ROOT / "crds"))
    controlled_apiserver.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    made = Cluster(controlled_apiserver)
    made.apply(CLASS)
    return made


@pytest.fixture
def place(controlled: Cluster, tmp_path: Path) -> Iterator[str]:
    """A namespace with one operator and one service that is to be built."""
    namespace = controlled.namespace(f"t-{uuid.uuid4().hex[:8]}")
    settings = {"watch_namespaces": f'["{namespace}"]', "lease_name": namespace, **STORE}
    with operator(
        controlled.server, tmp_path / "operator.log", f"operator-{namespace}", **settings
    ) as running:
        running.working()
        controlled.apply(service("digits", namespace, compression=INT8))
        yield namespace


def pod(cluster: Cluster, namespace: str, *not_these: str) -> str:
    """The Job's pod that is none of these."""

    def found() -> set[str]:
        return {p["metadata"]["name"] for p in cluster.list("pods", namespace)} - set(not_these)

    return str(min(eventually("the Job has made a pod", found)))


def fails(cluster: Cluster, namespace: str, name: str, *containers: Any, evicted: bool = False) -> None:
    inits = [c for c in containers if c["name"] != "finish"]
    status = {
        "phase": "Failed",
        "initContainerStatuses": inits,
        "containerStatuses": [c for c in containers if c["name"] == "finish"],
        "conditions": [EVICTED] if evicted else [],
    }
    patch_status(cluster, "pod", name, namespace, status)


def outcome(cluster: Cluster, namespace: str) -> tuple[str, str]:
    """Phase and reason of the build, once it has ended."""

    def final() -> tuple[str, str] | None:
        status = cluster.list("modelbuilds", namespace)[0].get("status", {})
        told = status.get("conditions", [{}])[0].get("reason", "")
        return (status["phase"], told) if status.get("phase") in ("Succeeded", "Refused", "Failed") else None

    phase, reason = eventually("the build has ended", final)
    return phase, reason


def test_a_refusal_ends_the_job_at_once(controlled: Cluster, place: str) -> None:
    fails(controlled, place, pod(controlled, place), container("prepare", ended(1, REFUSAL)))
    assert outcome(controlled, place) == ("Refused", "AccuracyBelowFloor")
    eventually("the Job and its pod are gone", lambda: not controlled.list("jobs,pods", place))


def test_memory_that_did_not_suffice_ends_the_job_at_once(controlled: Cluster, place: str) -> None:
    fails(controlled, place, pod(controlled, place), container("prepare", ended(137, "")))
    assert outcome(controlled, place) == ("Failed", "OutOfMemory")


def test_an_evicted_pod_and_a_store_that_was_away_are_followed_by_another(
    controlled: Cluster, place: str
) -> None:
    first = pod(controlled, place)
    fails(controlled, place, first, container("prepare", ended(137, "")), evicted=True)
    second = pod(controlled, place, first)
    # Triton is killed when the pod ends: that is no build that ran out of memory.
    fails(
        controlled, place, second, container("triton", ended(137, "")), container("finish", ended(75, AWAY))
    )
    third = pod(controlled, place, first, second)
    done = {"phase": "Succeeded", "containerStatuses": [container("finish", ended(0, RESULT))]}
    patch_status(controlled, "pod", third, place, json.loads(json.dumps(done)))
    assert outcome(controlled, place) == ("Succeeded", "Built")

"""ModelBuilds against a real API server. No controller and no kubelet runs: the test writes what they would."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from apiserver.conftest import Start
from apiserver.operators import Cluster, OperatorProcess, eventually, service

pytestmark = pytest.mark.apiserver

INT8 = {"preset": "int8"}
STORE = {"artifacts_uri": "s3://artifacts/builds", "artifacts_secret": "store"}
MOMENT = "2026-01-01T00:00:00Z"
RESULT = {
    "result": {
        "preset": "int8", "format": "onnx", "originalBytes": 4000, "compressedBytes": 1000, "compressionRatio": "4",
        "accuracy": {"metric": "cosine", "value": "0.999", "low": "0.998", "floor": "0.99", "samples": 100},
        "unproven": False,
    },
    "artifact": {"uri": "s3://artifacts/builds/abc/", "digest": "d" * 64, "format": "onnx"},
    "versions": {"onnxruntime": "1.31.1"},
}  # fmt: skip


def build(cluster: Cluster, namespace: str) -> dict[str, Any]:
    """The one that there is, once its Job has been made."""
    eventually("the build has its Job", lambda: cluster.list("jobs", namespace))
    [found] = cluster.list("modelbuilds", namespace)
    return found


def patch_status(cluster: Cluster, kind: str, name: str, namespace: str, status: dict[str, Any]) -> None:
    cluster.server.kubectl(
        "patch", kind, name, "-n", namespace, "--subresource=status", "--type=merge",
        "-p", json.dumps({"status": status}),
    )  # fmt: skip


def make_pod(cluster: Cluster, namespace: str, name: str) -> str:
    """As the Job controller makes it from the Job's template."""
    job = cluster.get("job", name, namespace)
    assert job is not None
    template = job["spec"]["template"]
    labels = {k: v for k, v in template["metadata"]["labels"].items() if "serving" in k or "managed" in k}
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"{name}-x", "namespace": namespace, "labels": labels},
            "spec": template["spec"],
        }
    )
    return f"{name}-x"


def container(name: str, state: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name, "image": "i", "imageID": "i", "ready": False, "restartCount": 0, "started": False, "state": state,
    }  # fmt: skip


def ended(code: int, words: Any) -> dict[str, Any]:
    times = {"startedAt": MOMENT, "finishedAt": MOMENT}
    return {"terminated": {"exitCode": code, "reason": "Ended", "message": json.dumps(words), **times}}


def end_job(cluster: Cluster, namespace: str, name: str, *conditions: str, **more: Any) -> None:
    made = [
        {"type": c, "status": "True", "reason": more.get("reason", "Done"), "lastTransitionTime": MOMENT}
        for c in conditions
    ]
    status = {"conditions": made, "startTime": MOMENT, **more.get("status", {})}
    patch_status(cluster, "job", name, namespace, status)


def succeed(cluster: Cluster, namespace: str, name: str) -> None:
    pod = make_pod(cluster, namespace, name)
    finish = container("finish", ended(0, RESULT))
    patch_status(cluster, "pod", pod, namespace, {"phase": "Succeeded", "containerStatuses": [finish]})
    status = {"succeeded": 1, "completionTime": MOMENT}
    end_job(cluster, namespace, name, "SuccessCriteriaMet", "Complete", status=status)


def refuse(cluster: Cluster, namespace: str, name: str) -> None:
    pod = make_pod(cluster, namespace, name)
    words = {"reason": "AccuracyBelowFloor", "message": "cosine 0.91 is below 0.99"}
    prepare = container("prepare", ended(1, words))
    patch_status(cluster, "pod", pod, namespace, {"phase": "Failed", "initContainerStatuses": [prepare]})
    end_job(
        cluster, namespace, name, "FailureTarget", "Failed", reason="PodFailurePolicy", status={"failed": 1}
    )


def phase(cluster: Cluster, namespace: str, name: str) -> str:
    return str(((cluster.get("swb", name, namespace) or {}).get("status") or {}).get("phase"))


def built(cluster: Cluster, namespace: str, running: OperatorProcess) -> str:
    """One service whose build is done; its name."""
    cluster.apply(service("digits", namespace, compression=INT8))
    name = str(build(cluster, namespace)["metadata"]["name"])
    succeed(cluster, namespace, name)
    eventually("the build is done", lambda: phase(cluster, namespace, name) == "Succeeded")
    eventually("the artefact is a revision", lambda: cluster.list("deployments", namespace))
    running.idle()
    return name


def orders(cluster: Cluster, namespace: str) -> dict[str, dict[str, Any]]:
    """What the fetcher of each Deployment is told."""
    found = {}
    for deployment in cluster.list("deployments", namespace):
        [fetch] = deployment["spec"]["template"]["spec"]["initContainers"]
        text = next(e["value"] for e in fetch["env"] if e["name"] == "SEAWALL_FETCH")
        found[deployment["metadata"]["labels"]["serving.seawall.dev/inferenceservice"]] = json.loads(text)
    return found


def test_a_service_with_a_preset_is_built_then_served_and_each_object_is_written_once(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    running = start(**STORE).working()
    name = built(cluster, namespace, running)
    order = orders(cluster, namespace)["digits"]
    assert (order["uri"], order["format"]) == ("s3://artifacts/builds/abc/", "onnx")
    assert order["artifact"] == {"digest": "d" * 64, "publicKeys": []}
    eventually("the Job is gone", lambda: not cluster.list("jobs", namespace))
    live = cluster.get("swb", name, namespace)
    assert live is not None
    assert live["status"]["result"]["compressionRatio"] == "4"
    assert "ownerReferences" not in live["metadata"]
    model = (cluster.get("swi", "digits", namespace) or {})["status"]["model"]
    assert (model["preset"], model["buildRef"], model["compressedBytes"]) == ("int8", name, 1000)
    writes = running.writes()
    assert (writes["patch modelbuilds"], writes["patch jobs"], writes["patch deployments"]) == (1, 1, 1)
    assert writes["delete jobs"] == 1
    assert cluster.names("networkpolicies", namespace) == {"seawall-models", "seawall-builds"}


def test_a_second_service_shares_the_build_and_nothing_is_built_again(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    running = start(**STORE).working()
    built(cluster, namespace, running)
    other = service("other", namespace, compression=INT8)
    other["spec"]["model"] = {"uri": "s3://models/digits.onnx"}
    cluster.apply(other)
    cluster.settled("other", namespace)
    running.idle()
    assert len(cluster.list("modelbuilds", namespace)) == 1
    assert running.writes()["patch jobs"] == 1
    assert orders(cluster, namespace)["other"]["artifact"]["digest"] == "d" * 64


def test_a_refusal_is_told_and_the_revision_of_before_stays(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    running = start(**STORE).working()
    cluster.apply(service("digits", namespace))
    cluster.settled("digits", namespace)
    before = cluster.names("deployments", namespace)
    cluster.apply(service("digits", namespace, compression=INT8))
    name = str(build(cluster, namespace)["metadata"]["name"])
    assert cluster.condition("digits", namespace, "ModelReady")["reason"] == "Building"
    refuse(cluster, namespace, name)
    eventually(
        "the refusal is told by the service",
        lambda: cluster.condition("digits", namespace, "ModelReady").get("reason") == "AccuracyBelowFloor",
    )
    running.idle()
    assert phase(cluster, namespace, name) == "Refused"
    assert cluster.names("deployments", namespace) == before
    assert "cosine 0.91" in cluster.condition("digits", namespace, "ModelReady")["message"]


def test_a_restart_over_finished_and_waiting_builds_writes_nothing(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    first = start(**STORE).working()
    built(cluster, namespace, first)
    cluster.apply(service("waiting", namespace, compression={"preset": "int4"}))
    eventually("the second has its Job", lambda: len(cluster.list("jobs", namespace)) == 1)
    time.sleep(6)  # its build is looked at every five seconds
    first.idle()
    assert first.stop() == 0
    second = start(**STORE).working()
    eventually("all have been looked at", lambda: second.looks() >= 4)
    time.sleep(6)
    second.idle()
    assert second.writes() == {}


def test_a_build_that_nobody_uses_goes_after_its_retention(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    running = start(**STORE).working()
    name = built(cluster, namespace, running)
    cluster.server.kubectl("delete", "swi", "digits", "-n", namespace)
    cluster.server.kubectl("delete", "deployments", "--all", "-n", namespace)  # garbage collection
    running.idle()
    patch_status(cluster, "swb", name, namespace, {"unusedSince": "2020-01-01T00:00:00Z"})
    eventually("it is gone", lambda: not cluster.list("modelbuilds", namespace))
    eventually(
        "the shared objects of builds are gone", lambda: "seawall-build" not in cluster.names("sa", namespace)
    )


def test_a_used_build_stays_whatever_its_status_says(cluster: Cluster, namespace: str, start: Start) -> None:
    running = start(**STORE).working()
    name = built(cluster, namespace, running)
    live = cluster.get("swb", name, namespace)
    assert live is not None
    marked = {
        "apiVersion": live["apiVersion"],
        "kind": live["kind"],
        "metadata": {"name": name, "namespace": namespace},
        "status": live["status"] | {"unusedSince": "2020-01-01T00:00:00Z"},
    }
    cluster.server.kubectl(
        "apply", "--server-side", "--subresource=status", "--field-manager=seawall-status", "-f", "-",
        stdin=json.dumps(marked),
    )  # fmt: skip

    def healed() -> bool:
        return "unusedSince" not in (cluster.get("swb", name, namespace) or {})["status"]

    eventually("the mark is taken away", healed)


def test_without_a_store_the_service_says_so(cluster: Cluster, namespace: str, start: Start) -> None:
    start().working()
    cluster.apply(service("digits", namespace, compression=INT8))
    eventually(
        "it is told",
        lambda: cluster.condition("digits", namespace, "Ready").get("reason") == "ArtifactStoreMissing",
    )
    assert cluster.list("modelbuilds", namespace) == []

"""The commands for people against a real API server, called as kubectl calls its plugins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from apiserver.conftest import Start
from apiserver.operators import Cluster, eventually, service

pytestmark = pytest.mark.apiserver
PROGRAMS = {
    "kubectl-seawall": "seawall.__main__:main",
    "kubectl_complete-seawall": "seawall.cli.completion:kubectl",
}
NOW = "2026-11-21T12:00:00Z"


@pytest.fixture
def kubectl(apiserver: Any, tmp_path: Path) -> Any:
    """The real kubectl, with the plugin on its PATH as an installation puts it there."""
    for name, target in PROGRAMS.items():
        module, function = target.split(":")
        program = tmp_path / name
        lines = (
            "import sys",
            f"from {module} import {function}",
            f"sys.argv[0] = {name!r}",
            f"sys.exit({function}())",
        )
        program.write_text("\n".join((f"#!{sys.executable}", *lines, "")))
        program.chmod(0o755)
    environment = apiserver.environment()
    environment["PATH"] = f"{tmp_path}{os.pathsep}{environment['PATH']}"

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["kubectl", *words], env=environment, capture_output=True, text=True, check=False
        )

    return run


def set_ready(cluster: Cluster, name: str, namespace: str, status: str, reason: str, message: str) -> None:
    generation = (cluster.get("swi", name, namespace) or {})["metadata"]["generation"]
    ready = {
        "type": "Ready",
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": NOW,
    }
    patch = {"status": {"observedGeneration": generation, "conditions": [ready], "replicas": 2}}
    cluster.server.kubectl(
        "patch", "swi", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", json.dumps(patch)
    )


def test_kubectl_knows_the_plugin(kubectl: Any) -> None:
    listed = kubectl("plugin", "list")
    assert "kubectl-seawall" in listed.stdout, listed.stderr
    asked = kubectl("seawall", "--help")
    assert asked.returncode == 0
    assert asked.stdout.startswith("usage: kubectl seawall ")


def test_status_through_kubectl(cluster: Cluster, namespace: str, kubectl: Any) -> None:
    cluster.apply(service("well", namespace), service("a-broken-one", namespace))
    set_ready(cluster, "well", namespace, "True", "Serving", "all is well")
    set_ready(
        cluster,
        "a-broken-one",
        namespace,
        "False",
        "DigestMismatch",
        "The file is not the one that was pinned",
    )
    done = kubectl("seawall", "status", "-n", namespace)
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[1].split()[0] == "a-broken-one"
    assert lines[1].endswith("DigestMismatch  The file is not the one that was pinned")
    assert lines[2].split()[0] == "well"
    assert lines[-1] == "services 2, ready 1, SLO met 0 of 0 measured, rollouts 0"
    assert kubectl("seawall", "status", "well", "-n", namespace).returncode == 0
    assert kubectl("seawall", "status", "well", "-n", namespace, "--context", "nowhere").returncode == 2


def test_kubectl_completes_the_plugin(cluster: Cluster, namespace: str, kubectl: Any) -> None:
    cluster.apply(service("digits", namespace), service("minilm", namespace))
    done = kubectl("__complete", "seawall", "rollout", "abort", "-n", namespace, "d")
    assert [line for line in done.stdout.splitlines() if line] == ["digits", ":4"], done.stderr
    done = kubectl("__complete", "seawall", "st")
    assert done.stdout.splitlines()[0].split("\t")[0] == "status"


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("inferenceservices.spec.slo.p99", "99 of 100 requests are answered within this time"),
        ("inferenceservices.status.rollout.history.outcome", "What became of it"),
        ("acceleratorclasses.spec.cost.perHour", "Price of one device for one hour"),
        ("modelbuilds.status.result.profile.batches.p99Ms", "in milliseconds"),
    ],
)
def test_kubectl_explains_fields(cluster: Cluster, kubectl: Any, field: str, words: str) -> None:
    """The API server publishes what it knows of a definition a moment after that is established."""

    def said() -> str:
        asked = kubectl("explain", field, "--api-version=serving.seawall.dev/v1alpha1")
        return " ".join(asked.stdout.split())

    eventually(f"{field} is explained", lambda: words in said())


def test_a_condition_that_turns_is_an_event(cluster: Cluster, namespace: str, start: Start) -> None:
    start().working()
    cluster.apply(service("digits", namespace, accelerator={"class": "nowhere"}))

    def told(reason: str) -> list[dict[str, Any]]:
        return [e for e in cluster.list("events.events.k8s.io", namespace) if e["reason"] == reason]

    eventually("the refusal is an Event", lambda: told("AcceleratorClassNotFound"))
    cluster.patch("swi", "digits", namespace, {"spec": {"accelerator": {"class": "cpu"}}})
    eventually("so is its end", lambda: told("Accepted"))
    assert [e["type"] for e in told("AcceleratorClassNotFound")] == ["Warning"]
    assert [e["type"] for e in told("Accepted")] == ["Normal"]
    assert told("AcceleratorClassNotFound")[0]["regarding"]["name"] == "digits"

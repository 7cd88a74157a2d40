"""Git, real Flux, the real operator: a commit becomes a canary, its revert an abort, and nobody fights for a field."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from apiserver.operators import CLASS, service
from gitops.film import flips
from gitops.stand import Fleet, Object
from seawall.decide.acceptance import COMMAND_ANNOTATION

pytestmark = pytest.mark.apiserver
A_DAY = 144
"""Reconciles at Flux's usual interval of ten minutes"""
LOOKS = 40
"""More than Flux takes for a revert that it need not wait for"""
CANCEL = "CancelHealthCheckOnNewRevision"
FILE = "apps/search/minilm.yaml"
CHILDREN = {
    "Service minilm",
    "Service minilm-candidate",
    "Service minilm-headless",
    "HTTPRoute minilm",
    "GRPCRoute minilm-grpc",
    "PodDisruptionBudget minilm",
    "NetworkPolicy seawall-models",
    "ServiceAccount seawall-model",
}
"""Beside the Deployments, which are named after their revisions"""
MOVES = {
    "HTTPRoute minilm": {".spec.rules[0].backendRefs[1].weight", ".spec.rules[0].backendRefs[0].weight"},
    "GRPCRoute minilm-grpc": {".spec.rules[0].backendRefs[1].weight", ".spec.rules[0].backendRefs[0].weight"},
    "Service minilm-candidate": {".spec.selector.serving.seawall.dev/revision"},
}
"""What goes there and back in a rollout that is given up; beside these, digests of what was applied."""


def model(number: int) -> Object:
    return {"uri": f"s3://models/minilm-{number}.onnx", "format": "onnx", "maxBatchSize": 8}


def wanted(namespace: str, number: int = 1, **rollout: Any) -> list[Object]:
    """A canary that stays at its weight: no traffic of a test is that much."""
    step = {"weight": 25, "analyze": {"minRequests": 100_000_000, "maxDuration": "6h"}}
    analysis = {"window": "2s", "warmup": {"requests": 0, "duration": "0s"}}
    made = service(
        "minilm",
        namespace,
        model=model(number),
        scaling={"mode": "Fixed", "replicas": 3},
        routing={
            "gateways": [{"name": "public", "namespace": "infra"}],
            "hostnames": ["minilm.example.com"],
            "grpcHostnames": ["grpc.minilm.example.com"],
        },
        rollout={"steps": [step], "rollbackWindow": "1h", "analysis": analysis} | rollout,
    )
    return [CLASS, made]


def serves(fleet: Fleet) -> bool:
    return fleet.condition("Ready").get("reason") == "Serving"


def installed(fleet: Fleet, **rollout: Any) -> str:
    commit = fleet.repository.commit("the first one", {FILE: wanted(fleet.namespace, **rollout)})
    fleet.connect()
    fleet.until("it serves", lambda: serves(fleet) and fleet.at(commit))
    return commit


def compares(fleet: Fleet, times: int) -> None:
    """Flux finds everything as Git has it, and no child changes meanwhile."""
    applied, children = fleet.applied(), fleet.film.contents()
    assert children.keys() >= CHILDREN
    for _ in range(times):
        fleet.reconcile()
    assert fleet.applied() == applied, "Flux has applied again"
    assert fleet.film.contents() == children, "a child has changed"


def test_a_day_of_reconciles_a_canary_and_its_revert_without_a_fight(fleet: Callable[..., Fleet]) -> None:
    here = fleet(CANCEL)
    installed(here)
    first = here.rollout["stableRevision"]
    compares(here, A_DAY // 3)

    here.repository.commit("the next model", {FILE: wanted(here.namespace, 2)})
    here.fetch()
    here.until("the canary has traffic", lambda: "stepStartedAt" in here.rollout)
    assert (here.rollout["phase"], here.rollout["desiredWeight"]) == ("Stepping", 25)
    assert here.told("Healthy") == ("Unknown", "Progressing")
    compares(here, A_DAY // 3)
    assert here.rollout["phase"] == "Stepping"
    assert here.rollout["analysis"]["windowEnd"], "windows were counted, and each of them was told"

    commit = here.repository.revert()
    here.fetch()
    here.until("no traffic", lambda: not here.rollout.get("observedWeight") and not here.rollout.get("step"))
    here.until("the old model serves alone", lambda: serves(here) and here.at(commit))
    assert here.rollout["stableRevision"] == first
    assert not {"lastRejected", "analysis", "candidateRevision"} & here.rollout.keys()
    assert here.rollout["history"][0]["outcome"] == "Aborted"
    assert here.condition("RolloutHealthy")["status"] == "True"
    compares(here, A_DAY // 3)

    assert here.audit.owned(here.operator.user) == [], "the operator wrote what Git owns"
    assert here.applied().count("patch inferenceservices/minilm") == 3, "one for each commit"
    assert here.compared() >= A_DAY
    assert {version["metadata"]["generation"] for version in here.film.told("InferenceService minilm")} == {
        1,
        2,
        3,
    }
    only_git_owns(here)
    nothing_flips(here)
    assert here.film.lost == []


def test_what_somebody_edits_is_put_back_and_seen(fleet: Callable[..., Fleet]) -> None:
    """The count of the day above would not be 0 if there were something to put back."""
    here = fleet(CANCEL)
    installed(here)
    applied = len(here.applied())
    here.cluster.patch("swi", "minilm", here.namespace, {"spec": {"slo": {"p99": "70ms"}}})
    here.reconcile()
    here.until("it is put back", lambda: here.live()["spec"]["slo"]["p99"] == "50ms")
    assert here.applied()[applied:] == ["patch inferenceservices/minilm"]


def test_ready_waits_for_the_pods_and_for_the_whole_rollout(fleet: Callable[..., Fleet]) -> None:
    here = fleet(CANCEL)
    here.plays = False
    commit = here.repository.commit("the first one", {FILE: wanted(here.namespace)})
    here.connect()
    here.until("Flux waits for it", lambda: here.told("Healthy") == ("Unknown", "Progressing"))
    here.until("the operator has looked at it", lambda: here.condition("Ready").get("status") == "False")
    assert here.told() == ("Unknown", "Progressing")
    here.plays = True
    here.until("it is ready", lambda: here.at(commit))
    assert serves(here)

    quick = [{"weight": 25, "analyze": {"minRequests": 100, "maxDuration": "10m"}}]
    commit = here.repository.commit("a sound one", {FILE: wanted(here.namespace, 2, steps=quick)})
    here.fetch()
    here.until("the canary has traffic", lambda: here.rollout.get("desiredWeight") == 25)
    assert here.told() == ("Unknown", "Progressing")
    here.until("it is ready", lambda: here.at(commit))
    assert here.rollout["phase"] == "Watching"
    assert here.rollout["history"][0]["outcome"] == "Promoted"


def test_a_commit_that_is_worse_fails_and_is_not_tried_again_and_again(fleet: Callable[..., Fleet]) -> None:
    here = fleet(CANCEL)
    installed(here)
    first = here.rollout["stableRevision"]
    here.repository.commit("a broken one", {FILE: wanted(here.namespace, 2)})
    here.fetch()
    here.until("the candidate is there", lambda: "candidateRevision" in here.rollout)
    here.played.broken.add(here.rollout["candidateRevision"])
    here.until("Flux says so", lambda: here.told() == ("False", "HealthCheckFailed"))
    here.until("it is gone", lambda: len(here.cluster.names("deployments", here.namespace)) == 1)
    here.until("it is told", lambda: here.rollout["phase"] == "RolledBack")
    rejected = here.rollout
    assert (rejected["phase"], rejected["stableRevision"]) == ("RolledBack", first)
    assert rejected["lastRejected"]["reason"] == "Regression"
    assert here.condition("Ready")["status"] == "True"
    compares(here, 10)
    assert here.rollout == rejected
    commit = here.repository.revert()
    here.fetch()
    here.until("Flux is content", lambda: here.at(commit))
    assert here.rollout["stableRevision"] == first
    assert here.condition("RolloutHealthy")["status"] == "True"


@pytest.mark.parametrize("manager", ["seawall-cli", "argocd-server", "kubectl-annotate"])
def test_a_word_to_a_rollout_is_obeyed_whoever_cleans_up_after_it(
    fleet: Callable[..., Fleet], manager: str
) -> None:
    here = fleet(CANCEL)
    installed(here)
    here.repository.commit("the next model", {FILE: wanted(here.namespace, 2)})
    here.fetch()
    here.until("the canary has traffic", lambda: "stepStartedAt" in here.rollout)
    word = f"abort@{here.rollout['id']}"
    here.cluster.server.kubectl(
        "annotate",
        "swi",
        "minilm",
        "-n",
        here.namespace,
        f"{COMMAND_ANNOTATION}={word}",
        f"--field-manager={manager}",
    )
    here.until("it is obeyed", lambda: here.rollout["phase"] == "RolledBack")
    here.until("nothing is on its way", lambda: "candidateRevision" not in here.rollout)
    aborted = here.rollout
    for _ in range(5):
        here.reconcile()
    # Flux takes over what kubectl has written, and leaves others alone.
    kept = COMMAND_ANNOTATION in here.live()["metadata"].get("annotations", {})
    assert kept is (manager != "kubectl-annotate")
    assert here.rollout == aborted
    assert aborted["lastRejected"]["reason"] == "Aborted"


def test_a_word_in_git_is_for_one_rollout_and_says_nothing_to_the_next(fleet: Callable[..., Fleet]) -> None:
    here = fleet(CANCEL)
    installed(here)
    next_one = wanted(here.namespace, 2)
    here.repository.commit("the next model", {FILE: next_one})
    here.fetch()
    here.until("the canary has traffic", lambda: "stepStartedAt" in here.rollout)
    word = f"promote-full@{here.rollout['id']}"
    next_one[1]["metadata"]["annotations"] = {COMMAND_ANNOTATION: word}
    here.repository.commit("promote it", {FILE: next_one})
    here.fetch()
    here.until("it is promoted", lambda: here.rollout["phase"] == "Watching")
    compares(here, 5)

    stale = copy.deepcopy(next_one)
    stale[1]["spec"]["model"] = model(3)
    here.repository.commit("another model, and the old word is left in", {FILE: stale})
    here.fetch()
    here.until("the canary has traffic", lambda: "stepStartedAt" in here.rollout)
    compares(here, 5)
    assert (here.rollout["phase"], here.rollout["lastCommand"]) == ("Stepping", word)


def test_without_the_gate_a_revert_waits_for_the_health_check(fleet: Callable[..., Fleet]) -> None:
    here = fleet()
    installed(here)
    here.repository.commit("the next model", {FILE: wanted(here.namespace, 2)})
    here.fetch()
    here.until("the canary has traffic", lambda: "stepStartedAt" in here.rollout)
    commit = here.repository.revert()
    here.fetch()
    here.until("Flux has fetched it", lambda: here.fetched() == f"main@sha1:{commit}")
    for _ in range(LOOKS):
        here.beat()
    assert here.live()["spec"]["model"] == model(2)
    assert here.told("Healthy") == ("Unknown", "Progressing")


def only_git_owns(here: Fleet) -> None:
    """At each version of the service, everything but the status is as one of the commits has it."""
    for version in here.film.told("InferenceService minilm"):
        entries = version["metadata"]["managedFields"]
        owners = {(e["manager"], e.get("subresource", "")) for e in entries}
        assert owners <= {("kustomize-controller", ""), ("seawall-status", "status")}
        assert {"f:metadata", "f:spec"} >= set().union(
            *(e["fieldsV1"] for e in entries if e["manager"] == "kustomize-controller")
        )
        assert all(e["fieldsV1"].keys() <= {"f:status"} for e in entries if e["manager"] == "seawall-status")
    specs = [version["spec"] for version in here.film.told("InferenceService minilm")]
    asked = [wanted(here.namespace, number)[1]["spec"] for number in (1, 2)]
    assert all(spec["model"] in (asked[0]["model"], asked[1]["model"]) for spec in specs)


def nothing_flips(here: Fleet) -> None:
    assert flips([{"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 1, "b": 1}]) == {".a"}
    back = {name: found for name, versions in here.film.contents().items() if (found := flips(versions))}
    digests = {".annotations.serving.seawall.dev/applied"}
    assert {name: found - digests - MOVES.get(name, set()) for name, found in back.items()} == {
        name: set() for name in back
    }
    assert back.keys() >= MOVES.keys(), "the traffic came and went"

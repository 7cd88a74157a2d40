"""The operator as a process against a real API server: what it writes, what it heals, what it leaves alone."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from apiserver.conftest import Start
from apiserver.operators import CLASS, Cluster, eventually, service

pytestmark = pytest.mark.apiserver


def test_a_new_service_gets_all_its_children_and_each_is_written_once(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    running = start().working()
    cluster.apply(service("digits", namespace))
    cluster.settled("digits", namespace)
    running.idle()
    deployments = cluster.list("deployments", namespace)
    assert len(deployments) == 1
    assert cluster.names("services", namespace) == {"digits", "digits-headless"}
    assert cluster.names("poddisruptionbudgets", namespace) == {"digits"}
    assert cluster.names("networkpolicies", namespace) == {"seawall-models"}
    assert "seawall-model" in cluster.names("serviceaccounts", namespace)
    owner = deployments[0]["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"]) == ("InferenceService", "digits")
    assert running.writes() == {
        "patch deployments": 1,
        "patch services": 2,
        "patch poddisruptionbudgets": 1,
        "patch networkpolicies": 1,
        "patch serviceaccounts": 1,
        "patch inferenceservices/status": 1,
    }


def test_applying_twice_changes_no_version_and_writes_nothing(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    running = start().working()
    cluster.apply(service("digits", namespace))
    cluster.settled("digits", namespace)
    running.idle()
    versions, writes, looks = cluster.versions(namespace), running.writes(), running.looks()
    cluster.patch("swi", "digits", namespace, {"metadata": {"labels": {"team": "vision"}}})
    eventually("the operator has looked again", lambda: running.looks() > looks)
    running.idle()
    after = cluster.versions(namespace)
    assert {k: v for k, v in after.items() if not k.startswith("InferenceService")} == {
        k: v for k, v in versions.items() if not k.startswith("InferenceService")
    }
    assert running.writes() == writes


def test_a_restart_over_unchanged_services_writes_nothing(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    first = start().working()
    cluster.apply(*(service(f"s{n}", namespace) for n in range(20)))
    for n in range(20):
        cluster.settled(f"s{n}", namespace)
    first.idle()
    versions = cluster.versions(namespace)
    assert first.stop() == 0
    second = start().working()
    eventually("all have been looked at", lambda: second.looks() >= 20)
    second.idle()
    assert second.writes() == {}
    assert cluster.versions(namespace) == versions


DRIFT: list[tuple[str, str, dict[str, Any]]] = [
    ("deployment", "", {"spec": {"replicas": 5}}),
    ("deployment", "", {"metadata": {"annotations": {"serving.seawall.dev/applied": "forged"}}}),
    ("service", "digits", {"spec": {"selector": {"app": "somebody-elses"}}}),
    ("service", "digits-headless", {"spec": {"ports": [{"name": "http", "port": 8000}]}}),
    ("service", "digits", {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}),
    ("service", "digits", {"metadata": {"ownerReferences": None}}),
    ("poddisruptionbudget", "digits", {"spec": {"maxUnavailable": "100%"}}),
    ("networkpolicy", "seawall-models", {"spec": {"ingress": [{}]}}),
    ("serviceaccount", "seawall-model", {"automountServiceAccountToken": True}),
]


@pytest.mark.parametrize(
    ("kind", "name", "damage"), DRIFT, ids=[f"{k}-{json.dumps(d)[:60]}" for k, _, d in DRIFT]
)
def test_a_field_changed_by_hand_is_set_back(
    cluster: Cluster, namespace: str, start: Start, kind: str, name: str, damage: dict[str, Any]
) -> None:
    running = start().working()
    cluster.apply(service("digits", namespace, scaling={"mode": "Fixed", "replicas": 2}))
    cluster.settled("digits", namespace)
    running.idle()
    name = name or next(iter(cluster.names("deployments", namespace)))
    before = _said(cluster.get(kind, name, namespace))
    cluster.patch(kind, name, namespace, damage)
    eventually("it is as it was", lambda: _said(cluster.get(kind, name, namespace)) == before)


def _said(live: dict[str, Any] | None) -> dict[str, Any]:
    assert live is not None
    meta = {k: live["metadata"].get(k) for k in ("labels", "annotations", "ownerReferences")}
    return {"metadata": meta} | {k: v for k, v in live.items() if k not in ("metadata", "status")}


@pytest.mark.parametrize("kind", ["deployments", "services", "poddisruptionbudgets", "networkpolicies"])
def test_a_child_deleted_by_hand_comes_back(
    cluster: Cluster, namespace: str, start: Start, kind: str
) -> None:
    running = start().working()
    cluster.apply(service("digits", namespace))
    cluster.settled("digits", namespace)
    running.idle()
    names = cluster.names(kind, namespace)
    cluster.server.kubectl("delete", kind, "--all", "-n", namespace)
    eventually(f"the {kind} are back", lambda: cluster.names(kind, namespace) == names)


def test_a_second_revision_comes_beside_the_first_and_the_services_wait(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    start().working()
    cluster.apply(service("digits", namespace))
    cluster.settled("digits", namespace)
    first = cluster.names("deployments", namespace)
    cluster.apply(service("digits", namespace, model={"uri": "s3://models/other.onnx"}))
    # Nothing has ever answered, so there is nothing to keep: the first attempt is replaced.
    eventually(
        "the new revision stands alone",
        lambda: len(found := cluster.names("deployments", namespace)) == 1 and found != first,
    )
    revision = cluster.list("deployments", namespace)[0]["metadata"]["labels"]["serving.seawall.dev/revision"]

    def selected() -> bool:
        live = cluster.get("service", "digits", namespace) or {}
        return bool(live["spec"]["selector"]["serving.seawall.dev/revision"] == revision)

    eventually("the Service follows", selected)


def test_a_service_name_that_is_taken_is_told_and_left_untouched(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "digits", "namespace": namespace},
        "spec": {"selector": {"app": "theirs"}, "ports": [{"port": 80}]},
    }
    cluster.apply(theirs)
    before = _said(cluster.get("service", "digits", namespace))
    running = start().working()
    cluster.apply(service("digits", namespace))
    eventually(
        "the conflict is told",
        lambda: cluster.condition("digits", namespace, "RouteReady").get("reason") == "NameConflict",
    )
    running.idle()
    assert _said(cluster.get("service", "digits", namespace)) == before


def test_a_foreign_service_that_would_merge_without_conflict_is_given_back(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "digits", "namespace": namespace},
        "spec": {"ports": [{"name": "web", "port": 80}]},
    }
    cluster.apply(theirs)
    before = _said(cluster.get("service", "digits", namespace))
    running = start().working()
    cluster.apply(service("digits", namespace))
    eventually(
        "the conflict is told",
        lambda: cluster.condition("digits", namespace, "RouteReady").get("reason") == "NameConflict",
    )
    running.idle()
    assert _said(cluster.get("service", "digits", namespace)) == before


def test_a_class_that_comes_or_changes_later_is_noticed_by_its_users(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    name = f"late-{namespace}"
    running = start().working()
    cluster.apply(service("digits", namespace, accelerator={"class": name}))
    eventually(
        "the missing class is told",
        lambda: (
            cluster.condition("digits", namespace, "SpecAccepted").get("reason") == "AcceleratorClassNotFound"
        ),
    )
    running.idle()
    cluster.apply(CLASS | {"metadata": {"name": name}})
    cluster.settled("digits", namespace)
    assert len(cluster.names("deployments", namespace)) == 1


def test_the_last_service_of_a_namespace_takes_the_shared_objects_along(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    running = start().working()
    cluster.apply(service("one", namespace), service("two", namespace))
    cluster.settled("one", namespace)
    cluster.settled("two", namespace)
    running.idle()
    cluster.server.kubectl("delete", "swi", "one", "-n", namespace)
    running.idle()
    assert "seawall-model" in cluster.names("serviceaccounts", namespace)
    cluster.server.kubectl("delete", "swi", "two", "-n", namespace)
    eventually(
        "the shared objects go",
        lambda: (
            "seawall-model" not in cluster.names("serviceaccounts", namespace)
            and not cluster.names("networkpolicies", namespace)
        ),
    )


def test_what_vanished_while_the_watch_was_broken_comes_back(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    running = start().working()
    cluster.apply(service("digits", namespace))
    cluster.settled("digits", namespace)
    running.idle()
    running.process.send_signal(19)  # SIGSTOP: it hears nothing
    try:
        cluster.server.kubectl("delete", "poddisruptionbudgets", "--all", "-n", namespace)
        cluster.server.kubectl("delete", "services", "--all", "-n", namespace)
        cluster.server.restart()  # the watches are broken, and the events of the gap are compacted away
        cluster.server.kubectl("create", "configmap", "later", "-n", namespace)
    finally:
        running.process.send_signal(18)
    eventually(
        "all is back",
        lambda: (
            cluster.names("poddisruptionbudgets", namespace) == {"digits"}
            and cluster.names("services", namespace) == {"digits", "digits-headless"}
        ),
    )
    assert running.process.poll() is None, "the same process has healed it"


def test_an_operator_without_definitions_ends_with_one_clear_line(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    running = start(watch_namespaces='["no-such-namespace"]').ready()
    assert running.stop() == 0, "an empty namespace is no reason to end"
    from support.apiserver import api_server

    with api_server() as bare:
        from apiserver.operators import OperatorProcess

        lost = OperatorProcess(bare, "operator", running.log.with_name("bare.log"))
        assert lost.process.wait(timeout=60) == 2
        last = lost.log.read_text().splitlines()[-1]
        assert "inferenceservices.serving.seawall.dev" in last
        assert "seawall crd" in last


def test_an_edit_is_served_while_the_backlog_of_a_restart_is_worked_off(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    first = start().working()
    cluster.apply(*(service(f"s{n:03}", namespace) for n in range(60)))
    eventually("all are made", lambda: len(cluster.names("deployments", namespace)) == 60)
    first.idle()
    assert first.stop() == 0
    # A service looked at by one slow worker takes a while; the edited one has been added last.
    second = start(workers="1").ready()
    cluster.patch("swi", "s059", namespace, {"spec": {"scaling": {"mode": "Fixed", "replicas": 3}}})

    def scaled() -> bool:
        found = [
            d for d in cluster.list("deployments", namespace) if d["metadata"]["name"].startswith("s059-")
        ]
        return bool(found[0]["spec"]["replicas"] == 3)

    eventually("the edit is served", scaled)
    second.idle()
    assert set(second.writes()) <= {
        "patch deployments", "patch poddisruptionbudgets", "patch inferenceservices/status",
    }  # fmt: skip
    assert second.writes()["patch deployments"] == 1


def test_sigterm_finishes_and_gives_the_lease_back(cluster: Cluster, namespace: str, start: Start) -> None:
    running = start(lease_name=f"own-{namespace}").working()
    assert running.stop() == 0
    lease = cluster.get("lease", f"own-{namespace}", "default")
    assert lease is not None
    assert lease["spec"].get("holderIdentity", "") == ""


def test_a_second_operator_stands_by_and_takes_over_from_a_killed_one_without_writing_twice(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    times = {
        "lease_duration_seconds": "4",
        "lease_renew_deadline_seconds": "2.5",
        "lease_retry_seconds": "0.5",
        "write_timeout_seconds": "1.5",
    }
    first = start(**times).working()
    cluster.apply(service("before", namespace))
    cluster.settled("before", namespace)
    second = start(**times).ready()
    assert not second.leads()
    assert second.writes() == {}
    first.kill()
    cluster.apply(service("after", namespace))
    eventually("the second leads", second.leads)
    cluster.settled("after", namespace)
    second.idle()
    assert first.writes()["patch deployments"] == 1
    assert second.writes()["patch deployments"] == 1, "what the first has made is not written again"
    last_of_first = max(e["stageTimestamp"] for e in cluster.server.audit_events(first.user))
    writes_of_second = [
        e["requestReceivedTimestamp"]
        for e in cluster.server.audit_events(second.user)
        if e["verb"] == "patch"
    ]
    assert min(writes_of_second) > last_of_first


def test_an_operator_that_loses_its_lease_ends_at_once(
    cluster: Cluster, namespace: str, start: Start
) -> None:
    name = f"stolen-{namespace}"
    running = start(lease_name=name, lease_retry_seconds="0.5").working()
    cluster.patch("lease", name, "default", {"spec": {"holderIdentity": "a thief"}})
    assert running.process.wait(timeout=30) == 1
    assert "the lease is lost" in running.log.read_text()


def test_the_api_server_may_be_away_for_a_while(cluster: Cluster, namespace: str, start: Start) -> None:
    running = start(lease_duration_seconds="60", lease_renew_deadline_seconds="50").working()
    cluster.apply(service("before", namespace))
    cluster.settled("before", namespace)
    cluster.server.stop()
    time.sleep(1)
    cluster.server.start()
    cluster.apply(service("after", namespace))
    cluster.settled("after", namespace)
    assert running.process.poll() is None


def test_a_bad_setting_is_named_and_ends_the_start(cluster: Cluster, namespace: str, start: Start) -> None:
    running = start(workers="none")
    assert running.process.wait(timeout=60) == 2
    assert "SEAWALL_WORKERS" in running.log.read_text()

"""The operator's rights against what it does: none is missing, none is too many, each is asked for by a tour."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from seawall_cluster.errors import ClusterError

from apiserver.chart_tour import SYSTEM, Account, Tour, chart, guarded_server, scrape, started
from apiserver.operators import Cluster, OperatorProcess, eventually, service
from support.chart import HELM, of_kind, rules

pytestmark = [pytest.mark.apiserver, pytest.mark.skipif(HELM is None, reason="helm is not built yet")]
TOWN = "town"
VALUES = {
    "credentials.secretNamespaces": f"{{{TOWN}}}",
    "metrics.prometheusUrl": "http://prometheus.example:9090",
    "artifacts.uri": "s3://artifacts/builds",
    "builds.retentionSeconds": "60",
}
Right = tuple[str, str, str]
"""group, resource with subresource, verb"""

GUARDED = "the guard of owner references asks for it within the API server, where no audit tells"
UNASKED: dict[Right, str] = {
    ("serving.seawall.dev", "inferenceservices/finalizers", "update"): GUARDED,
    ("serving.seawall.dev", "modelbuilds/finalizers", "update"): GUARDED,
}
"""Rights that the tour does not need, each with its reason."""


def granted(found: list[dict[str, Any]]) -> set[Right]:
    return {
        (group, resource, verb)
        for rule in found
        for group in rule.get("apiGroups", ())
        for resource in rule.get("resources", ())
        for verb in rule["verbs"]
    }


def asked(event: dict[str, Any]) -> list[dict[str, str]]:
    """What an authorizer was asked for this request; an apply that made its object asked for two things."""
    ref = event.get("objectRef") or {}
    attributes = {
        "group": ref.get("apiGroup", ""), "version": ref.get("apiVersion", ""), "resource": ref.get("resource", ""),
        "subresource": ref.get("subresource", ""), "namespace": ref.get("namespace", ""),
        "name": ref.get("name", ""), "verb": event["verb"],
    }  # fmt: skip
    if not attributes["resource"]:
        return []
    made = event["verb"] == "patch" and event["responseStatus"].get("code") == 201
    return [attributes, *([attributes | {"verb": "create"}] if made else [])]


def right(attributes: dict[str, str]) -> Right:
    sub = f"/{attributes['subresource']}" if attributes["subresource"] else ""
    return attributes["group"], attributes["resource"] + sub, attributes["verb"]


@dataclass
class Toured:
    cluster: Cluster
    account: Account
    objects: list[dict[str, Any]]
    requests: list[dict[str, str]]

    def may(self, attributes: dict[str, str]) -> bool:
        spec = {
            "user": self.account.user,
            "groups": ["system:authenticated"],
            "resourceAttributes": attributes,
        }
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        status, body = self.cluster.server.api.call("POST", path, review)
        assert status == 201, body
        return bool(json.loads(body)["status"]["allowed"])


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toured]:
    """The tour is over; what it asked for is known."""
    folder = tmp_path_factory.mktemp("tour")
    with guarded_server() as server:
        cluster = Cluster(server)
        for place in (SYSTEM, TOWN):
            cluster.namespace(place)
        objects = chart(VALUES, SYSTEM)
        with started(cluster, objects, SYSTEM, "seawall", folder)() as running:
            account = running.server
            lead(cluster, running, account)
        requests = [each for event in account.audit_events("") for each in asked(event)]
        assert account.refused() == set()
        yield Toured(cluster, account, objects, requests)


def lead(cluster: Cluster, running: OperatorProcess, account: Account) -> None:
    running.working()
    kubectl, reader = cluster.server.kubectl, "--clusterrole=seawall-metrics-reader"
    kubectl("create", "serviceaccount", "prometheus", "-n", TOWN)
    kubectl("create", "clusterrolebinding", "scrapes", reader, f"--serviceaccount={TOWN}:prometheus")
    token = kubectl("create", "token", "prometheus", "-n", TOWN).strip()
    eventually("Prometheus is let in", lambda: scrape(running, token) == 200)
    tour = Tour(cluster, running, TOWN)
    tour.begin()
    tour.heals()
    tour.changes()
    tour.succeeds_itself()
    tour.ends()


def test_the_tour_asks_for_nothing_that_the_chart_does_not_grant(toured: Toured) -> None:
    assert {right(each) for each in toured.requests} <= granted(rules(toured.objects))


def test_nothing_is_granted_that_the_tour_does_not_need(toured: Toured) -> None:
    more = granted(rules(toured.objects)) - {right(each) for each in toured.requests}
    assert more == set(UNASKED)


def roles() -> list[tuple[str, str, int]]:
    """Every rule of the chart: kind and name of its role, and its place in it."""
    if HELM is None:
        return []
    found = chart(VALUES, SYSTEM)
    return [
        (role["kind"], role["metadata"]["name"], number)
        for kind in ("Role", "ClusterRole")
        for role in of_kind(found, kind)
        for number in range(len(role["rules"]))
        if not role["metadata"]["name"].endswith("-reader")
    ]


@pytest.mark.parametrize(("kind", "name", "number"), roles(), ids=str)
def test_without_a_rule_the_tour_would_be_refused(toured: Toured, kind: str, name: str, number: int) -> None:
    [role] = [each for each in of_kind(toured.objects, kind) if each["metadata"]["name"] == name]
    rule = role["rules"][number]
    needed = [each for each in toured.requests if right(each) in granted([rule])]
    if not needed:
        assert granted([rule]) <= UNASKED.keys()
        guarded(toured, role, rule)
        return
    distinct = list({json.dumps(each): each for each in needed}.values())
    with without(toured, role, rule):
        eventually("something of the tour is refused", lambda: not all(toured.may(e) for e in distinct))
    eventually("it is granted again", lambda: all(toured.may(each) for each in distinct))


@contextmanager
def without(toured: Toured, role: dict[str, Any], rule: dict[str, Any]) -> Iterator[None]:
    replace = ("replace", "-f", "-")
    less = role | {"rules": [each for each in role["rules"] if each is not rule]}
    toured.cluster.server.kubectl(*replace, stdin=yaml.safe_dump(less))
    try:
        yield
    finally:
        toured.cluster.server.kubectl(*replace, stdin=yaml.safe_dump(role))


def guarded(toured: Toured, role: dict[str, Any], rule: dict[str, Any]) -> None:
    """A child that blocks its owner's deletion: refused by the guard without the rule, and taken with it."""
    kubectl = toured.cluster.server.kubectl
    toured.cluster.apply(service("owner", TOWN))
    owner = toured.cluster.get("swi", "owner", TOWN)
    assert owner is not None
    reference = {
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": "owner", "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": True, "controller": True,
    }  # fmt: skip
    child = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "child", "namespace": TOWN, "ownerReferences": [reference]},
        "spec": {"ports": [{"port": 80}]},
    }

    def taken() -> bool:
        try:
            kubectl(
                f"--as={toured.account.user}",
                "create",
                "--dry-run=server",
                "-f",
                "-",
                stdin=json.dumps(child),
            )
        except ClusterError as refused:
            if "cannot set blockOwnerDeletion" not in str(refused):
                raise
            return False
        return True

    assert taken()
    with without(toured, role, rule):
        eventually("the guard refuses the child", lambda: not taken())
    eventually("the guard takes the child", taken)

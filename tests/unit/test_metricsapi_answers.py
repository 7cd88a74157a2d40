"""What the metrics API says to which path, and how it reads a selector."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from seawall.metricsapi.answers import Question, Services, answer
from seawall.metricsapi.selector import LIMIT, BadSelector, selects

NOW = datetime(2026, 11, 21, 12, 30, 15, 999_000, tzinfo=UTC)
ROOT = "/apis/custom.metrics.k8s.io"
OF = f"{ROOT}/v1beta2/namespaces/search/inferenceservices.serving.seawall.dev"


def service(name: str, **scaling: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "search", "labels": {"team": name[0]}},
        "status": {"scaling": scaling},
    }


SERVICES = {
    ("search", "echo"): service("echo", load="2.55", revision="abc123"),
    ("search", "idle"): service("idle", load="0", revision="abc123"),
    ("search", "whole"): service("whole", load="3.00", revision="abc123"),
    ("search", "blind"): service("blind", revision="abc123", reason="Holding", message="No data for 40 s."),
    ("search", "odd"): service("odd", load="NaN", revision="abc123"),
    ("search", "less"): service("less", load="-1", revision="abc123"),
    ("search", "whose"): service("whose", load="1.50"),
    ("search", "new"): {"metadata": {"name": "new", "namespace": "search"}},
}


def ask(path: str, method: str = "GET", accept: str = "", **query: str) -> Any:
    services = Services(
        lambda namespace, name: SERVICES.get((namespace, name)),
        lambda namespace: [made for (place, _), made in SERVICES.items() if place == namespace],
    )
    return answer(Question(method, path, query, accept), services, NOW)


def test_the_load_of_one_service_as_the_preferred_version_spells_it() -> None:
    reply = ask(f"{OF}/echo/slo-load", metricLabelSelector="revision=abc123")
    assert (reply.status, reply.document) == (
        200,
        {
            "kind": "MetricValueList",
            "apiVersion": "custom.metrics.k8s.io/v1beta2",
            "metadata": {},
            "items": [
                {
                    "describedObject": {
                        "apiVersion": "serving.seawall.dev/v1alpha1",
                        "kind": "InferenceService",
                        "namespace": "search",
                        "name": "echo",
                    },
                    "metric": {"name": "slo-load", "selector": {"matchLabels": {"revision": "abc123"}}},
                    "timestamp": "2026-11-21T12:30:15Z",
                    "value": "2550m",
                }
            ],
        },
    )


def test_the_older_version_spells_the_metric_differently() -> None:
    reply = ask(f"{OF}/echo/slo-load".replace("v1beta2", "v1beta1"))
    assert reply.document["apiVersion"] == "custom.metrics.k8s.io/v1beta1"
    (item,) = reply.document["items"]
    assert item["metricName"] == "slo-load"
    assert item["selector"] == {"matchLabels": {"revision": "abc123"}}
    assert "metric" not in item


@pytest.mark.parametrize(("name", "value"), [("echo", "2550m"), ("idle", "0"), ("whole", "3")])
def test_values_are_quantities_as_kubernetes_writes_them(name: str, value: str) -> None:
    (item,) = ask(f"{OF}/{name}/slo-load").document["items"]
    assert item["value"] == value


REFUSED = {
    "no such service": (f"{OF}/nobody/slo-load", {}, 404, '"nobody" not found'),
    "a service of another namespace": (
        f"{OF}/echo/slo-load".replace("search", "other"),
        {},
        404,
        "not found",
    ),
    "a service without status": (f"{OF}/new/slo-load", {}, 404, "nothing is measured yet"),
    "a service without load": (f"{OF}/blind/slo-load", {}, 404, "No data for 40 s."),
    "a load that is no number": (f"{OF}/odd/slo-load", {}, 404, "nothing is measured"),
    "a load below zero": (f"{OF}/less/slo-load", {}, 404, "nothing is measured"),
    "a load of no revision": (f"{OF}/whose/slo-load", {}, 404, "nothing is measured"),
    "another revision": (
        f"{OF}/echo/slo-load",
        {"metricLabelSelector": "revision=def456"},
        404,
        "is of revision abc123, not of revision=def456",
    ),
    "a label that the load has not": (f"{OF}/echo/slo-load", {"metricLabelSelector": "pod=a"}, 404, "not of"),
    "no selector at all": (f"{OF}/echo/slo-load", {"metricLabelSelector": "!!"}, 400, "not a label selector"),
    "another metric": (f"{OF}/echo/p99", {}, 404, "could not find the requested"),
    "another kind": (
        f"{OF}/echo/slo-load".replace("inferenceservices.serving.seawall.dev", "pods"),
        {},
        404,
        "",
    ),
    "another version": (f"{OF}/echo/slo-load".replace("v1beta2", "v1"), {}, 404, ""),
    "another group": (f"{OF}/echo/slo-load".replace("custom", "external"), {}, 404, ""),
    "a metric of a namespace": (f"{ROOT}/v1beta2/namespaces/search/metrics/slo-load", {}, 404, ""),
    "a metric of no namespace": (f"{ROOT}/v1beta2/nodes/echo/slo-load", {}, 404, ""),
    "a path that climbs": (f"{OF}/../echo/slo-load", {}, 404, ""),
    "an escaped climb": (f"{OF}/..%2Fecho/slo-load", {}, 404, "no such"),
    "an escaped slash in a name": (f"{OF}/a%2Fslo-load/slo-load", {}, 404, "no such"),
    "an escaped namespace": (f"{OF}/echo/slo-load".replace("search", "s%65arch"), {}, 404, "no such"),
    "bytes that are no text": (f"{OF}/%ff%00/slo-load", {}, 404, "no such"),
    "a very long name": (f"{OF}/{'a' * 2000}/slo-load", {}, 404, "no such"),
    "a doubled slash": (f"{OF}//slo-load", {}, 404, "no such"),
    "a closing slash": (f"{ROOT}/", {}, 404, ""),
    "the root": ("/", {}, 404, ""),
    "no path": ("", {}, 404, ""),
    "OpenAPI": ("/openapi/v3", {}, 404, ""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_is_a_status_that_says_why(case: str) -> None:
    path, query, status, message = REFUSED[case]
    reply = ask(path, **query)
    assert reply.status == status
    assert {k: v for k, v in reply.document.items() if k != "message"} == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "reason": {404: "NotFound", 400: "BadRequest"}[status],
        "code": status,
    }
    assert message in reply.document["message"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW"])
def test_it_is_read_only(method: str) -> None:
    reply = ask(f"{OF}/echo/slo-load", method)
    assert (reply.status, reply.document["reason"]) == (405, "MethodNotAllowed")


MANY = {
    "all that have a load": ({}, ["echo", "idle", "whole"]),
    "by the service's labels": ({"labelSelector": "team in (e,w)"}, ["echo", "whole"]),
    "by the metric's labels": ({"metricLabelSelector": "revision!=abc123"}, []),
}


@pytest.mark.parametrize("case", MANY)
@pytest.mark.parametrize("star", ["*", "%2A"])
def test_a_star_stands_for_every_service_of_the_namespace(case: str, star: str) -> None:
    query, names = MANY[case]
    reply = ask(f"{OF}/{star}/slo-load", **query)
    assert [item["describedObject"]["name"] for item in reply.document["items"]] == names


def test_a_star_is_refused_where_nothing_lists_services() -> None:
    reply = answer(Question("GET", f"{OF}/*/slo-load", {}), Services(lambda namespace, name: None), NOW)
    assert (reply.status, reply.document["reason"]) == (400, "BadRequest")


def test_discovery_names_one_resource_in_two_versions() -> None:
    (group,) = ask("/apis").document["groups"]
    assert group["preferredVersion"]["groupVersion"] == "custom.metrics.k8s.io/v1beta2"
    assert {"kind": "APIGroup", "apiVersion": "v1", **group} == ask(ROOT).document
    for version in group["versions"]:
        listed = ask(f"/apis/{version['groupVersion']}").document
        assert (listed["kind"], listed["groupVersion"]) == ("APIResourceList", version["groupVersion"])
        assert listed["resources"] == [
            {
                "name": "inferenceservices.serving.seawall.dev/slo-load",
                "singularName": "",
                "namespaced": True,
                "kind": "MetricValueList",
                "verbs": ["get"],
            }
        ]


def test_the_aggregated_form_of_discovery_is_refused_so_that_the_plain_one_is_asked_for() -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    assert ask("/apis", accept=accept).status == 406


LABELS = {"revision": "abc123", "tier": "", "example.com/kind": "x"}
SELECTORS = {
    "": True,
    " ": True,
    "revision=abc123": True,
    "revision==abc123": True,
    " revision = abc123 , tier = ": True,
    "revision=abc123,tier=x": False,
    "revision!=abc123": False,
    "other!=abc123": True,
    "revision in (a, abc123)": True,
    "revision in(a)": False,
    "revision notin (a,b)": True,
    "other notin (a)": True,
    "other in (a)": False,
    "revision": True,
    "other": False,
    "!other": True,
    "!revision": False,
    "example.com/kind=x,!other,revision in (abc123)": True,
}


@pytest.mark.parametrize("text", SELECTORS)
def test_selectors_mean_what_they_mean_to_kubernetes(text: str) -> None:
    assert selects(text, LABELS) is SELECTORS[text]


WRONG = ["=", ",", "a=b c", "a=b,,c", "a in", "a in (", "a in b", "!", "a>1", "a=é", "(a)", "a=" + "b" * 64]
WRONG += ["a" * (LIMIT + 1)]


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:12])
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(BadSelector, match=re.escape("selector")):
        selects(text, LABELS)


PIECES = [
    "apis",
    "custom.metrics.k8s.io",
    "v1beta2",
    "namespaces",
    "search",
    "inferenceservices.serving.seawall.dev",
]
PIECES += [
    "echo",
    "*",
    "slo-load",
    "..",
    ".",
    "",
    "%2e%2e",
    "%2F",
    "%",
    "%00",
    "%ff",
    "\\",
    "\x00",
    "é",
    "?",
    "a" * 300,
]


@pytest.mark.parametrize("seed", range(20))
def test_no_path_makes_it_stumble_or_leave_its_ground(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - it need only be repeatable
    whole = f"{OF}/echo/slo-load".split("/")
    for _ in range(200):
        parts = list(whole)
        for _ in range(random.randint(1, 3)):
            parts[random.randrange(len(parts))] = random.choice(PIECES)
        query = {"metricLabelSelector": "".join(random.choices("ab=!(), in", k=random.randint(0, 12)))}
        reply = ask("/".join(parts), **query)
        assert reply.status in (200, 400, 404)
        for item in reply.document.get("items", ()):
            assert item["describedObject"]["namespace"] == "search"

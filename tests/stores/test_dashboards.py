"""Every query of every dashboard, put to a real Prometheus.

It scrapes the operator's own exposition, fed with statuses through the operator's own code, and pods that word
their counters as Triton does; the rules are those that the operator writes. The figures are a made-up morning.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import pytest
from dashboards.queries import Query, asked, load, queries
from dashboards.stand import Prometheus, prometheus, telling
from dashboards.story import STEP_SECONDS, Story

pytestmark = pytest.mark.stores

VARIABLES = {
    "fleet": {"namespace": ".*"},
    "operator": {"job": ".*"},
    "service": {"namespace": "vision", "inferenceservice": "resnet50"},
}
SPAN = {"__rate_interval": "1m"}
PATIENCE = 60.0
EVERY = list(queries(load()))


@pytest.fixture(scope="module")
def holder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Towards the end of the morning: a canary on its way, one paused, a service that is too slow."""
    story = Story(7200, time.time() - 6600)
    while story.now < time.time() - STEP_SECONDS:
        story.go_on(STEP_SECONDS)
    rules = story.rules()
    for group in rules["groups"]:
        group["interval"] = "1s"
    with telling(story) as scrapes, prometheus(tmp_path_factory.mktemp("prometheus"), scrapes, rules) as made:
        yield made


def put(holder: Prometheus, query: Query) -> list[tuple[dict[str, str], float]]:
    found = holder.now(asked(query.expr, VARIABLES[query.dashboard] | SPAN))
    return [(labels, value) for labels, value in found if math.isfinite(value)]


def answered(holder: Prometheus, query: Query) -> list[tuple[dict[str, str], float]]:
    """The first answer with a number in it; some need a few scrapes and a round of the rules."""
    end = time.monotonic() + PATIENCE
    while not (found := put(holder, query)):
        if time.monotonic() > end:
            pytest.fail(f"no data: {query.expr}", pytrace=False)
        time.sleep(0.5)
    return found


@pytest.mark.parametrize("query", EVERY, ids=lambda query: f"{query.dashboard}: {query.panel}: {query.ref}")
def test_every_query_has_data(holder: Prometheus, query: Query) -> None:
    assert answered(holder, query)


def test_a_query_of_nothing_is_seen_to_have_none(holder: Prometheus) -> None:
    assert (
        put(holder, Query("fleet", "", "A", 'seawall_no_such_series{namespace=~"$namespace"}', False)) == []
    )


def test_a_query_that_is_wrong_is_refused(holder: Prometheus) -> None:
    with pytest.raises(ValueError, match="parse error"):
        put(holder, Query("fleet", "", "A", "sum by (", False))


VALUES = {
    ("fleet", "Services"): 4,
    ("fleet", "Not ready"): 0,
    ("fleet", "Above their SLO"): 1,
    ("fleet", "Rollouts under way"): 2,
    ("operator", "Leading"): 1,
    ("operator", "Replicas"): 2,
    ("service", "Target"): 0.05,
}
"""What the story says."""


@pytest.mark.parametrize(("where", "value"), VALUES.items(), ids=str)
def test_the_numbers_are_those_of_the_story(holder: Prometheus, where: tuple[str, str], value: float) -> None:
    (query,) = [each for each in EVERY if (each.dashboard, each.panel) == where]
    assert [number for _, number in answered(holder, query)] == [value]


LABELS = {
    ("service", "Why so many"): {"reason": "Stable"},
    ("service", "Phases"): {"phase": "Paused"},
    ("fleet", "Phases"): {"namespace": "search", "inferenceservice": "minilm", "phase": "Stepping"},
    ("fleet", "Alerts"): {"alertname": "SeawallErrorBudgetBurning", "inferenceservice": "asr"},
}


@pytest.mark.parametrize(("where", "labels"), LABELS.items(), ids=str)
def test_the_words_are_those_of_the_story(
    holder: Prometheus, where: tuple[str, str], labels: dict[str, str]
) -> None:
    (query,) = [each for each in EVERY if (each.dashboard, each.panel) == where]
    found = [each for each, _ in answered(holder, query)]
    assert any(labels.items() <= each.items() for each in found), found


def test_the_services_own_percentile_is_near_the_operators(holder: Prometheus) -> None:
    """Told by the operator, and interpolated by Prometheus in the pods' buckets: the same requests."""
    told, counted = (query for query in EVERY if query.panel == "p99 against the SLO" and query.ref in "AB")
    by_pods = {labels["revision"]: value for labels, value in answered(holder, counted)}
    by_operator = {labels["revision"]: value for labels, value in answered(holder, told)}
    assert by_pods["r7"] == pytest.approx(by_operator["r7"], rel=0.1)


def test_variables_are_found_by_their_queries(holder: Prometheus) -> None:
    for page in load().values():
        for variable in page["templating"]["list"]:
            if variable["type"] == "query":
                series, label = variable["query"]["query"].removeprefix("label_values(")[:-1].rsplit(", ", 1)
                found = holder.now(asked(series, VARIABLES["service"]))
                assert {labels[label] for labels, _ in found}, variable["name"]

"""PodMonitor and PrometheusRule: their shape, and with promtool what the rules make of real-looking series."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from seawall.desired.canonical import stamped, without_empties
from seawall.desired.monitoring import Promise, build_pod_monitor, build_prometheus_rule, rule_groups
from seawall.desired.names import Owner
from seawall.desired.triton import latency_buckets
from support.promtool import checked, examined, firing, labelled, needs_promtool, promtool

OWNER = Owner("digits", "vision", "u-1")
SERVICE = {"namespace": "vision", "inferenceservice": "digits"}
REVISION = {**SERVICE, "revision": "r1"}
EVERY = 5
"""Seconds between two scrapes."""


@dataclass
class Pod:
    """Counters of one pod of which every scrape shows `success` and `failure` requests more."""

    success: int = 500
    failure: int = 0
    edges: dict[str, int] = field(default_factory=dict)
    """how many of each scrape's requests lie below each edge"""
    pod: str = "p1"
    revision: str = "r1"
    model: str = "digits"
    minutes: int = 5
    then: tuple[int, dict[str, int]] | None = None
    """minutes that follow, and the edges in them"""

    def series(self) -> list[dict[str, str]]:
        labels = {**SERVICE, "revision": self.revision, "pod": self.pod, "model": self.model, "version": "1"}
        counters = {
            labelled("nv_inference_request_success", labels | {"gpu_uuid": "GPU-1"}): (self.success,) * 2,
            labelled("nv_inference_request_failure", labels | {"reason": "BACKEND"}): (self.failure,) * 2,
            labelled("nv_inference_request_failure", labels | {"reason": "REJECTED"}): (0, 0),
        }
        for edge, count in self.edges.items():
            name = labelled("nv_inference_first_response_histogram_ms_bucket", labels | {"le": edge})
            counters[name] = (count, self.then[1][edge] if self.then else count)
        return [{"series": name, "values": self._values(*steps)} for name, steps in counters.items()]

    def _values(self, step: int, later: int) -> str:
        scrapes = self.minutes * 60 // EVERY
        values = f"0+{step}x{scrapes}"
        if self.then is None:
            return values
        return f"{values} {scrapes * step + later}+{later}x{self.then[0] * 60 // EVERY - 1}"


LATE = {"15.0": 250, "19.0": 490, "25.0": 500, "+Inf": 500}
"""Of five hundred requests a hundred a second, ten are late: the p99 is in the middle of 19 to 25 ms."""


@dataclass
class Case:
    pods: list[Pod]
    expected: dict[str, float | None]
    """record -> value of revision r1, or of the service; None: no such series"""
    slo: float = 0.02


CASES = {
    "two in a hundred are late": Case(
        [Pod(edges=LATE)],
        {
            "seawall:rps:15s": 100.0,
            "seawall:rps:60s": 100.0,
            "seawall:p99_seconds": 0.022,
            "seawall:good_ratio": 0.98,
            "seawall:good_ratio:5m": 0.98,
            "seawall:failed_ratio:5m": 0.0,
        },
    ),
    "Prometheus 2 writes the edges as Triton does": Case(
        [Pod(edges={"15": 250, "19": 490, "25": 500, "+Inf": 500})],
        {"seawall:good_ratio": 0.98, "seawall:p99_seconds": 0.022},
    ),
    "the edge is the millisecond below the SLO: 20 would let 20.9 ms pass": Case(
        [Pod(edges={"19.0": 400, "20.0": 500, "+Inf": 500})], {"seawall:good_ratio": 0.8}
    ),
    "a fraction of a millisecond": Case(
        [Pod(edges={"20.0": 400, "21.0": 500, "+Inf": 500})], {"seawall:good_ratio": 0.8}, slo=0.0205
    ),
    "failures are requests, and not good for being quick": Case(
        [Pod(success=400, failure=100, edges=LATE)],
        {
            "seawall:rps:60s": 100.0,
            "seawall:good_ratio": 0.78,
            "seawall:failed_ratio:5m": 0.2,
        },
    ),
    "nothing but late failures": Case(
        [Pod(success=0, failure=500, edges={"19.0": 0, "25.0": 500, "+Inf": 500})],
        {"seawall:good_ratio": 0.0, "seawall:failed_ratio:5m": 1.0},
    ),
    "two pods are one service": Case(
        [Pod(edges=LATE), Pod(edges={"15.0": 500, "19.0": 500, "25.0": 500, "+Inf": 500}, pod="p2")],
        {"seawall:rps:60s": 200.0, "seawall:good_ratio": 0.99, "seawall:p99_seconds": 0.019},
    ),
    "the stages of a model are not requests": Case(
        [Pod(edges=LATE), Pod(edges=LATE, model="digits-decode")],
        {"seawall:rps:60s": 100.0, "seawall:good_ratio": 0.98},
    ),
    "a server without histograms has rates and no latency": Case(
        [Pod(failure=100)],
        {
            "seawall:rps:60s": 120.0,
            "seawall:p99_seconds": None,
            "seawall:good_ratio": None,
            "seawall:good_ratio:5m": None,
        },
    ),
    "a revision of an earlier SLO does not count as late": Case(
        [Pod(edges=LATE), Pod(edges={"9.0": 400, "+Inf": 500}, revision="r0", pod="p2")],
        {"seawall:rps:60s": 100.0, "seawall:good_ratio": 0.98, "seawall:good_ratio:5m": 0.98},
    ),
    "the promise is the service's: a small bad candidate takes a small part": Case(
        [
            Pod(edges=LATE),
            Pod(edges={"19.0": 0, "+Inf": 5}, success=5, revision="r2", pod="p2"),
        ],
        {"seawall:good_ratio": 0.98, "seawall:good_ratio:5m": 490 / 505},
    ),
}
SERVICE_WIDE = ("seawall:good_ratio:5m", "seawall:failed_ratio:5m", "seawall:requests:1h")


def question(record: str, value: float | None, at: str = "4m") -> dict[str, Any]:
    labels = SERVICE if record in SERVICE_WIDE else REVISION
    samples = [] if value is None else [{"labels": labelled(record, labels), "value": value}]
    return {"expr": labelled(record, labels), "eval_time": at, "exp_samples": samples}


@needs_promtool
@pytest.mark.parametrize("name", CASES)
def test_the_rules_record(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    series = [line for pod in case.pods for line in pod.series()]
    questions = [question(record, value) for record, value in case.expected.items()]
    test = {"input_series": series, "promql_expr_test": questions}
    examined(tmp_path, rule_groups(OWNER, Promise(case.slo, "99.9%")), test, f"{EVERY}s")


def good(late: int) -> dict[str, int]:
    return {"19.0": 500 - late, "+Inf": 500}


CALL = "SeawallErrorBudgetBurning"
CALLS = {
    "a fifth is late for an hour": ([Pod(edges=good(100), minutes=75)], 70, ["latency"]),
    "a tenth is not fast enough for a call": ([Pod(edges=good(25), minutes=75)], 70, []),
    "over for half an hour": ([Pod(edges=good(400), minutes=20, then=(40, good(0)))], 59, []),
    "over for ten minutes, within six hours": (
        [Pod(edges=good(400), minutes=20, then=(12, good(0)))],
        31,
        ["latency"],
    ),
    "it has just begun": ([Pod(edges=good(0), minutes=62, then=(13, good(400)))], 75, ["latency"]),
    "a short spell": ([Pod(edges=good(0), minutes=62, then=(3, good(400)))], 65, []),
    "2 % fail": ([Pod(edges=good(0), success=490, failure=10, minutes=75)], 70, ["availability"]),
    "everything fails": (
        [Pod(edges=good(500), success=0, failure=500, minutes=75)],
        70,
        ["latency", "availability"],
    ),
}


@needs_promtool
@pytest.mark.parametrize(("pods", "at", "objectives"), CALLS.values(), ids=CALLS)
def test_a_fast_burn_calls(pods: list[Pod], at: int, objectives: list[str], tmp_path: Path) -> None:
    asked = firing(CALL, ["objective"], [{"objective": each} for each in objectives], f"{at}m")
    test = {"input_series": [line for pod in pods for line in pod.series()], "promql_expr_test": [asked]}
    examined(tmp_path, rule_groups(OWNER, Promise(0.02, "99.9%")), test, f"{EVERY}s")


EXAMPLE = Path(__file__).resolve().parents[2] / "examples/prometheus/scrape.yaml"


@needs_promtool
def test_promtool_takes_the_example(tmp_path: Path) -> None:
    # The files that it names are in Prometheus's pod; empty ones stand for them.
    text = EXAMPLE.read_text().replace("rule_files: [", f"rule_files: [{EXAMPLE.parent}/")
    for name in re.findall(r"_file: (\S+)", text):
        here = tmp_path / Path(name).name
        here.touch()
        text = text.replace(name, str(here))
    config = tmp_path / "prometheus.yaml"
    config.write_text(text)
    done = promtool("check", "config", "--lint=all", "--lint-fatal", config)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize("window", [1, 7, 30])
@pytest.mark.parametrize("availability", [None, "50%", "99.9%", "99.9999%"])
def test_promtool_takes_the_rules(availability: str | None, window: int, tmp_path: Path) -> None:
    checked(tmp_path, rule_groups(OWNER, Promise(0.02, availability, window)))


def rules_of(promise: Promise) -> list[dict[str, Any]]:
    groups = build_prometheus_rule(OWNER, promise)["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("slo", [0.001, 0.0205, 0.02, 0.1, 1.5])
def test_the_edge_of_the_rules_is_an_edge_of_the_histogram(slo: float) -> None:
    made = {rule["record"]: rule["expr"] for rule in rules_of(Promise(slo)) if "record" in rule}
    for record in ("seawall:good_ratio", "seawall:good_rps:5m"):
        assert any(f'le=~"{edge}([.]0)?"' in made[record] for edge in latency_buckets(slo))


def test_the_pods_are_found_and_labelled_as_the_operators_series_are() -> None:
    made = build_pod_monitor(OWNER)
    assert (made["metadata"]["name"], made["metadata"]["namespace"]) == ("digits", "vision")
    assert made["spec"]["selector"]["matchLabels"] == {"serving.seawall.dev/inferenceservice": "digits"}
    (endpoint,) = made["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"], endpoint["interval"]) == ("metrics", "/metrics", "5s")
    assert {r["targetLabel"]: r["sourceLabels"] for r in endpoint["relabelings"]} == {
        "inferenceservice": ["__meta_kubernetes_pod_label_serving_seawall_dev_inferenceservice"],
        "revision": ["__meta_kubernetes_pod_label_serving_seawall_dev_revision"],
    }


@pytest.mark.parametrize(
    "made",
    [build_pod_monitor(OWNER), build_prometheus_rule(OWNER, Promise(0.02, "99.9%"))],
    ids=["pods", "rules"],
)
def test_they_are_stamped_owned_and_hold_nothing_that_a_server_would_drop(made: dict[str, Any]) -> None:
    assert stamped(made) == made
    assert without_empties(made) == made
    assert made["metadata"]["ownerReferences"] == [OWNER.reference()]

"""PodMonitor and PrometheusRule: their shape, and with promtool what the rules make of real-looking series."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from seawall_cluster import binaries

from seawall.desired.canonical import stamped, without_empties
from seawall.desired.monitoring import build_pod_monitor, build_prometheus_rule, rule_groups
from seawall.desired.names import Owner
from seawall.desired.triton import latency_buckets

OWNER = Owner("digits", "vision", "u-1")
SERVICE = {"namespace": "vision", "inferenceservice": "digits"}
REVISION = {**SERVICE, "revision": "r1"}
EVERY = 5
"""Seconds between two scrapes."""

PROMTOOL = binaries.find("promtool")


def needs_promtool(test: Callable[..., None]) -> Callable[..., None]:
    missing = pytest.mark.skipif(
        PROMTOOL is None, reason="promtool is not in the cache (tools/cluster up --with prometheus makes it)"
    )
    return pytest.mark.long(missing(test))


def promtool(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(PROMTOOL), *args], capture_output=True, text=True, check=False)


def labelled(name: str, labels: dict[str, str]) -> str:
    return name + "{" + ",".join(f'{key}="{value}"' for key, value in sorted(labels.items())) + "}"


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


def examined(folder: Path, slo: float, availability: str | None, test: dict[str, Any]) -> None:
    groups = {"groups": rule_groups(OWNER, slo, availability)}
    (folder / "rules.yaml").write_text(yaml.safe_dump(groups))
    tests = [{"interval": f"{EVERY}s", **test}]
    whole = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "15s",
        "fuzzy_compare": True,
        "tests": tests,
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(whole))
    done = promtool("test", "rules", folder / "test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize("name", CASES)
def test_the_rules_record(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    series = [line for pod in case.pods for line in pod.series()]
    questions = [question(record, value) for record, value in case.expected.items()]
    examined(tmp_path, case.slo, "99.9%", {"input_series": series, "promql_expr_test": questions})


def good(late: int) -> dict[str, int]:
    return {"19.0": 500 - late, "+Inf": 500}


BURNING = "SeawallErrorBudgetBurning"


@needs_promtool
@pytest.mark.parametrize(
    ("pods", "at", "objectives"),
    [
        pytest.param([Pod(edges=good(100), minutes=75)], 70, ["latency"], id="a fifth is late for an hour"),
        pytest.param([Pod(edges=good(50), minutes=75)], 70, [], id="a tenth is not fast enough for a call"),
        pytest.param(
            [Pod(edges=good(400), minutes=62, then=(13, good(0)))], 72, [], id="over for five minutes"
        ),
        pytest.param(
            [Pod(edges=good(0), minutes=62, then=(13, good(400)))], 75, ["latency"], id="it has just begun"
        ),
        pytest.param([Pod(edges=good(0), minutes=62, then=(3, good(400)))], 65, [], id="a short spell"),
        pytest.param(
            [Pod(edges=good(0), success=490, failure=10, minutes=75)], 70, ["availability"], id="2 % fail"
        ),
        pytest.param([Pod(edges=good(0), success=495, failure=5, minutes=75)], 70, [], id="1 % fails"),
        pytest.param(
            [Pod(edges=good(500), success=0, failure=500, minutes=75)],
            70,
            ["latency", "availability"],
            id="everything fails",
        ),
    ],
)
def test_the_alert_of_a_fast_burn(pods: list[Pod], at: int, objectives: list[str], tmp_path: Path) -> None:
    series = [line for pod in pods for line in pod.series()]
    firing = [
        {"labels": f'{{alertname="{BURNING}",objective="{objective}"}}', "value": 1}
        for objective in objectives
    ]
    expr = f'count by (alertname, objective) (ALERTS{{alertname="{BURNING}",alertstate="firing"}})'
    asked = [{"expr": expr, "eval_time": f"{at}m", "exp_samples": firing}]
    examined(tmp_path, 0.02, "99.9%", {"input_series": series, "promql_expr_test": asked})


@needs_promtool
def test_of_a_handful_of_requests_no_share_is_made(tmp_path: Path) -> None:
    labels = {**REVISION, "pod": "p1", "model": "digits"}
    # One request a minute, and each is late.
    steps = " ".join(str(minute) for minute in range(76) for _ in range(12))
    series = [
        {"series": labelled("nv_inference_request_success", labels), "values": steps},
        {"series": labelled("nv_inference_request_failure", labels), "values": "0+0x900"},
        {
            "series": labelled("nv_inference_first_response_histogram_ms_bucket", labels | {"le": "19.0"}),
            "values": "0+0x900",
        },
    ]
    asked = [{"expr": f'ALERTS{{alertname="{BURNING}"}}', "eval_time": "70m", "exp_samples": []}]
    examined(tmp_path, 0.02, None, {"input_series": series, "promql_expr_test": asked})


@needs_promtool
@pytest.mark.parametrize(
    ("success", "told", "fires"),
    [
        pytest.param(500, {"seawall_ready_replicas": 2}, True, id="busy and not measured"),
        pytest.param(
            500, {"seawall_ready_replicas": 2, "seawall_p99_seconds": 0.01}, False, id="busy and measured"
        ),
        pytest.param(10, {"seawall_ready_replicas": 2}, False, id="two requests a second make no p99"),
        pytest.param(None, {"seawall_ready_replicas": 2}, True, id="the pods do not tell at all"),
        pytest.param(500, {"seawall_ready_replicas": 0}, False, id="nothing runs"),
        pytest.param(500, {}, False, id="the operator does not tell"),
    ],
)
def test_the_alert_of_a_lost_measurement(
    success: int | None, told: dict[str, float], fires: bool, tmp_path: Path
) -> None:
    series = [{"series": labelled(name, REVISION), "values": f"{value}x300"} for name, value in told.items()]
    if success is not None:
        series += Pod(success=success, minutes=25).series()
    asked = {
        "expr": 'count by (inferenceservice) (ALERTS{alertname="SeawallLatencyUnmeasured",alertstate="firing"})',
        "eval_time": "20m",
        "exp_samples": [{"labels": '{inferenceservice="digits"}', "value": 1}] if fires else [],
    }
    examined(tmp_path, 0.02, None, {"input_series": series, "promql_expr_test": [asked]})


EXAMPLE = Path(__file__).resolve().parents[2] / "examples/prometheus/scrape.yaml"


@needs_promtool
def test_promtool_takes_the_example() -> None:
    done = promtool("check", "config", "--lint=all", "--lint-fatal", EXAMPLE)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize("availability", [None, "50%", "99.9%", "99.9999%"])
def test_promtool_takes_the_rules(availability: str | None, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": rule_groups(OWNER, 0.02, availability)}))
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("availability", "limits"),
    [
        (None, ["0.144"]),
        ("99.9%", ["0.144", "0.0144"]),
        ("99.9999%", ["0.144", "0.0000144"]),
        ("50%", ["0.144", "0.9"]),
    ],
)
def test_the_burn_rates_are_plain_numbers(availability: str | None, limits: list[str]) -> None:
    (group,) = build_prometheus_rule(OWNER, 0.02, availability)["spec"]["groups"]
    burning = [rule["expr"] for rule in group["rules"] if rule.get("alert") == BURNING]
    for expr, limit in zip(burning, limits, strict=True):
        assert expr.count(f"> {limit})") == 2


@pytest.mark.parametrize("slo", [0.001, 0.0205, 0.02, 0.1, 1.5])
def test_the_edge_of_the_rules_is_an_edge_of_the_histogram(slo: float) -> None:
    (group,) = build_prometheus_rule(OWNER, slo, None)["spec"]["groups"]
    good_ratio = next(rule["expr"] for rule in group["rules"] if rule.get("record") == "seawall:good_ratio")
    assert any(f'le=~"{edge}([.]0)?"' in good_ratio for edge in latency_buckets(slo))


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
    "made", [build_pod_monitor(OWNER), build_prometheus_rule(OWNER, 0.02, "99.9%")], ids=["pods", "rules"]
)
def test_they_are_stamped_owned_and_hold_nothing_that_a_server_would_drop(made: dict[str, Any]) -> None:
    assert stamped(made) == made
    assert without_empties(made) == made
    assert made["metadata"]["ownerReferences"] == [OWNER.reference()]

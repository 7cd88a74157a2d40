"""What the chart makes for the Prometheus operator, as Helm renders it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from seawall.desired.alerts import RUNBOOK
from seawall.settings import Settings
from support.chart import HELM, of_kind, rendered

pytestmark = [pytest.mark.long, pytest.mark.skipif(HELM is None, reason="helm is not built yet")]

RULES = Path(__file__).parents[2] / "charts/seawall/files/rules.yaml"
BOTH = {"prometheus.podMonitor.enabled": "true", "prometheus.rules.enabled": "true"}
MINE = ("seawall-scraper", "seawall-scraper-token")


def made(**values: str) -> list[dict[str, Any]]:
    return rendered(BOTH | {key.replace("__", "."): value for key, value in values.items()})


def test_without_being_asked_it_makes_nothing_for_an_operator_that_may_not_be_there() -> None:
    kinds = {(each["kind"], each["metadata"]["name"]) for each in rendered({})}
    assert not {kind for kind, _ in kinds} & {"PodMonitor", "PrometheusRule"}
    assert not {name for _, name in kinds} & set(MINE)


def test_the_rules_are_those_of_the_file() -> None:
    (rule,) = of_kind(made(), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load(RULES.read_text())


def test_pages_are_where_the_value_says() -> None:
    (rule,) = of_kind(
        made(prometheus__runbookUrl="https://docs.example.com/r/{alert}.html#do"), "PrometheusRule"
    )
    alerts = [each for group in rule["spec"]["groups"] for each in group["rules"]]
    for each in alerts:
        url = f"https://docs.example.com/r/{each['alert']}.html#do"
        assert each["annotations"]["runbook_url"] == url
    assert len(alerts) > 10


@pytest.mark.parametrize("value", ["https://docs.example.com/r/", "docs/{alert} .md", "${1}{alert}"])
def test_a_place_that_names_no_alert_is_refused(value: str) -> None:
    with pytest.raises(AssertionError, match="runbookUrl"):
        made(prometheus__runbookUrl=value)


def test_services_rules_lead_to_the_same_place(monkeypatch: pytest.MonkeyPatch) -> None:
    (operator,) = of_kind(made(prometheus__runbookUrl="https://x.test/{alert}"), "Deployment")
    env = {e["name"]: e.get("value") for e in operator["spec"]["template"]["spec"]["containers"][0]["env"]}
    monkeypatch.setenv("SEAWALL_RUNBOOK_URL", env["SEAWALL_RUNBOOK_URL"])
    assert Settings().platform.runbook == "https://x.test/{alert}"
    monkeypatch.delenv("SEAWALL_RUNBOOK_URL")
    assert Settings().platform.runbook == RUNBOOK


def test_labels_by_which_prometheus_chooses() -> None:
    objects = made(prometheus__labels__release="kps")
    for kind in ("PodMonitor", "PrometheusRule"):
        (each,) = of_kind(objects, kind)
        assert each["metadata"]["labels"]["release"] == "kps"
        assert each["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"


def test_the_operator_is_scraped_under_an_identity_of_its_own() -> None:
    objects = made()
    (monitor,) = of_kind(objects, "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    (operator,) = of_kind(objects, "Deployment")
    pod = operator["spec"]["template"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert endpoint["port"] in {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    assert endpoint["honorLabels"] is True
    names = {(each["kind"], each["metadata"]["name"]) for each in objects}
    assert ("Secret", endpoint["tlsConfig"]["ca"]["secret"]["name"]) in names
    assert endpoint["tlsConfig"]["serverName"] == "seawall-metrics.seawall-system.svc"
    token = endpoint["authorization"]["credentials"]
    (secret,) = (s for s in of_kind(objects, "Secret") if s["metadata"]["name"] == token["name"])
    account = secret["metadata"]["annotations"]["kubernetes.io/service-account.name"]
    assert ("ServiceAccount", account) in names
    (grant,) = (b for b in of_kind(objects, "ClusterRoleBinding") if b["subjects"][0]["name"] == account)
    assert ("ClusterRole", grant["roleRef"]["name"]) in names


def test_a_token_of_ones_own() -> None:
    objects = made(prometheus__podMonitor__tokenSecret="theirs")
    (monitor,) = of_kind(objects, "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["authorization"]["credentials"]["name"] == "theirs"
    assert not {each["metadata"]["name"] for each in objects} & set(MINE)


def test_an_open_endpoint_needs_neither() -> None:
    objects = made(metrics__auth="false")
    (monitor,) = of_kind(objects, "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert not endpoint.keys() & {"scheme", "tlsConfig", "authorization"}
    assert not {each["metadata"]["name"] for each in objects} & set(MINE)

"""That the chart, the operator's settings and the examples for Prometheus mean the same endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from seawall.metricsapi.door import PATH
from seawall.metricsapi.keeper import Keeper
from seawall.settings import Settings
from support.fakecluster import FakeCluster
from unit.test_chart import HELM, of_kind, rendered

pytestmark = [pytest.mark.long, pytest.mark.skipif(HELM is None, reason="helm is not built yet")]
EXAMPLES = Path(__file__).parents[2] / "examples" / "prometheus"
NAME, READER = "seawall-metrics", "seawall-metrics-reader"


def named(objects: list[dict[str, Any]], kind: str, name: str = NAME) -> dict[str, Any]:
    (found,) = [made for made in of_kind(objects, kind) if made["metadata"]["name"] == name]
    return found


def environment(objects: list[dict[str, Any]]) -> dict[str, str]:
    (container,) = named(objects, "Deployment", "seawall")["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: variable.get("value", "") for variable in container["env"]}


def test_it_is_guarded_unless_somebody_says_otherwise() -> None:
    assert Settings().metrics_auth
    assert environment(rendered({}))["SEAWALL_METRICS_AUTH"] == "true"


def test_the_secret_is_the_one_that_the_operator_fills_and_may_fill() -> None:
    objects = rendered({})
    assert environment(objects)["SEAWALL_METRICS_SECRET"] == NAME
    assert "data" not in named(objects, "Secret")
    (rule,) = named(objects, "Role")["rules"]
    assert (rule["resources"], rule["resourceNames"]) == (["secrets"], [NAME])
    assert rule["verbs"] == ["get", "create", "patch"]


def test_asking_about_tokens_is_all_that_it_may_do_in_the_whole_cluster() -> None:
    objects = rendered({})
    rules = named(objects, "ClusterRole")["rules"]
    assert [(rule["resources"], rule["verbs"]) for rule in rules] == [
        (["tokenreviews"], ["create"]),
        (["subjectaccessreviews"], ["create"]),
    ]
    (reader,) = named(objects, "ClusterRole", READER)["rules"]
    assert reader == {"nonResourceURLs": [PATH], "verbs": ["get"]}
    bound = {binding["roleRef"]["name"] for binding in of_kind(objects, "ClusterRoleBinding")}
    assert NAME in bound
    assert READER not in bound, "whom it is for is the administrator's to say"


def test_switched_off_it_leaves_nothing_behind() -> None:
    objects = rendered({"metrics.auth": "false"})
    assert not [made for made in objects if made["metadata"]["name"] in (NAME, READER)]
    assert environment(objects)["SEAWALL_METRICS_AUTH"] == "false"
    assert "SEAWALL_METRICS_SECRET" not in environment(objects)


def test_the_examples_trust_and_name_what_the_chart_makes() -> None:
    server = Keeper(FakeCluster(), "seawall-system", NAME).name
    monitor, binding, account, token = yaml.safe_load_all((EXAMPLES / "operator.yaml").read_text())
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["scheme"] == "https"
    assert endpoint["tlsConfig"]["serverName"] == server
    assert endpoint["tlsConfig"]["ca"]["secret"] == {"name": NAME, "key": "ca.crt"}
    assert endpoint["authorization"]["credentials"]["name"] == token["metadata"]["name"]
    assert binding["roleRef"]["name"] == READER
    assert binding["subjects"][0]["name"] == account["metadata"]["name"]
    config = yaml.safe_load((EXAMPLES / "scrape.yaml").read_text())
    (job,) = [job for job in config["scrape_configs"] if job["job_name"] == "seawall"]
    assert (job["scheme"], job["tls_config"]["server_name"]) == ("https", server)
    assert READER in (EXAMPLES / "scrape.yaml").read_text()

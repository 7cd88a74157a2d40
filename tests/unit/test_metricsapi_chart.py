"""That the chart's objects and the adapter speak of the same things."""

from __future__ import annotations

from typing import Any

import pytest

from seawall.metricsapi import frontproxy
from seawall.metricsapi.registration import API_SERVICES
from unit.test_chart import HELM, of_kind, rendered

pytestmark = pytest.mark.skipif(HELM is None, reason="helm is not built yet")
API = "seawall-metrics-api"


def named(objects: list[dict[str, Any]], kind: str, name: str = API) -> dict[str, Any]:
    (found,) = [made for made in of_kind(objects, kind) if made["metadata"]["name"] == name]
    return found


def test_the_api_is_registered_for_the_operators_service_without_an_authority() -> None:
    objects = rendered({})
    registered = {made["metadata"]["name"]: made["spec"] for made in of_kind(objects, "APIService")}
    assert sorted(registered) == sorted(ref.name for ref in API_SERVICES)
    for spec in registered.values():
        assert spec["service"] == {"name": API, "namespace": "seawall-system", "port": 443}
        assert not spec.keys() & {"caBundle", "insecureSkipTLSVerify"}
    preferred, older = (registered[ref.name]["versionPriority"] for ref in API_SERVICES)
    assert preferred > older
    pods = named(objects, "Deployment", "seawall")["spec"]["template"]["metadata"]["labels"]
    assert named(objects, "Service")["spec"]["selector"].items() <= pods.items()


def test_rights_end_at_the_objects_that_the_adapter_fills() -> None:
    objects = rendered({})
    assert "data" not in named(objects, "Secret")
    (secrets,) = named(objects, "Role")["rules"]
    assert (secrets["resourceNames"], secrets["verbs"]) == ([API], ["get", "create", "patch"])
    (services,) = named(objects, "ClusterRole")["rules"]
    assert services["resourceNames"] == [ref.name for ref in API_SERVICES]
    assert services["verbs"] == ["get", "patch"]
    readers = [b for b in of_kind(objects, "RoleBinding") if b["metadata"]["namespace"] == "kube-system"]
    assert [b["roleRef"]["name"] for b in readers] == [f"{frontproxy.CONFIG.name}-reader"]


def test_a_cluster_whose_api_belongs_to_others_is_not_registered_in() -> None:
    assert not of_kind(rendered({"metricsAPI.apiService": "false"}), "APIService")


def test_switched_off_it_leaves_nothing_behind() -> None:
    assert not [made for made in rendered({"metricsAPI.enabled": "false"}) if made["metadata"]["name"] == API]


@pytest.mark.parametrize("enabled", ["true", "false"])
def test_a_network_policy_lets_the_api_server_in_only_where_it_is_served(enabled: str) -> None:
    objects = rendered({"networkPolicy.enabled": "true", "metricsAPI.enabled": enabled})
    policies = [made for made in of_kind(objects, "NetworkPolicy") if made["metadata"]["name"] == API]
    assert [p["spec"]["ingress"] for p in policies] == (
        [[{"ports": [{"port": 6443}]}]] if enabled == "true" else []
    )

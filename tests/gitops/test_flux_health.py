"""The example's health expressions in real Flux: what it makes of each situation of a service and of a build."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

import pytest
import yaml

from apiserver.operators import Cluster, service
from gitops import builds, situations
from gitops.expected import BUILDS, EXPECTED, FLUX
from gitops.stand import EXAMPLE, Fleet, Object

pytestmark = pytest.mark.apiserver
ANYTHING = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}}


def test_flux_says_of_each_situation_what_argo_cd_says(fleet: Callable[..., Fleet], cluster: Cluster) -> None:
    here, namespace = fleet(), cluster.namespace(f"s-{uuid.uuid4().hex[:8]}")
    met: list[tuple[Object, str]] = []
    for name, live in sorted(situations.services().items()):
        met.append((service("x", namespace) | {"status": live["status"]}, FLUX[EXPECTED[name]]))
    met += [({**live}, FLUX[BUILDS[name]]) for name, live in sorted(builds.situations().items())]
    # Of what nobody has looked at Flux says nothing, and goes on waiting.
    met.append((service("x", namespace), "Unknown"))
    for number, (live, _) in enumerate(met):
        live["metadata"] = {"name": f"s{number}", "namespace": namespace}
        exists(here, live)
    files = {"any/cm.yaml": [{**ANYTHING, "metadata": {"name": "applied", "namespace": namespace}}]}
    here.repository.commit("anything", files)
    here.connect(path="./any")
    cluster.apply(*(checks(here, number, live) for number, (live, _) in enumerate(met)))

    here.until("each has been told", lambda: len(told := verdicts(here)) == len(met) and all(told.values()))
    assert verdicts(here) == {f"{here.name}-{number}": wanted for number, (_, wanted) in enumerate(met)}


def exists(here: Fleet, live: Object) -> None:
    """As if the operator, which looks elsewhere, had written the status."""
    plural = f"{live['kind'].lower()}s"
    path = f"apis/{live['apiVersion']}/namespaces/{live['metadata']['namespace']}/{plural}"
    here.played.api.call("POST", path, {key: value for key, value in live.items() if key != "status"})
    if "status" in live:
        status = {"status": {**live["status"], "observedGeneration": 1}}
        here.played.api.call("PATCH", f"{path}/{live['metadata']['name']}/status", status)


def checks(here: Fleet, number: int, live: Object) -> Object:
    """A Kustomization of nothing much, whose health is that of this object."""
    [example] = yaml.safe_load_all(EXAMPLE.read_text())
    one = {**{key: live[key] for key in ("apiVersion", "kind")}, **live["metadata"]}
    return {
        **{key: example[key] for key in ("apiVersion", "kind")},
        "metadata": {"name": f"{here.name}-{number}", "namespace": here.name},
        "spec": {
            "sourceRef": {"kind": "GitRepository", "name": here.name},
            "path": "./any",
            "namePrefix": f"k{number}-",
            "interval": "1h",
            "timeout": "30s",
            "prune": False,
            "healthChecks": [one],
            "healthCheckExprs": example["spec"]["healthCheckExprs"],
        },
    }


def verdicts(here: Fleet) -> dict[str, str]:
    """Of Flux, by Kustomization; nothing while it has none."""
    path = f"apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{here.name}/kustomizations"
    return {
        live["metadata"]["name"]: verdict(live)
        for live in here.played.api.items(path)
        if live["metadata"]["name"] != here.name
    }


def verdict(live: Object) -> str:
    told = live.get("status", {}).get("conditions", [])
    ready = next((c for c in told if c["type"] == "Ready"), {"status": "Unknown"})
    if ready["status"] == "True":
        return "Current"
    found = re.search(r"status: '(\w+)'", ready.get("message", ""))
    return found[1] if found and ready["status"] == "False" else ""

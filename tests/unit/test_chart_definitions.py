"""The chart that upgrades the definitions: the very ones, kept when it is removed; and what Helm tells at the end."""

from __future__ import annotations

import pytest
import yaml

from seawall.api import crd
from support.chart import CHART, CRDS, HELM, helm, of_kind, rendered

pytestmark = [pytest.mark.long, pytest.mark.skipif(HELM is None, reason="helm is not built yet")]
SHIPPED = sorted((yaml.safe_load(text) for text in crd.files().values()), key=lambda d: d["metadata"]["name"])
KEEP = {"helm.sh/resource-policy": "keep"}


@pytest.mark.parametrize("keep", ["true", "false"])
def test_the_definitions_are_those_of_the_models_and_kept_unless_told_otherwise(keep: str) -> None:
    made = of_kind(rendered({"keep": keep}, chart=CRDS), "CustomResourceDefinition")
    for definition in made:
        assert definition["metadata"].pop("annotations", {}) == (KEEP if keep == "true" else {})
    assert sorted(made, key=lambda d: d["metadata"]["name"]) == SHIPPED


def test_nobody_reads_classes_by_it_unless_named() -> None:
    assert not of_kind(rendered({}, chart=CRDS), "ClusterRoleBinding")
    chosen = {"classReaders[0].namespace": "team-a", "classReaders[0].name": "seawall"}
    (binding,) = of_kind(rendered(chosen, chart=CRDS), "ClusterRoleBinding")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "seawall", "namespace": "team-a"}]


TOLD = {
    "the defaults": ([], ["helm test seawall", "artifacts.uri is empty"]),
    "Roles alone": (
        ["rbac.clusterRoles=false", "watchNamespaces={team}", "metricsAPI.enabled=false"],
        ["--serviceaccount=place:seawall", "in team and nowhere else"],
    ),
    "no rights": (["rbac.create=false"], ["does not start before its rights"]),
    "one replica": (["replicas=1"], ["There is one replica"]),
    "a cache on nodes": (["modelCache.hostPath=/var/cache/models"], ["must not enforce Pod Security"]),
}


@pytest.mark.parametrize("case", TOLD)
def test_helm_ends_with_what_is_left_to_do(case: str) -> None:
    values, told = TOLD[case]
    settings = [word for value in values for word in ("--set", value)]
    words = ("install", "seawall", str(CHART), "--namespace", "place", "--dry-run=client", *settings)
    done = helm(*words)
    assert done.returncode == 0, done.stderr
    notes = done.stdout.rpartition("NOTES:")[2]
    assert [part for part in told if part not in notes] == []

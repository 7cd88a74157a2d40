"""A team installs Seawall for its own namespace: Roles alone, and one grant from whoever installed the definitions."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.chart_tour import Account, chart, settings_of, started
from apiserver.operators import Cluster, OperatorProcess, eventually, operator, service
from support.chart import CRDS, HELM, documents, of_kind, template

pytestmark = [pytest.mark.apiserver, pytest.mark.skipif(HELM is None, reason="helm is not built yet")]


def values(place: str) -> dict[str, str]:
    return {
        "watchNamespaces": f"{{{place}}}",
        "rbac.clusterRoles": "false",
        "metricsAPI.enabled": "false",
        "accelerators.install": "false",
        "artifacts.uri": "s3://artifacts/builds",
    }


@pytest.fixture
def team(cluster: Cluster) -> str:
    return cluster.namespace(f"team-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def reader(cluster: Cluster, team: str) -> Iterator[list[dict[str, Any]]]:
    """What the chart of the definitions grants on demand."""
    chosen = {"classReaders[0].namespace": team, "classReaders[0].name": "seawall"}
    done = template(chosen, "--show-only", "templates/readers.yaml", chart=CRDS, namespace="default")
    made = documents(done.stdout)
    cluster.apply(*made)
    yield made
    cluster.server.kubectl("delete", "-f", "-", stdin=yaml.safe_dump_all(made))


Begin = Callable[[], Any]


@pytest.fixture
def begin(cluster: Cluster, team: str, tmp_path: Path) -> Begin:
    return started(cluster, chart(values(team), team), team, "seawall", tmp_path)


def test_there_is_nothing_of_the_clusters_in_it(team: str) -> None:
    objects = chart(values(team), team)
    assert {made["metadata"].get("namespace") for made in objects} == {team}
    assert of_kind(objects, "Role")


def test_the_operator_serves_its_namespace_and_is_refused_nothing(
    cluster: Cluster, team: str, begin: Begin, reader: list[dict[str, Any]]
) -> None:
    elsewhere = cluster.namespace(f"other-{uuid.uuid4().hex[:8]}")
    with begin() as running:
        running.working()
        cluster.apply(
            service("plain", team),
            service("built", team, compression={"preset": "int8"}),
            service("plain", elsewhere),
        )
        cluster.settled("plain", team)
        eventually("the build has its Job", lambda: cluster.list("jobs", team))
        assert {"deployments", "services", "poddisruptionbudgets"} <= kinds(cluster, team)
        assert running.server.refused() == set()
        assert kinds(cluster, elsewhere) == set()
        touched = {
            event["objectRef"].get("namespace", "")
            for event in running.server.audit_events("")
            if event.get("objectRef", {}).get("resource") not in (None, "acceleratorclasses")
        }
        assert touched == {team}
    for place in (team, elsewhere):
        cluster.server.kubectl("delete", "swi", "--all", "-n", place)


def kinds(cluster: Cluster, place: str) -> set[str]:
    made = ("deployments", "services", "poddisruptionbudgets")
    return {kind for kind in made if cluster.list(kind, place)}


def test_without_the_grant_the_operator_ends_and_says_what_is_missing(
    cluster: Cluster, team: str, tmp_path: Path, begin: Begin
) -> None:
    with begin() as running:
        assert running.process.wait(timeout=60) == 2
    said = running.log.read_text()
    assert "AcceleratorClass cannot be listed" in said
    assert "may this account list it" in said


def test_two_teams_do_not_meet(
    cluster: Cluster, team: str, begin: Begin, reader: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Each with a release of the same name: neither reads or writes in the other's namespace."""
    with begin() as running:
        running.working()
        account = Account(cluster.server, team, "seawall", tmp_path)
        other = cluster.namespace(f"team-{uuid.uuid4().hex[:8]}")
        settings = settings_of(chart(values(other), other)) | {"namespace": team}
        intruder: OperatorProcess
        with operator(account, tmp_path / "intruder.log", account.user, **settings) as intruder:
            assert intruder.process.wait(timeout=60) == 2
        assert "cannot be listed" in intruder.log.read_text()

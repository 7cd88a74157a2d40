"""A shadow step on a real API server with the Gateway API's own definitions: its objects are taken as they are
sent, come and go in their order, and nothing is written again and again.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from seawall_cluster import modules

from apiserver.operators import Cluster, OperatorProcess, eventually, service
from apiserver.played import Played

pytestmark = [pytest.mark.apiserver, pytest.mark.long]
HERE = Path(__file__).resolve().parent
SHADOW = "digits-shadow"
NONE_DIFFER = {"start": "s1", "seen": 9000, "compared": 800, "doubled": 400, "repeats": True}
HTTP_ROUTE = "httproutes.gateway.networking.k8s.io"


class ShadowOperator(OperatorProcess):
    program = (str(HERE / "shadow_operator.py"),)


@pytest.fixture(scope="module", autouse=True)
def definitions(cluster: Cluster) -> Iterator[None]:
    chosen = [argument for path in modules.crds("gateway-api") for argument in ("-f", str(path))]
    cluster.server.kubectl("apply", "--server-side", *chosen)
    cluster.server.kubectl("wait", "--for=condition=Established", *chosen, "--timeout=30s")
    yield
    cluster.server.kubectl("delete", "--wait=true", *chosen)


class Scene:
    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        self.cluster, self.namespace = cluster, namespace
        self.tally, ends = folder / "tally.json", folder / "ends"
        self.tally.write_text(json.dumps(NONE_DIFFER))
        ends.mkdir()
        self.played = Played(cluster, namespace, folder / "counters.json")
        user = f"operator-{uuid.uuid4().hex[:8]}"
        self.operator = ShadowOperator(
            cluster.server,
            user,
            folder / "operator.log",
            lease_name=f"lease-{uuid.uuid4().hex[:8]}",
            watch_namespaces=f'["{namespace}"]',
            metrics_interval_seconds="1",
            test_counters=str(self.played.counters),
            test_ends=str(ends),
            test_tally=str(self.tally),
        )

    def close(self) -> None:
        self.operator.kill()
        self.played.api.close()

    def until(self, what: str, reached: Callable[[], Any]) -> None:
        def beat() -> bool:
            self.played.beat()
            if reached():
                return True
            time.sleep(0.2)
            return False

        eventually(what, beat, 90.0)

    @property
    def rollout(self) -> dict[str, Any]:
        live = self.cluster.get("swi", "digits", self.namespace) or {}
        found: dict[str, Any] = (live.get("status") or {}).get("rollout") or {}
        return found

    def shadow(self) -> list[str]:
        """Kinds of the comparator's objects that are there."""
        kinds = ("deployment", "service")
        return [kind for kind in kinds if self.cluster.get(kind, SHADOW, self.namespace) is not None]

    def fed(self) -> bool:
        live = self.cluster.get(HTTP_ROUTE, "digits", self.namespace) or {"spec": {"rules": [{}]}}
        return bool(live["spec"]["rules"][0].get("filters"))

    def generations(self) -> list[int]:
        kinds = {"deployment": SHADOW, "service": SHADOW, HTTP_ROUTE: "digits"}
        found = (self.cluster.get(kind, name, self.namespace) for kind, name in kinds.items())
        return [live["metadata"].get("generation", 1) for live in found if live is not None]


@pytest.fixture
def scene(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(cluster, namespace, tmp_path)
    yield made
    made.close()


def test_the_comparator_comes_and_goes_with_its_step(scene: Scene, cluster: Cluster, namespace: str) -> None:
    cluster.apply(
        service(
            "digits",
            namespace,
            scaling={"mode": "Fixed", "replicas": 1},
            routing={"gateways": [{"name": "public", "namespace": "infra"}], "hostnames": ["a.example.com"]},
            rollout={
                "steps": [{"shadow": {"percent": 5, "duration": "6s"}, "pause": True}],
                "analysis": {"window": "2s"},
            },
        )
    )
    scene.until("it serves", lambda: scene.rollout.get("phase") == "Idle")
    assert scene.shadow() == []
    cluster.patch("swi", "digits", namespace, {"spec": {"model": {"uri": "s3://models/digits-2.onnx"}}})
    scene.until("counts are judged", lambda: scene.rollout.get("comparator") == "s1")
    assert scene.shadow() == ["deployment", "service"]
    assert scene.fed()
    before = scene.generations()
    scene.until("the step is passed", lambda: "pause" in scene.rollout)
    assert scene.rollout["pause"]["reason"] == "StepPassed"
    assert "0 of 800 answers to live requests differ" in scene.rollout["pause"]["message"]
    assert before == [1, 1, 2], "nothing was sent twice"
    scene.until("it is gone", lambda: scene.shadow() == [])
    assert not scene.fed()


def test_a_model_that_answers_otherwise_never_has_traffic(
    scene: Scene, cluster: Cluster, namespace: str
) -> None:
    scene.tally.write_text(json.dumps(NONE_DIFFER | {"differ": 80, "only_candidate": 40}))
    cluster.apply(
        service(
            "digits",
            namespace,
            scaling={"mode": "Fixed", "replicas": 1},
            routing={"gateways": [{"name": "public", "namespace": "infra"}]},
            rollout={
                "strategy": "BlueGreen",
                "steps": [{"shadow": {"percent": 100, "duration": "10m"}}],
                "analysis": {"window": "2s"},
            },
        )
    )
    scene.until("it serves", lambda: scene.rollout.get("phase") == "Idle")
    cluster.patch("swi", "digits", namespace, {"spec": {"model": {"uri": "s3://models/digits-2.onnx"}}})
    scene.until("it is refused", lambda: scene.rollout.get("phase") == "RolledBack" and not scene.shadow())
    assert scene.rollout["lastRejected"]["reason"] == "AnswersDiffer"
    assert not scene.fed()

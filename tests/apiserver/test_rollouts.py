"""Two rollouts at once on a real API server with the Gateway API's own definitions, through four SIGKILLs of
whoever leads: a sound candidate takes over all the same, and a broken one goes.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from seawall_cluster import modules

from apiserver.operators import Cluster, OperatorProcess, eventually, service
from apiserver.played import History, Played

pytestmark = pytest.mark.apiserver
HERE = Path(__file__).resolve().parent
PODS = 3
PATIENCE = 120.0
QUICK_LEASE = {
    "lease_duration_seconds": "4",
    "lease_renew_deadline_seconds": "2.5",
    "lease_retry_seconds": "0.5",
    "write_timeout_seconds": "1.4",
    "metrics_interval_seconds": "1",
}
ENDS = {
    # between a weight in the first route and in the second; between a weight in the status and in the routes;
    # between the Service and the status
    "sound": ["HTTPRoute sound 25", "status sound Stepping 50", "Service sound"],
    # between the weight that leaves and the status
    "broken": ["HTTPRoute broken 0"],
}
BY_PODS = {
    # between two Services that select both; between pods in the status and pods that are made; between the
    # Service that has the candidate alone and the status
    "good": ["Service good-headless both", "status good Stepping 50", "Service good"],
    # between two Services that select one again
    "bad": ["Service bad"],
}


class Mortal(OperatorProcess):
    program = (str(HERE / "mortal_operator.py"),)


@pytest.fixture(scope="module", autouse=True)
def definitions(cluster: Cluster) -> Iterator[None]:
    chosen = [argument for path in modules.crds("gateway-api") for argument in ("-f", str(path))]
    cluster.server.kubectl("apply", "--server-side", *chosen)
    cluster.server.kubectl("wait", "--for=condition=Established", *chosen, "--timeout=30s")
    yield
    cluster.server.kubectl("delete", "--wait=true", *chosen)


class Drama:
    """Two operators at any time, and what they are to die of."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path, names: Iterable[str]) -> None:
        self.cluster, self.namespace, self.folder = cluster, namespace, folder
        self.ends = folder / "ends"
        self.ends.mkdir()
        for name in names:
            (self.ends / name).write_text("")
        self.played = Played(cluster, namespace, folder / "counters.json")
        self.history = History(cluster, namespace, folder)
        self.alive: list[Mortal] = []
        self.deaths = 0
        self._lease = f"lease-{uuid.uuid4().hex[:8]}"
        self.refill()

    def refill(self) -> None:
        ended = [one for one in self.alive if one.process.poll() is not None]
        assert all(one.process.returncode == -9 for one in ended), [
            one.log.read_text()[-3000:] for one in ended
        ]
        self.deaths += len(ended)
        self.alive = [one for one in self.alive if one not in ended]
        while len(self.alive) < 2:
            user = f"operator-{uuid.uuid4().hex[:8]}"
            settings = QUICK_LEASE | {
                "lease_name": self._lease,
                "watch_namespaces": f'["{self.namespace}"]',
                "test_counters": str(self.played.counters),
                "test_ends": str(self.ends),
            }
            self.alive.append(Mortal(self.cluster.server, user, self.folder / f"{user}.log", **settings))

    def close(self) -> None:
        for one in self.alive:
            one.kill()
        self.history.close()
        self.played.api.close()

    def until(self, what: str, reached: Callable[[], Any]) -> None:
        def beat() -> bool:
            self.refill()
            self.played.beat()
            if reached():
                return True
            time.sleep(0.2)
            return False

        eventually(what, beat, PATIENCE)

    def live(self, name: str) -> dict[str, Any]:
        path = f"apis/serving.seawall.dev/v1alpha1/namespaces/{self.namespace}/inferenceservices/{name}"
        found: dict[str, Any] = self.played.api.call("GET", path)
        return found

    def rollout(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = (self.live(name).get("status") or {}).get("rollout") or {}
        return found

    def revisions(self, name: str) -> set[str]:
        found = self.cluster.names("deployments", self.namespace)
        return {each.rpartition("-")[2] for each in found if each.startswith(f"{name}-")}

    def selected(self, name: str) -> str:
        live = self.cluster.get("service", name, self.namespace) or {}
        return str(live["spec"]["selector"]["serving.seawall.dev/revision"])


@pytest.fixture
def drama(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Drama]:
    made = Drama(cluster, namespace, tmp_path, (*ENDS, *BY_PODS))
    yield made
    made.close()


def routed(name: str, namespace: str) -> dict[str, Any]:
    return service(
        name,
        namespace,
        scaling={"mode": "Fixed", "replicas": PODS},
        routing={
            "gateways": [{"name": "public", "namespace": "infra"}],
            "hostnames": [f"{name}.example.com"],
            "grpcHostnames": [f"grpc.{name}.example.com"],
        },
        rollout={
            "rollbackWindow": "1s",
            "analysis": {"window": "2s", "warmup": {"requests": 0, "duration": "0s"}},
        },
    )


def test_two_rollouts_come_to_their_ends_through_four_ends_of_the_leader(
    drama: Drama, cluster: Cluster, namespace: str
) -> None:
    cluster.apply(*(routed(name, namespace) for name in ENDS))
    drama.until("both serve", lambda: all("stableRevision" in drama.rollout(name) for name in ENDS))
    before = {name: drama.rollout(name)["stableRevision"] for name in ENDS}
    drama.until("the routes are in force", lambda: all(ready(drama, name) for name in ENDS))

    for name, ends in ENDS.items():
        (drama.ends / name).write_text("\n".join(ends))
        uri = f"s3://models/{name}-2.onnx"
        cluster.patch("swi", name, namespace, {"spec": {"model": {"uri": uri}}})
    drama.until("the broken one is there", lambda: len(drama.revisions("broken")) == 2)
    [broken] = drama.revisions("broken") - {before["broken"]}
    drama.played.broken.add(broken)
    drama.until("both have ended", lambda: all(ended(drama, name) for name in ENDS))

    assert not [path.name for path in drama.ends.iterdir() if path.read_text()], "every end has been met"
    assert drama.deaths == 4
    [sound] = drama.revisions("sound")
    assert sound != before["sound"]
    assert drama.revisions("broken") == {before["broken"]}
    for name, revision in (("sound", sound), ("broken", before["broken"])):
        assert {drama.selected(each) for each in (name, f"{name}-headless", f"{name}-candidate")} == {
            revision
        }
    assert drama.rollout("sound")["history"][0]["outcome"] == "Promoted"
    assert drama.rollout("broken")["lastRejected"]["reason"] == "Regression"

    told = drama.history.told()
    for kind in ("HTTPRoute", "GRPCRoute"):
        suffix = "" if kind == "HTTPRoute" else "-grpc"
        assert weights(told, f"{kind} sound{suffix}") == [0, 25, 50, 100, 0]
        assert weights(told, f"{kind} broken{suffix}") == [0, 25, 0]
    for name in ENDS:
        no_raise_comes_first(told, name)


def split(name: str, namespace: str) -> dict[str, Any]:
    """By pods."""
    live = routed(name, namespace)
    del live["spec"]["routing"]
    live["spec"]["rollout"]["traffic"] = {"provider": "Replicas"}
    return live


def test_two_rollouts_by_pods_come_to_their_ends_through_four_ends_of_the_leader(
    drama: Drama, cluster: Cluster, namespace: str
) -> None:
    cluster.apply(*(split(name, namespace) for name in BY_PODS))
    drama.until("both serve", lambda: all("stableRevision" in drama.rollout(name) for name in BY_PODS))
    before = {name: drama.rollout(name)["stableRevision"] for name in BY_PODS}

    for name, ends in BY_PODS.items():
        (drama.ends / name).write_text("\n".join(ends))
        uri = f"s3://models/{name}-2.onnx"
        cluster.patch("swi", name, namespace, {"spec": {"model": {"uri": uri}}})
    drama.until("the bad one is there", lambda: len(drama.revisions("bad")) == 2)
    [bad] = drama.revisions("bad") - {before["bad"]}
    drama.played.broken.add(bad)
    drama.until("both have ended", lambda: all(ended(drama, name) for name in BY_PODS))

    assert not [path.name for path in drama.ends.iterdir() if path.read_text()], "every end has been met"
    assert drama.deaths == 4
    [good] = drama.revisions("good")
    assert good != before["good"]
    assert drama.revisions("bad") == {before["bad"]}
    assert drama.rollout("good")["history"][0]["outcome"] == "Promoted"
    assert drama.rollout("bad")["lastRejected"]["reason"] == "Regression"
    for name, revision in (("good", good), ("bad", before["bad"])):
        for each in (name, f"{name}-headless"):
            live = cluster.get("service", each, namespace) or {}
            assert live["spec"]["selector"] == {
                "serving.seawall.dev/inferenceservice": name, "serving.seawall.dev/revision": revision,
            }  # fmt: skip
            assert "serving.seawall.dev/stable-revision" not in live["metadata"]["annotations"]

    told = drama.history.told()
    assert weights(told, "InferenceService good") == [0, 25, 50, 0]
    assert weights(told, "InferenceService bad") == [0, 25, 0]
    for name in BY_PODS:
        recorded = 0
        for what, weight in told:
            if what == f"InferenceService {name}":
                recorded = weight
            assert weight == 0 or what not in (f"Service {name}", f"Service {name}-headless") or recorded, (
                told
            )
        for each in (name, f"{name}-headless"):
            assert weights(told, f"Service {each}") == [0, 1, 0]


def ready(drama: Drama, name: str) -> bool:
    conditions = drama.live(name)["status"]["conditions"]
    return any((c["type"], c["status"]) == ("Ready", "True") for c in conditions)


def ended(drama: Drama, name: str) -> bool:
    rollout = drama.rollout(name)
    return rollout.get("phase") in ("Idle", "RolledBack") and len(drama.revisions(name)) == 1


def weights(told: list[tuple[str, int]], what: str) -> list[int]:
    return [weight for each, weight in told if each == what]


def no_raise_comes_first(told: list[tuple[str, int]], name: str) -> None:
    """A route never gets more than the status has recorded by then."""
    named = (f"InferenceService {name}", f"HTTPRoute {name}", f"GRPCRoute {name}-grpc")
    now = dict.fromkeys(named, 0)
    for what, weight in told:
        if what in now:
            assert weight <= now[what] or "Route" not in what or weight <= now[f"InferenceService {name}"], (
                told
            )
            now[what] = weight

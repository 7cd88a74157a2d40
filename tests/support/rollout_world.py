"""What surrounds an operator while a rollout goes on: nodes, an autoscaler, a gateway, clients. All of it plays
on a cluster in memory and knows nothing of the operator.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from seawall.canary.window import Arm, Window
from seawall.decide.types import Manifest
from seawall.desired.names import REVISION_LABEL, STABLE_ANNOTATION
from seawall.runtime.kinds import labels_of
from support.routes import answered
from support.writelog import WriteLog, share_of

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
TICK, WINDOW = 5.0, 10.0
REQUESTS_PER_TICK = 1500.0
LATE, FAILED, BROKEN = 0.002, 0.0005, 0.06
"""Shares of requests: late and failed of a sound revision, failed of a broken one."""


@dataclass
class Clients:
    """Who has asked whom since the last window."""

    asked: Counter[str] = field(default_factory=Counter)
    windows: list[Window] = field(default_factory=list)
    handed: float = 0.0
    """requests of candidates in all windows"""


class Surroundings:
    def __init__(self, failing: float) -> None:
        """`failing`: share of the candidate's answers."""
        self.cluster = WriteLog(START)
        self.failing = failing
        self.busy = 1
        """pods that an autoscaler finds to be enough"""
        self.now = START
        self.clients = Clients()
        self.ages: dict[str, int] = {}
        """of each pod, in ticks"""
        self.taken: dict[tuple[str, str, str], tuple[int, bool]] = {}
        """of each route: the generation that the gateway has read, and whether it has said so"""

    # What the rest of the cluster does.

    def nodes(self) -> None:
        """Deployments get their pods, each of which is ready a while later."""
        wanted = {
            f"{deployment['metadata']['name']}-{number}": deployment
            for deployment in self.cluster.of("Deployment")
            for number in range(deployment["spec"]["replicas"])
        }
        for gone in self.ages.keys() - wanted.keys():
            del self.cluster.objects["Pod", "ns", gone], self.ages[gone]
        for name, deployment in sorted(wanted.items()):
            age = self.ages[name] = self.ages.get(name, -1) + 1
            if age < 2:
                self.cluster.add(_pod(name, deployment, ready=age > 0))
        for deployment in self.cluster.of("Deployment"):
            self._counted(deployment)

    def _counted(self, deployment: Manifest) -> None:
        name = deployment["metadata"]["name"]
        ages = [age for pod, age in self.ages.items() if pod.rpartition("-")[0] == name]
        status = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(ages),
            "updatedReplicas": len(ages),
            "availableReplicas": sum(age > 0 for age in ages),
        }
        if deployment.get("status") != status:
            deployment["status"] = status
            self.cluster.touch(deployment)

    def autoscaler(self) -> None:
        for hpa in self.cluster.of("HorizontalPodAutoscaler"):
            live = self.cluster.live("Deployment", hpa["spec"]["scaleTargetRef"]["name"])
            count = min(max(self.busy, hpa["spec"]["minReplicas"]), hpa["spec"]["maxReplicas"])
            if live["spec"]["replicas"] != count:
                live["spec"]["replicas"] = count
                live["metadata"]["generation"] += 1
                self.cluster.touch(live)

    def gateway(self) -> None:
        """Says of a route that it is in force, a while after it was written."""
        for route_ in self.routes():
            place = (route_["kind"], "ns", route_["metadata"]["name"])
            generation = route_["metadata"]["generation"]
            taken, told = self.taken.get(place, (0, False))
            self.taken[place] = (generation, taken == generation)
            if taken == generation and not told:
                self.cluster.touch(answered(route_))

    def traffic(self) -> None:
        """Requests go where the routes say; every other tick ends a window."""
        stable, candidate = (self.rollout.get(f"{role}Revision") for role in ("stable", "candidate"))
        share = max((share_of(live) for live in self.routes()), default=0) / 100
        asked = [(self.selected("digits"), 1 - share), (self.selected("digits-candidate"), share)]
        if self.both():
            share = self.of_pods()
            asked = [(self.selected("digits"), 1 - share), (candidate, share)]
        for revision, part in asked:
            if revision is not None:
                self.clients.asked[revision] += REQUESTS_PER_TICK * part  # type: ignore[assignment]
        if stable and (self.now - START).total_seconds() % WINDOW == 0:
            arms = self._arm(stable, FAILED), self._arm(candidate, self.failing)
            end = self.now.timestamp()
            self.clients.windows = [*self.clients.windows[-63:], Window(end, *arms, began=end - WINDOW)]
            self.clients.handed += float(arms[1].requests)
            self.clients.asked.clear()

    def _arm(self, revision: str | None, failing: float) -> Arm:
        asked = float(self.clients.asked[revision or ""])
        pods = self.ready(revision) if revision else 0
        return Arm(asked, asked * LATE, asked * failing, ready_pods=pods)

    # What there is to see.

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.live("InferenceService", "digits").get("status") or {}
        return found

    @property
    def rollout(self) -> dict[str, Any]:
        found: dict[str, Any] = self.status.get("rollout") or {}
        return found

    def routes(self) -> list[Manifest]:
        return [*self.cluster.of("HTTPRoute"), *self.cluster.of("GRPCRoute")]

    def share(self) -> int:
        """The highest of any route; of the ready pods, where Services select both revisions."""
        if self.both():
            return round(100 * self.of_pods())
        return max((share_of(live) for live in self.routes()), default=0)

    def of_pods(self) -> float:
        ready = [self.ready(str(self.rollout.get(f"{role}Revision"))) for role in ("candidate", "stable")]
        return ready[0] / max(1, sum(ready))

    def deployment(self, revision: str) -> Manifest:
        return self.cluster.live("Deployment", f"digits-{revision}")

    def revisions(self) -> set[str]:
        return {live["metadata"]["name"].rpartition("-")[2] for live in self.cluster.of("Deployment")}

    def ready(self, revision: str) -> int:
        return sum(
            labels_of(pod).get(REVISION_LABEL) == revision
            and pod["status"]["conditions"][0]["status"] == "True"
            for pod in self.cluster.of("Pod")
        )

    def selected(self, name: str) -> str | None:
        """The stable one of two."""
        live = self.cluster.objects.get(("Service", "ns", name))
        if live is None:
            return None
        stable = live["metadata"].get("annotations", {}).get(STABLE_ANNOTATION)
        found: str | None = live["spec"]["selector"].get(REVISION_LABEL) or stable
        return found

    def both(self) -> bool:
        """A Service selects the pods of both revisions."""
        lives = (self.cluster.objects.get(("Service", "ns", name)) for name in ("digits", "digits-headless"))
        return any(REVISION_LABEL not in live["spec"]["selector"] for live in lives if live is not None)


def _pod(name: str, deployment: Manifest, *, ready: bool) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": f"uid-{name}",
            "labels": deployment["spec"]["template"]["metadata"]["labels"],
        },
        "status": {
            "podIP": "10.0.0.9",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }

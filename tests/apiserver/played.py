"""What surrounds the operators of a rollout on a real API server without nodes: pods that are ready, a gateway
that takes routes in, clients that follow the weights. One thread plays all of it, a beat at a time.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from apiserver.operators import Cluster
from seawall.desired.names import REVISION_LABEL

REQUESTS_PER_SECOND = 1500.0
LATE, FAILED, BROKEN = 0.002, 0.0005, 0.06
WEIGHTS = {
    "httproutes.gateway.networking.k8s.io": "{.spec.rules[0].backendRefs[1].weight}",
    "grpcroutes.gateway.networking.k8s.io": "{.spec.rules[0].backendRefs[1].weight}",
    "inferenceservices": "{.status.rollout.desiredWeight}",
    "services": r"{.spec.selector.serving\.seawall\.dev/revision}",
}
ROUTES = "apis/gateway.networking.k8s.io/v1"


class Api:
    """Plain HTTP to the API server, by `kubectl proxy`: a process for each call would take all the time."""

    def __init__(self, server: Any) -> None:
        command = [str(server.programs["kubectl"]), f"--kubeconfig={server.kubeconfig}", "proxy", "--port=0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=server.environment())
        assert self.process.stdout is not None
        self.base = f"http://127.0.0.1:{self.process.stdout.readline().rpartition(':')[2].strip()}"

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = None if body is None else json.dumps(body).encode()
        request = Request(  # noqa: S310 - loopback
            f"{self.base}/{path}", data=data, method=method, headers={"Content-Type": kind}
        )
        try:
            with urlopen(request, timeout=10) as answer:  # noqa: S310
                return json.load(answer)
        except HTTPError as refused:
            if refused.code == 404:
                return None
            raise AssertionError(f"{method} {path}: {refused.read().decode()[:500]}") from refused

    def items(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("GET", path)["items"]
        return found


class Played:
    def __init__(self, cluster: Cluster, namespace: str, counters: Path) -> None:
        self.api = Api(cluster.server)
        self.namespace = namespace
        self.counters = counters
        self.broken: set[str] = set()
        """revisions"""
        self.pods: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
        """by name: answered, late, failed"""
        self._last = time.time()
        self._tell()

    def beat(self) -> None:
        deployments = self.api.items(f"apis/apps/v1/namespaces/{self.namespace}/deployments")
        pods = self.api.items(f"api/v1/namespaces/{self.namespace}/pods")
        self._nodes(deployments, pods)
        routes = [
            route
            for kind in ("httproutes", "grpcroutes")
            for route in self.api.items(f"{ROUTES}/namespaces/{self.namespace}/{kind}")
        ]
        for route in routes:
            self._take_in(route)
        services = self.api.items(f"api/v1/namespaces/{self.namespace}/services")
        self._clients(routes, services, pods)

    def _nodes(self, deployments: list[dict[str, Any]], pods: list[dict[str, Any]]) -> None:
        names = {pod["metadata"]["name"] for pod in pods}
        wanted = {
            f"{live['metadata']['name']}-{number}": live
            for live in deployments
            for number in range(live["spec"]["replicas"])
        }
        for gone in names - wanted.keys():
            self.api.call(
                "DELETE", f"api/v1/namespaces/{self.namespace}/pods/{gone}", {"gracePeriodSeconds": 0}
            )
        for name in sorted(wanted.keys() - names):
            self._pod(name, wanted[name])
        for live in deployments:
            count, generation = live["spec"]["replicas"], live["metadata"]["generation"]
            if (live.get("status") or {}).get("observedGeneration") != generation:
                told = dict.fromkeys(
                    ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), count
                )
                path = (
                    f"apis/apps/v1/namespaces/{self.namespace}/deployments/{live['metadata']['name']}/status"
                )
                self.api.call("PATCH", path, {"status": told | {"observedGeneration": generation}})

    def _pod(self, name: str, deployment: dict[str, Any]) -> None:
        path = f"api/v1/namespaces/{self.namespace}/pods"
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        container = {"name": "triton", "image": "example.test/triton:1"}
        spec = {"containers": [container], "serviceAccountName": "seawall-model"}
        self.api.call("POST", path, {"metadata": {"name": name, "labels": labels}, "spec": spec})
        ready = {"type": "Ready", "status": "True"}
        status = {"phase": "Running", "podIP": "10.99.0.1", "conditions": [ready]}
        self.api.call("PATCH", f"{path}/{name}/status", {"status": status})

    def _take_in(self, route: dict[str, Any]) -> None:
        meta, told = route["metadata"], (route.get("status") or {}).get("parents") or [{}]
        seen = [c["observedGeneration"] for c in told[0].get("conditions", ())]
        if seen == [meta["generation"]] * 2:
            return
        conditions = [
            {
                "type": type_, "status": "True", "observedGeneration": meta["generation"], "reason": "Told",
                "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
            for type_ in ("Accepted", "ResolvedRefs")
        ]  # fmt: skip
        parents = [
            {"parentRef": parent, "controllerName": "example.com/gateway", "conditions": conditions}
            for parent in route["spec"]["parentRefs"]
        ]
        path = f"{ROUTES}/namespaces/{self.namespace}/{route['kind'].lower()}s/{meta['name']}/status"
        self.api.call("PATCH", path, {"status": {"parents": parents}})

    def _clients(
        self, routes: list[dict[str, Any]], services: list[dict[str, Any]], pods: list[dict[str, Any]]
    ) -> None:
        now = time.time()
        selected = {live["metadata"]["name"]: live["spec"].get("selector") or {} for live in services}
        gateway = [route for route in routes if route["kind"] == "HTTPRoute"]
        backends = [each for route in gateway for each in route["spec"]["rules"][0]["backendRefs"]]
        routed = {backend["name"] for backend in backends}
        alone = [name for name in selected if name not in routed and "-" not in name]
        for backend in (*backends, *({"name": name, "weight": 100} for name in alone)):
            selector = selected.get(backend["name"], {})
            theirs = [
                pod["metadata"]
                for pod in pods
                if selector and selector.items() <= pod["metadata"]["labels"].items()
            ]
            asked = REQUESTS_PER_SECOND * (now - self._last) * backend["weight"] / 100
            for meta in theirs:
                broken = meta["labels"][REVISION_LABEL] in self.broken
                counters = self.pods[meta["name"]]
                for at, part in enumerate((1.0, LATE, BROKEN if broken else FAILED)):
                    counters[at] += asked * part / len(theirs)
        for pod in pods:
            self.pods[pod["metadata"]["name"]]  # it tells zeros before its first request
        self._last = now
        self._tell()

    def _tell(self) -> None:
        fresh = self.counters.with_suffix(".new")
        fresh.write_text(json.dumps({"at": self._last, "pods": self.pods}))
        fresh.replace(self.counters)


class History:
    """Every version of some objects, in the order in which the API server wrote them. A Service's weight is 1
    while it selects more than one revision."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        server = cluster.server
        self.files = {kind: folder / f"{kind}.history" for kind in WEIGHTS}
        self.processes = []
        for kind, path in WEIGHTS.items():
            line = f'{{.metadata.resourceVersion}}|{{.kind}} {{.metadata.name}}|{path}{{"\\n"}}'
            command = [
                str(server.programs["kubectl"]), f"--kubeconfig={server.kubeconfig}", "-n", namespace,
                "get", kind, "--watch", "-o", f"jsonpath={line}",
            ]  # fmt: skip
            with self.files[kind].open("wb") as sink:
                self.processes.append(subprocess.Popen(command, stdout=sink, env=server.environment()))

    def close(self) -> None:
        for process in self.processes:
            process.terminate()
            process.wait()

    def told(self) -> list[tuple[str, int]]:
        """(kind and name, weight), each change once."""
        found = []
        for file in self.files.values():
            for line in file.read_text().splitlines():
                version, what, weight = line.split("|")
                if what.startswith("Service "):
                    weight = "0" if weight else "1"
                found.append((int(version), what, int(weight or 0)))
        last: dict[str, int] = {}
        told = []
        for _, what, weight in sorted(set(found)):
            if last.get(what) != weight:
                last[what] = weight
                told.append((what, weight))
        return told

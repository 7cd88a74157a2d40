"""Real Flux, a real API server and the real operator; pods, the gateway and clients are played."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from seawall_cluster import binaries, flux
from seawall_cluster.processes import Daemon, free_ports, quiet_environment

from apiserver.operators import ROOT, Cluster, OperatorProcess, eventually
from apiserver.played import Played
from gitops.film import SERVICES, Audit, Film
from gitops.gitserver import GitServer, Repository

Object = dict[str, Any]
EXAMPLE = ROOT / "examples/gitops/repository/clusters/production/apps.yaml"
PATIENCE = 300.0


class Mortal(OperatorProcess):
    """The operator with played model servers, which nothing tells to end here."""

    program = (str(ROOT / "tests/apiserver/mortal_operator.py"),)


class Fleet:
    """One repository, and what follows from it."""

    def __init__(self, cluster: Cluster, folder: Path, namespace: str, gates: tuple[str, ...] = ()) -> None:
        self.cluster, self.folder, self.namespace = cluster, folder, namespace
        self.repository = Repository(folder)
        self.git = GitServer(self.repository.bare.parent)
        self.played = Played(cluster, namespace, folder / "counters.json")
        self.audit = Audit(cluster.server.audit_log)
        self.film = Film(self.played.api.base, namespace)
        self.name = f"fleet-{uuid.uuid4().hex[:8]}"
        cluster.namespace(self.name)
        self.users = {program: f"{program}-{self.name}" for program in flux.USERS}
        self.daemons = self._flux(gates)
        self.operator = self._operator()
        self.plays = True

    def _flux(self, gates: tuple[str, ...]) -> list[Daemon]:
        server, programs = self.cluster.server, binaries.ensure(flux.USERS)
        storage = self.folder / "storage"
        storage.mkdir()
        ports = flux.Ports(*free_ports(5))
        commands = {
            "source-controller": flux.source_command(programs["source-controller"], storage, ports),
            "kustomize-controller": flux.kustomize_command(
                programs["kustomize-controller"], ports, *gates, concurrent=60
            ),
        }
        daemons = []
        for program, command in commands.items():
            kubeconfig = server.kubeconfig_for(self.users[program], "system:masters")
            environment = quiet_environment() | flux.environment(kubeconfig, self.name)
            daemons.append(Daemon(program, command, self.folder / f"{program}.log", environment))
            daemons[-1].start(group=server._etcd.pid)
        return daemons

    def _operator(self) -> Mortal:
        ends = self.folder / "ends"
        ends.mkdir()
        settings = {
            "lease_name": f"lease-{self.name}",
            "watch_namespaces": f'["{self.namespace}"]',
            "metrics_interval_seconds": "1",
            "test_counters": str(self.played.counters),
            "test_ends": str(ends),
        }
        return Mortal(self.cluster.server, f"operator-{self.name}", self.folder / "operator.log", **settings)

    def close(self) -> None:
        self.operator.kill()
        for daemon in self.daemons:
            daemon.kill()
        self.git.close()
        self.played.api.close()

    def connect(self, **spec: Any) -> None:
        """What `flux bootstrap` leaves behind: a source and a Kustomization, with the example's health checks."""
        [example] = yaml.safe_load_all(EXAMPLE.read_text())
        del example["spec"]["dependsOn"]
        example["metadata"] = {"name": self.name, "namespace": self.name}
        example["spec"] |= {"sourceRef": {"kind": "GitRepository", "name": self.name}, **spec}
        self.cluster.apply(flux.git_repository(self.name, self.git.url("fleet.git"), self.name), example)

    # What happens.

    def beat(self) -> None:
        for one in self.daemons:
            assert one.running(), one.last_words(20)
        assert self.operator.process.poll() is None, self.operator.log.read_text()[-3000:]
        if self.plays:
            self.played.beat()

    def until(self, what: str, reached: Callable[[], Any], patience: float = PATIENCE) -> Any:
        def looked() -> Any:
            self.beat()
            value = reached()
            if not value:
                time.sleep(0.05)
            return value

        try:
            return eventually(what, looked, patience)
        except AssertionError as failed:
            both = (self.kustomization().get("status", {}), self.status)
            words = [
                f"{c['type']} {c['status']} {c['reason']}: {c['message']}"
                for s in both
                for c in s.get("conditions", ())
            ]
            said = "\n".join(
                [str(failed), str(both[0].get("lastAppliedRevision")), *words, str(self.rollout)]
            )
            raise AssertionError(said) from failed

    def fetch(self) -> None:
        """Somebody, or a webhook, tells Flux to look at the repository now."""
        self._request("gitrepositories", f"source.toolkit.fluxcd.io/v1/namespaces/{self.name}")

    def reconcile(self) -> None:
        """Flux compares everything with Git once more; returns when it has."""
        before = self.compared()
        self._request("kustomizations", f"kustomize.toolkit.fluxcd.io/v1/namespaces/{self.name}")
        self.until("Flux has compared", lambda: self.compared() > before)

    def _request(self, plural: str, place: str) -> None:
        word = {"reconcile.fluxcd.io/requestedAt": uuid.uuid4().hex}
        path = f"apis/{place}/{plural}/{self.name}"
        self.played.api.call("PATCH", path, {"metadata": {"annotations": word}})

    # What it has come to.

    def compared(self) -> int:
        """How often Flux has asked what applying the service would change."""
        tried = self.audit.owned(self.users["kustomize-controller"], dry=True)
        return tried.count("patch inferenceservices/minilm")

    def applied(self) -> list[str]:
        """What Flux has written of Seawall's resources."""
        return self.audit.owned(self.users["kustomize-controller"])

    def kustomization(self) -> Object:
        path = f"apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{self.name}/kustomizations/{self.name}"
        return dict(self.played.api.call("GET", path) or {})

    def fetched(self) -> str:
        """The revision that Flux has of the repository."""
        path = f"apis/source.toolkit.fluxcd.io/v1/namespaces/{self.name}/gitrepositories/{self.name}"
        return str(self.played.api.call("GET", path)["status"]["artifact"]["revision"])

    def told(self, type_: str = "Ready") -> tuple[str, str]:
        """Status and reason of a condition of the Kustomization."""
        found = self.kustomization().get("status", {}).get("conditions", [])
        return next(((c["status"], c["reason"]) for c in found if c["type"] == type_), ("", ""))

    def at(self, commit: str) -> bool:
        """Ready, with this commit."""
        status = self.kustomization().get("status", {})
        return status.get("lastAppliedRevision") == f"main@sha1:{commit}" and self.told()[0] == "True"

    def live(self, name: str = "minilm") -> Object:
        path = f"{SERVICES.format(namespace=self.namespace)}/{name}"
        return dict(self.played.api.call("GET", path) or {})

    @property
    def status(self) -> Object:
        return dict(self.live().get("status") or {})

    @property
    def rollout(self) -> Object:
        return dict(self.status.get("rollout") or {})

    def condition(self, type_: str) -> Object:
        return next((c for c in self.status.get("conditions", ()) if c["type"] == type_), {})

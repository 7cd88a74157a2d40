"""The operator under the chart's own rights, led through everything that it does with the API server.

Its ServiceAccount, Roles and settings are those that Helm renders. There is no controller: what garbage
collection would remove stays, so the operator meets the objects of services that are gone.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import yaml
from seawall_cluster import modules
from seawall_cluster.controlplane import ControlPlane
from seawall_cluster.fasttier import ApiServer

from apiserver.operators import ROOT, Cluster, OperatorProcess, eventually, free_port, operator, service
from apiserver.test_builds import refuse
from support.chart import documents, of_kind, template

SYSTEM = "seawall-system"
PARENT = {"name": "public", "namespace": "infra"}
MANAGED = "app.kubernetes.io/managed-by=seawall"
CHILDREN = (
    "deployments", "services", "poddisruptionbudgets", "networkpolicies", "serviceaccounts", "horizontalpodautoscalers",
    "scaledobjects", "podmonitors", "prometheusrules", "httproutes", "grpcroutes", "jobs", "modelbuilds",
)  # fmt: skip
SURVEY = 150.0
"""What no watch tells of is looked for once a minute."""
Object = dict[str, Any]


class GuardedPlane(ControlPlane):
    """Owner references that block a deletion need a right of their own here, as some providers have it."""

    def apiserver(self, *extra: str) -> list[str]:
        return super().apiserver(*extra, "--enable-admission-plugins=OwnerReferencesPermissionEnforcement")


class GuardedServer(ApiServer):
    def _start(self, manager: int | None) -> None:
        plain = self.plane
        self.plane = GuardedPlane(**{part.name: getattr(plain, part.name) for part in fields(plain)})
        super()._start(manager)


@contextmanager
def guarded_server() -> Iterator[ApiServer]:
    """With our definitions and those of everything that the operator can make use of."""
    server = GuardedServer()
    try:
        files = [str(ROOT / "crds")]
        files += [str(path) for name in ("keda", "monitoring", "gateway-api") for path in modules.crds(name)]
        chosen = [word for file in files for word in ("-f", file)]
        server.kubectl("apply", "--server-side", *chosen)
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        yield server
    finally:
        server.close()


class Account:
    """The API server as a ServiceAccount has it; stands where an operator's process looks for a server."""

    def __init__(self, server: Any, namespace: str, name: str, folder: Path) -> None:
        self.server = server
        self.user = f"system:serviceaccount:{namespace}:{name}"
        self.token = server.kubectl("create", "token", name, "-n", namespace, "--duration=1h").strip()
        config = yaml.safe_load(server.kubeconfig.read_text())
        config["users"] = [{"name": each["name"], "user": {"token": self.token}} for each in config["users"]]
        self._kubeconfig = folder / f"{namespace}-{name}.kubeconfig"
        self._kubeconfig.write_text(yaml.safe_dump(config))

    def kubeconfig_for(self, user: str, *groups: str) -> Path:
        return self._kubeconfig

    def environment(self) -> dict[str, str]:
        return dict(self.server.environment())

    def audit_events(self, user: str) -> list[Object]:
        return list(self.server.audit_events(self.user))

    def refused(self) -> set[str]:
        return {
            f"{event['verb']} {event['requestURI'].partition('?')[0]}"
            for event in self.audit_events(self.user)
            if event.get("responseStatus", {}).get("code") == 403
        }


def chart(values: Mapping[str, str], namespace: str, *more: str) -> list[Object]:
    done = template(values, "--no-hooks", *more, namespace=namespace)
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def settings_of(objects: list[Object]) -> dict[str, str]:
    """What the chart tells the operator, as an OperatorProcess takes it."""
    [deployment] = of_kind(objects, "Deployment")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    told = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    return {name.removeprefix("SEAWALL_").lower(): value for name, value in told.items()}


def installed(cluster: Cluster, objects: list[Object], port: int) -> None:
    """Applied as they are, but for the Service of the metrics API, which leads to a process of this machine."""
    for made in objects:
        if made["kind"] == "Service" and made["metadata"]["name"].endswith("-metrics-api"):
            made["spec"] = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}
        if made["kind"] == "APIService":
            made["spec"]["service"]["port"] = port
    cluster.server.kubectl(
        "apply", "--server-side", "--validate=strict", "-f", "-", stdin=yaml.safe_dump_all(objects)
    )


class Tour:
    def __init__(self, cluster: Cluster, running: OperatorProcess, namespace: str) -> None:
        self.cluster, self.running, self.namespace = cluster, running, namespace

    def services(self) -> list[Object]:
        place = self.namespace
        mounts = {"volumes": [{"name": "words", "configMap": {"name": "words"}}]}
        reader = service("reader", place, podTemplate={"spec": mounts})
        reader["spec"]["model"]["credentialsSecret"] = "store"
        routing = {"gateways": [PARENT], "hostnames": ["a.example"], "grpcHostnames": ["b.example"]}
        return [
            reader,
            service("scaled", place, scaling={"mode": "HPA", "minReplicas": 2, "maxReplicas": 9}),
            service("asked", place, scaling={"mode": "KEDA", "minReplicas": 2, "maxReplicas": 9}),
            service("routed", place, routing=routing),
            service("built", place, compression={"preset": "int8"}),
        ]

    def begin(self) -> None:
        meta = {"namespace": self.namespace}
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": meta | {"name": "store"}},
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta | {"name": "words"}},
            *self.services(),
        )
        self.everything_is_there()

    def everything_is_there(self) -> None:
        for name in ("scaled", "asked"):
            self.serves(name)
        self.until("there are", lambda uids, kind: bool(uids))

    def until(
        self, what: str, fits: Callable[[set[str], str], bool], kinds: Sequence[str] = CHILDREN
    ) -> None:
        """Of each kind the uids of the operator's objects fit."""

        def look() -> bool:
            now = self.uids()
            missing[:] = [kind for kind in kinds if not fits(now[kind], kind)]
            return not missing

        missing: list[str] = []
        try:
            eventually(what, look, SURVEY)
        except AssertionError:
            raise AssertionError(f"{what}: {', '.join(missing)}") from None

    def uids(self) -> dict[str, set[str]]:
        """By kind, of the operator's objects."""
        words = ("get", ",".join(CHILDREN), "-n", self.namespace, "-l", MANAGED, "-o", "json")
        found: dict[str, set[str]] = {kind: set() for kind in CHILDREN}
        for made in json.loads(self.cluster.server.kubectl(*words))["items"]:
            plural = f"{made['kind'].lower()}s".replace("ys", "ies")
            found[plural].add(made["metadata"]["uid"])
        return found

    def made(self, kind: str) -> list[str]:
        """Names of the operator's objects."""
        text = self.cluster.server.kubectl("get", kind, "-n", self.namespace, "-l", MANAGED, "-o", "name")
        return [line.partition("/")[2] for line in text.splitlines()]

    def serves(self, name: str) -> None:
        """As if its pods had answered: only what serves is given an autoscaler."""

        def own() -> list[str]:
            return [each for each in self.made("deployments") if each.startswith(f"{name}-")]

        [deployment] = eventually(f"{name} has its Deployment", own)
        rollout = {
            "stableRevision": deployment.rpartition("-")[2],
            "candidateRevision": None,
            "phase": "Idle",
        }
        self.status("swi", name, {"rollout": rollout})

    def status(self, kind: str, name: str, status: Object) -> None:
        self.cluster.server.kubectl(
            "patch", kind, name, "-n", self.namespace, "--subresource=status", "--type=merge",
            "-p", json.dumps({"status": status}),
        )  # fmt: skip

    def delete(self, *words: str) -> None:
        self.cluster.server.kubectl("delete", *words, "-n", self.namespace)

    def heals(self) -> None:
        """Somebody deletes each object, and the operator's own certificates; all is there again."""
        before = self.uids()
        self.delete(",".join(CHILDREN), "-l", MANAGED, "--wait=false")
        secrets = ("seawall-metrics-api", "seawall-metrics")
        self.cluster.server.kubectl("delete", "secret", *secrets, "-n", SYSTEM)
        self.until(
            "there are again", lambda uids, kind: len(uids) >= len(before[kind]) and not uids & before[kind]
        )
        for name in secrets:
            eventually(
                f"there is {name} again", lambda name=name: name in self.cluster.names("secret", SYSTEM)
            )

        self.heals_a_job()

    def heals_a_job(self) -> None:
        """Its build is known by then, so that who may have taken the Job's name is looked at first."""
        [build] = self.made("modelbuilds")
        words = ("get", "swb", build, "-n", self.namespace, "-o", "jsonpath={.status.phase}")
        eventually("the build has a phase", lambda: self.cluster.server.kubectl(*words).strip())
        gone = self.uids()["jobs"]
        self.delete("jobs", "-l", MANAGED)
        self.until("there is again", lambda uids, kind: bool(uids) and not uids & gone, ["jobs"])

    def changes(self) -> None:
        """A build is refused, which is an event; an autoscaler and routes are wanted no more."""
        [job] = self.made("jobs")
        refuse(self.cluster, self.namespace, job)
        fixed = service("scaled", self.namespace, scaling={"mode": "Fixed", "replicas": 2})
        self.cluster.apply(fixed, service("routed", self.namespace))
        gone = ("horizontalpodautoscalers", "httproutes", "grpcroutes", "jobs")
        self.until("there are no", lambda uids, kind: not uids, gone)

    def succeeds_itself(self) -> None:
        """Each service, and each build, goes and comes again under its name, beside what the first one left."""
        self.cluster.apply(*self.services())
        self.delete("swb", "--all")
        self.everything_is_there()
        left = self.uids()
        self.delete("swi", "--all")
        self.delete("swb", "--all")
        self.cluster.apply(*self.services())

        def replaced(uids: set[str], kind: str) -> bool:
            return bool(uids) and not uids & left[kind]

        self.until("the new services have", replaced, ["deployments"])
        for name in ("scaled", "asked"):
            self.serves(name)
        shared = ("networkpolicies", "serviceaccounts")
        self.until("the new services have", replaced, [kind for kind in CHILDREN if kind not in shared])

    def ends(self) -> None:
        """The last service goes: its build, and what services share, follow."""
        self.delete("swi", "--all")
        self.delete("deployments", "-l", MANAGED)

        def unused() -> bool:
            builds = self.made("modelbuilds")
            for name in builds:
                self.status("swb", name, {"unusedSince": "2020-01-01T00:00:00Z"})
            return not builds

        eventually("the build is gone", unused)
        self.until("there are no", lambda uids, kind: not uids, ["serviceaccounts", "networkpolicies"])


def scrape(running: OperatorProcess, token: str) -> int:
    """Asks for /metrics over TLS with a token; the status of the answer, 0 while nobody listens."""
    request = Request(
        f"https://127.0.0.1:{running.metrics_port}/metrics", headers={"Authorization": f"Bearer {token}"}
    )
    anyone = ssl._create_unverified_context()  # noqa: S323 - the certificate has tests of its own
    try:
        with urlopen(request, timeout=10, context=anyone) as answer:  # noqa: S310 - loopback
            return int(answer.status)
    except HTTPError as refused:
        return refused.code
    except URLError:
        return 0


def started(
    cluster: Cluster, objects: list[Object], namespace: str, name: str, folder: Path
) -> Callable[[], Any]:
    """A context with the operator that these objects install, running outside the cluster."""
    port = free_port()
    installed(cluster, objects, port)
    account = Account(cluster.server, namespace, name, folder)
    settings = settings_of(objects) | {"namespace": namespace}
    if "metrics_api_port" in settings:
        settings["metrics_api_port"] = str(port)
    return lambda: operator(account, folder / "operator.log", account.user, **settings)

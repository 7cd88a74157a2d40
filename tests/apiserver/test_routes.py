"""Routes as a real API server keeps them, with the Gateway API's own definitions."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import load_kube_config
from seawall_cluster import modules

from apiserver.operators import Cluster, eventually, service
from seawall.adapters.discovery import discover
from seawall.adapters.kube import KubeCluster
from seawall.api.v1alpha1 import InferenceServiceSpec
from seawall.decide.rollout_state import Routes
from seawall.decide.routes import (
    own_routes,
    route_deletions,
    route_manifests,
    route_patches,
    routes_of,
)
from seawall.decide.types import Capabilities, Manifest, ObjectRef, Observed, Plan
from seawall.desired.inputs import Platform
from seawall.desired.names import Owner
from seawall.desired.routes import API_VERSION
from seawall.ports import ApiRejected, ApiUnavailable
from seawall.runtime.route_reader import RoutesRead, read_routes
from seawall.runtime.route_writer import RoutesWritten, RouteWriter

pytestmark = pytest.mark.apiserver
SERVED = Capabilities(gateway_api=True, grpc_routes=True)
PARENT = {"name": "public", "namespace": "infra"}
OWN = {"routing": {"gateways": [PARENT], "hostnames": ["a.example.com"], "grpcHostnames": ["b.example.com"]}}
NAMED = {"rollout": {"traffic": {"httpRoute": "theirs"}}}
MARK: list[Manifest] = [{"metadata": {"name": "digits-candidate"}}]
ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "routes-as-in-the-chart", "labels": {"test": "routes"}},
    "rules": [
        {
            "apiGroups": ["gateway.networking.k8s.io"],
            "resources": ["httproutes", "grpcroutes"],
            "verbs": ["get", "create", "patch", "delete"],
        }
    ],
}


@pytest.fixture(scope="module", autouse=True)
def definitions(cluster: Cluster) -> Iterator[None]:
    chosen = [argument for path in modules.crds("gateway-api") for argument in ("-f", str(path))]
    cluster.server.kubectl("apply", "--server-side", *chosen)
    cluster.server.kubectl("wait", "--for=condition=Established", *chosen, "--timeout=30s")
    cluster.apply(ROLE)
    yield
    cluster.server.kubectl("delete", "--wait=true", *chosen)
    cluster.server.kubectl("delete", "clusterrole,clusterrolebinding", "-l", "test=routes")


@asynccontextmanager
async def client_of(server: Any, user: str) -> AsyncIterator[ApiClient]:
    config = Configuration()
    kubeconfig = str(server.kubeconfig_for(user))
    await load_kube_config(kubeconfig, client_configuration=config, persist_config=False)
    config.retries = None
    client = ApiClient(config)
    try:
        yield client
    finally:
        await client.close()


class Scene:
    """One service's routes, looked at and written by a user with the chart's rights and no others."""

    def __init__(self, cluster: Cluster, namespace: str, user: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.user = user
        self.uid = str(uuid.uuid4())
        self.service = self.of({})

    def of(self, spec: dict[str, Any]) -> Manifest:
        made = service("digits", self.namespace, **spec)
        made["metadata"]["uid"] = self.uid
        return made

    def wants(self, **spec: Any) -> None:
        self.service = self.of(spec)

    @property
    def owner(self) -> Owner:
        return Owner("digits", self.namespace, self.uid)

    @property
    def spec(self) -> InferenceServiceSpec:
        return InferenceServiceSpec.model_validate(self.service["spec"])

    def observed(self, read: RoutesRead) -> Observed:
        return Observed(
            service=self.service,
            platform=Platform("operator:1"),
            now=datetime(2026, 1, 1, tzinfo=UTC),
            routes=read.found,
            route_problems=read.problems,
            capabilities=SERVED,
        )

    def decided(self, read: RoutesRead, weight: int) -> Plan:
        observed = self.observed(read)
        return Plan(
            routes=route_manifests(observed, self.owner, self.spec, weight),
            route_patches=route_patches(observed, self.spec, weight),
            route_deletions=route_deletions(observed, self.owner, self.spec),
        )

    def with_cluster(self, act: Callable[[KubeCluster], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            async with client_of(self.cluster.server, self.user) as client:
                return await act(KubeCluster(client))

        return asyncio.run(run())

    def read(self) -> RoutesRead:
        found: RoutesRead = self.with_cluster(lambda c: read_routes(c, self.service, MARK, SERVED))
        return found

    def write(self, read: RoutesRead, weight: int) -> RoutesWritten:
        plan = self.decided(read, weight)
        done: RoutesWritten = self.with_cluster(
            lambda c: RouteWriter(c).write(self.service, read.found, plan)
        )
        return done

    def look(self, weight: int) -> RoutesWritten:
        return self.write(self.read(), weight)

    def shown(self) -> Routes | None:
        return routes_of(self.observed(self.read()), self.spec)

    def live(self, kind: str, name: str) -> Manifest:
        found = self.cluster.get(kind, name, self.namespace)
        assert found is not None
        return found

    def weights(self, kind: str, name: str) -> list[list[tuple[str, int]]]:
        rules = self.live(kind, name)["spec"]["rules"]
        return [[(r["name"], r["weight"]) for r in rule["backendRefs"]] for rule in rules]

    def versions(self) -> set[str]:
        kinds = "httproutes.gateway.networking.k8s.io", "grpcroutes.gateway.networking.k8s.io"
        found = (o for kind in kinds for o in self.cluster.list(kind, self.namespace))
        return {f"{o['kind']} {o['metadata']['resourceVersion']}" for o in found}

    def answer(self, kind: str, name: str, **status: str) -> None:
        """As a Gateway would: both conditions at the present generation."""
        live = self.live(kind, name)
        conditions = [
            {
                "type": type_,
                "status": status.get(type_, "True"),
                "observedGeneration": live["metadata"]["generation"],
                "reason": "Told",
                "message": "as told",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
            for type_ in ("Accepted", "ResolvedRefs")
        ]
        parent = {"parentRef": PARENT, "controllerName": "example.com/gateway", "conditions": conditions}
        self.cluster.server.kubectl(
            *("patch", kind, name, "-n", self.namespace, "--subresource=status", "--type=merge"),
            *("-p", json.dumps({"status": {"parents": [parent]}})),
        )


@pytest.fixture
def scene(cluster: Cluster, namespace: str) -> Scene:
    user = f"routes-{uuid.uuid4().hex[:8]}"
    cluster.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": user, "labels": {"test": "routes"}},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "routes-as-in-the-chart",
            },
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }
    )
    return Scene(cluster, namespace, user)


def theirs(namespace: str, *rules: dict[str, Any]) -> Manifest:
    """A route as its owner writes it: no defaults."""
    return {
        "apiVersion": API_VERSION,
        "kind": "HTTPRoute",
        "metadata": {"name": "theirs", "namespace": namespace},
        "spec": {"parentRefs": [PARENT], "rules": list(rules)},
    }


def by_someone(cluster: Cluster, made: Manifest) -> None:
    """As GitOps does: server-side apply by a manager of its own."""
    cluster.server.kubectl(
        "apply", "--server-side", "--field-manager=gitops", "-f", "-", stdin=yaml.safe_dump(made)
    )


def test_the_gateway_api_is_found(cluster: Cluster) -> None:
    async def ask() -> tuple[bool, bool]:
        async with client_of(cluster.server, "plain-user") as client:
            served = await discover(client)
            return served.gateway_api, served.grpc_routes

    eventually("both kinds are found", lambda: asyncio.run(ask()) == (True, True))


def test_routes_of_ours_are_kept_as_they_are_applied(scene: Scene) -> None:
    """With unknown fields refused rather than dropped, and every default spelt out already."""
    scene.wants(**OWN)
    for made in own_routes(scene.owner, scene.spec, 10):
        answer = scene.cluster.server.kubectl(
            *("apply", "--server-side", "--field-manager=seawall", "--validate=strict"),
            *("-o", "json", "-f", "-"),
            stdin=yaml.safe_dump(made),
        )
        assert json.loads(answer)["spec"] == made["spec"]


def test_applying_twice_writes_nothing_and_a_weight_writes_once(scene: Scene) -> None:
    scene.wants(**OWN)
    assert scene.look(0).problems == []
    before = scene.versions()
    assert not scene.look(0).tried
    assert scene.look(10).problems == []
    assert scene.weights("httproute", "digits") == [[("digits", 90), ("digits-candidate", 10)]]
    assert scene.weights("grpcroute", "digits-grpc") == [[("digits", 90), ("digits-candidate", 10)]]
    assert not (scene.versions() & before)
    assert scene.live("httproute", "digits")["metadata"]["generation"] == 2
    assert not scene.look(10).tried


def test_a_forgotten_record_costs_no_write_either(scene: Scene) -> None:
    """An apply of what is there already: the server writes nothing."""
    scene.wants(**OWN)
    scene.look(10)
    before = scene.versions()
    plan = Plan(routes=tuple(own_routes(scene.owner, scene.spec, 10)))
    read = scene.read()
    scene.with_cluster(lambda c: RouteWriter(c).write(scene.service, read.found, plan))
    assert scene.versions() == before


def test_what_the_gateways_say_is_read_at_the_generation_that_counts(scene: Scene) -> None:
    scene.wants(**OWN)
    assert (scene.shown() or Routes(None)).problem == "RouteNotFound"
    scene.look(10)
    waiting = scene.shown()
    assert waiting is not None
    assert (waiting.weight, waiting.most, waiting.settled, waiting.problem) == (10, 10, False, "")
    scene.answer("httproute", "digits")
    scene.answer("grpcroute", "digits-grpc")
    assert scene.shown() == Routes(weight=10, most=10, settled=True)
    assert not scene.look(10).tried  # a status is none of ours
    scene.look(20)
    assert (scene.shown() or Routes(None)).settled is False
    scene.answer("httproute", "digits")
    scene.answer("grpcroute", "digits-grpc", ResolvedRefs="False")
    refused = scene.shown()
    assert refused is not None
    assert (refused.settled, refused.problem) == (False, "RouteRefsNotResolved")
    assert "Gateway infra/public cannot resolve the backends of GRPCRoute digits-grpc" in refused.message


def test_a_route_of_ours_that_somebody_edits_is_set_back_once(scene: Scene) -> None:
    scene.wants(**OWN)
    scene.look(10)
    edit = [{"op": "replace", "path": "/spec/rules/0/backendRefs/1/weight", "value": 90}]
    scene.cluster.patch("httproute", "digits", scene.namespace, edit, "json")  # type: ignore[arg-type]
    assert (scene.shown() or Routes(None)).most == 50
    assert scene.look(10).tried
    assert scene.weights("httproute", "digits") == [[("digits", 90), ("digits-candidate", 10)]]
    assert not scene.look(10).tried


def test_host_names_that_somebody_adds_to_a_route_of_ours_start_no_fight(scene: Scene) -> None:
    scene.wants(routing={"gateways": [PARENT]})
    scene.look(0)
    scene.cluster.patch("httproute", "digits", scene.namespace, {"spec": {"hostnames": ["x.example.com"]}})
    assert not scene.look(0).tried


def test_routes_of_ours_go_when_routing_goes(scene: Scene) -> None:
    scene.wants(**OWN)
    scene.look(0)
    by_someone(scene.cluster, theirs(scene.namespace, {"backendRefs": [{"name": "digits", "port": 8000}]}))
    scene.wants(routing={"gateways": [PARENT]})
    scene.look(0)
    assert scene.cluster.names("grpcroutes", scene.namespace) == set()
    scene.wants()
    assert scene.look(0).routes == ()
    assert scene.cluster.names("httproutes", scene.namespace) == {"theirs"}


def test_a_route_of_that_name_that_is_somebody_elses_is_not_touched(scene: Scene) -> None:
    made = theirs(scene.namespace, {"backendRefs": [{"name": "shop", "port": 80}]})
    made["metadata"]["name"] = "digits"
    by_someone(scene.cluster, made)
    before = scene.versions()
    scene.wants(**OWN)
    late = RoutesRead()  # as if it had come just after the reading
    for read in (scene.read(), late):
        assert ("HTTPRoute", "NameConflict") in [
            (p.ref.kind, p.reason) for p in scene.write(read, 10).problems
        ]
        assert before <= scene.versions()
    assert (scene.shown() or Routes(None)).problem == "NameConflict"
    scene.wants()
    scene.look(0)
    assert scene.versions() == before


def test_weights_are_set_in_somebodys_route_and_nothing_else_is(scene: Scene) -> None:
    rules = [
        {
            "matches": [{"path": {"type": "PathPrefix", "value": "/v2"}}],
            "filters": [
                {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["x-internal"]}}
            ],
            "timeouts": {"request": "10s"},
            "backendRefs": [
                {"name": "legacy", "port": 80, "weight": 50},
                {"name": "digits", "port": 8000, "weight": 150},
            ],
        },
        {"backendRefs": [{"name": "digits", "port": 8000}]},
        {
            "matches": [{"path": {"type": "PathPrefix", "value": "/docs"}}],
            "backendRefs": [{"name": "docs", "port": 80}],
        },
    ]
    by_someone(scene.cluster, theirs(scene.namespace, *rules))
    scene.wants(**NAMED)
    before = scene.live("httproute", "theirs")
    assert not scene.look(0).tried
    assert scene.look(10).problems == []
    assert scene.weights("httproute", "theirs") == [
        [("legacy", 50), ("digits", 135), ("digits-candidate", 15)],
        [("digits", 90), ("digits-candidate", 10)],
        [("docs", 1)],
    ]
    assert not scene.look(10).tried
    scene.look(0)
    after = scene.live("httproute", "theirs")
    assert scene.weights("httproute", "theirs") == [
        [("legacy", 50), ("digits", 150), ("digits-candidate", 0)],
        [("digits", 100), ("digits-candidate", 0)],
        [("docs", 1)],
    ]
    assert without_backends(after) == without_backends(before)
    assert "ownerReferences" not in after["metadata"]
    managers = {entry["manager"] for entry in after["metadata"]["managedFields"]}
    assert managers == {"gitops", "seawall-routes"}


def without_backends(live: Manifest) -> list[Any]:
    rules = [{k: v for k, v in rule.items() if k != "backendRefs"} for rule in live["spec"]["rules"]]
    return [{**live["spec"], "rules": rules}, live["metadata"].get("labels")]


def test_an_edit_at_the_same_moment_wins_and_the_next_look_follows_it(scene: Scene) -> None:
    by_someone(scene.cluster, theirs(scene.namespace, {"backendRefs": [{"name": "digits", "port": 8000}]}))
    scene.wants(**NAMED)
    read = scene.read()
    edit = [{"op": "add", "path": "/spec/rules/0/backendRefs/0", "value": {"name": "shop", "port": 80}}]
    scene.cluster.patch("httproute", "theirs", scene.namespace, edit, "json")  # type: ignore[arg-type]
    with pytest.raises(ApiUnavailable, match="it has just changed"):
        scene.write(read, 10)
    assert scene.weights("httproute", "theirs") == [[("shop", 1), ("digits", 1)]]
    assert (scene.shown() or Routes(None)).problem == "RouteWeightsTooSmall"
    assert not scene.look(10).tried
    share = [{"op": "replace", "path": "/spec/rules/0/backendRefs/1/weight", "value": 200}]
    scene.cluster.patch("httproute", "theirs", scene.namespace, share, "json")  # type: ignore[arg-type]
    scene.look(10)
    assert scene.weights("httproute", "theirs") == [[("shop", 1), ("digits", 180), ("digits-candidate", 20)]]


def test_a_route_with_no_room_for_one_more_is_refused_in_the_servers_own_words(scene: Scene) -> None:
    full = [{"name": f"shop-{n}", "port": 80} for n in range(15)]
    ours = {"name": "digits", "port": 8000, "weight": 100}
    by_someone(scene.cluster, theirs(scene.namespace, {"backendRefs": [*full, ours]}))
    scene.wants(**NAMED)
    (problem,) = scene.look(10).problems
    assert (problem.ref.name, problem.reason) == ("theirs", "Rejected")
    assert "must have at most 16 items" in problem.message
    assert scene.weights("httproute", "theirs")[0][-1] == ("digits", 100)


def test_a_route_that_has_gone_is_nobodys(scene: Scene) -> None:
    by_someone(scene.cluster, theirs(scene.namespace, {"backendRefs": [{"name": "digits", "port": 8000}]}))
    scene.wants(**NAMED)
    read = scene.read()
    scene.cluster.server.kubectl("delete", "httproute", "theirs", "-n", scene.namespace)
    written = scene.write(read, 10)
    assert (written.routes, written.problems) == ((), [])
    assert (scene.shown() or Routes(None)).problem == "RouteNotFound"


def test_rights_that_are_missing_are_told_in_a_sentence(scene: Scene) -> None:
    scene.user = "nobody-in-particular"
    scene.wants(**NAMED)
    shown = scene.shown()
    assert shown is not None
    assert (shown.weight, shown.settled, shown.problem) == (None, False, "RouteUnreadable")
    assert "HTTPRoute theirs may not be read" in shown.message
    assert "nobody-in-particular" in shown.message
    ref = ObjectRef(API_VERSION, "HTTPRoute", scene.namespace, "theirs")
    with pytest.raises(ApiRejected):
        scene.with_cluster(lambda c: c.patch(ref, ({"op": "add", "path": "/spec/hostnames", "value": []},)))


def test_a_route_that_ours_would_merge_into_without_a_word_is_left_as_it_was(scene: Scene) -> None:
    """The server finds no conflict where the other one has said nothing that we say."""
    made = theirs(scene.namespace)
    made["metadata"] |= {"name": "digits", "labels": {"team": "shop"}}
    made["spec"] = {"hostnames": ["shop.example.com"]}
    by_someone(scene.cluster, made)
    before = scene.live("httproute", "digits")
    scene.wants(routing={"gateways": [PARENT]})
    (problem,) = scene.write(RoutesRead(), 10).problems
    assert problem.reason == "NameConflict"
    after = scene.live("httproute", "digits")
    assert after["spec"] == before["spec"]
    assert after["metadata"]["labels"] == {"team": "shop"}
    assert "ownerReferences" not in after["metadata"]

"""Routes are read one by one, written without touching what is others', and never on an old version."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from seawall.api.v1alpha1 import InferenceServiceSpec
from seawall.decide.routes import own_routes, route_deletions, route_manifests, route_patches
from seawall.decide.types import Capabilities, Manifest, ObjectRef, Observed, Plan
from seawall.desired.inputs import Platform
from seawall.desired.names import Owner
from seawall.ports import ApiConflict, ApiRejected, ApiUnavailable
from seawall.runtime.route_reader import RoutesRead, read_routes
from seawall.runtime.route_writer import RoutesWritten, RouteWriter
from support.fakecluster import FakeCluster
from support.routes import GRPC_OWN, HTTP_OWN, PARENT, answered, digits, ref, route
from support.scene import KEY
from support.scene import Scene as Town

SERVED = Capabilities(gateway_api=True, grpc_routes=True)
OWNER = Owner("digits", "ns", "uid-digits")
OWN: dict[str, Any] = {
    "routing": {
        "gateways": [{"name": "public", "namespace": "infra"}],
        "hostnames": ["a.example.com"],
        "grpcHostnames": ["b.example.com"],
    }
}
NAMED: dict[str, Any] = {"rollout": {"traffic": {"httpRoute": "theirs", "grpcRoute": "calls"}}}
STABLE, CANDIDATE = ref("digits"), ref("digits-candidate")
MARK: Manifest = {"metadata": {"name": "digits-candidate"}}


class Scene:
    def __init__(self, **spec: Any) -> None:
        self.cluster = FakeCluster()
        self.service = digits(**spec)

    def put(self, *routes: Manifest) -> None:
        for made in routes:
            self.cluster.add(made, made["metadata"]["managedFields"][0]["manager"])

    def live(self, at: ObjectRef) -> Manifest:
        return self.cluster.objects[(at.kind, at.namespace, at.name)]

    def weights(self, at: ObjectRef) -> list[int]:
        return [r["weight"] for r in self.live(at)["spec"]["rules"][0]["backendRefs"]]

    async def read(self, services: Sequence[Manifest] = ()) -> RoutesRead:
        return await read_routes(self.cluster, self.service, services, SERVED)

    async def look(self, weight: int, *, services: Sequence[Manifest] = (MARK,)) -> RoutesWritten:
        return await self.write(await self.read(services), weight)

    async def write(self, read: RoutesRead, weight: int) -> RoutesWritten:
        spec = InferenceServiceSpec.model_validate(self.service["spec"])
        observed = Observed(
            service=self.service,
            platform=Platform("operator:1"),
            now=datetime(2026, 1, 1, tzinfo=UTC),
            routes=read.found,
            route_problems=read.problems,
            capabilities=SERVED,
        )
        decided = Plan(
            routes=route_manifests(observed, OWNER, spec, weight),
            route_patches=route_patches(observed, spec, weight),
            route_deletions=route_deletions(observed, OWNER, spec),
        )
        return await RouteWriter(self.cluster).write(self.service, observed.routes, decided)


# Reading.


async def test_only_what_may_exist_is_asked_for() -> None:
    scene = Scene()
    assert await scene.read() == RoutesRead([], {})
    assert scene.cluster.calls == {}
    await scene.read([MARK])
    assert scene.cluster.calls == {"get HTTPRoute": 1, "get GRPCRoute": 1}


async def test_where_no_routes_are_served_nobody_is_asked() -> None:
    scene = Scene(**OWN)
    assert await read_routes(scene.cluster, scene.service, [MARK], Capabilities()) == RoutesRead()
    assert scene.cluster.calls == {}


async def test_a_spec_that_cannot_be_read_names_no_routes() -> None:
    scene = Scene(**OWN, model="nonsense")
    assert await scene.read([MARK]) == RoutesRead()


async def test_what_may_not_be_read_is_told_beside_the_rest() -> None:
    scene = Scene(**OWN)
    scene.put(route("digits-grpc", [STABLE(1)], kind="GRPCRoute"))
    scene.cluster.fail("get", ApiRejected("httproutes is forbidden:\n no"), kind="HTTPRoute")
    read = await scene.read()
    assert [found["kind"] for found in read.found] == ["GRPCRoute"]
    assert read.problems == {HTTP_OWN: "HTTPRoute digits may not be read: httproutes is forbidden: no"}


async def test_nobody_there_is_not_called_absent() -> None:
    scene = Scene(**OWN)
    scene.cluster.fail("get", ApiUnavailable("away"))
    with pytest.raises(ApiUnavailable):
        await scene.read()


# Our own.


async def test_our_own_are_made_once_and_changed_with_one_write_each() -> None:
    scene = Scene(**OWN)
    made = await scene.look(0)
    assert (made.tried, made.problems) == (True, [])
    assert [m["kind"] for m in made.routes] == ["HTTPRoute", "GRPCRoute"]
    again = await scene.look(0)
    assert not again.tried
    assert scene.cluster.writes() == 2
    await scene.look(10)
    assert scene.cluster.writes() == 4
    assert scene.weights(HTTP_OWN) == scene.weights(GRPC_OWN) == [90, 10]


async def test_what_was_written_is_handed_back() -> None:
    scene = Scene(**OWN)
    made = await scene.look(0)
    versions = [m["metadata"]["resourceVersion"] for m in made.routes]
    raised = await scene.look(10)
    assert [m["metadata"]["generation"] for m in raised.routes] == [2, 2]
    assert versions != [m["metadata"]["resourceVersion"] for m in raised.routes]


async def test_somebody_elses_route_of_our_name_is_never_touched() -> None:
    scene = Scene(**OWN)
    scene.put(route("digits", [STABLE(1)]))
    before = copy.deepcopy(scene.live(HTTP_OWN))
    written = await scene.look(0)
    (problem,) = written.problems
    assert (problem.ref, problem.reason) == (HTTP_OWN, "NameConflict")
    assert scene.live(HTTP_OWN) == before
    assert scene.live(GRPC_OWN)["metadata"]["ownerReferences"][0]["uid"] == "uid-digits"
    await scene.look(0, services=())
    assert scene.live(HTTP_OWN) == before


async def test_a_route_that_somebody_makes_at_the_same_moment_is_his() -> None:
    scene = Scene(**OWN)
    read = await scene.read()
    scene.put(route("digits", [STABLE(1)]))
    written = await scene.write(read, 0)
    assert [p.reason for p in written.problems] == ["NameConflict"]
    assert "digits-candidate" not in str(scene.live(HTTP_OWN)["spec"])


async def test_a_route_that_we_made_at_the_same_moment_is_ours() -> None:
    scene = Scene(**OWN)
    read = await scene.read()
    scene.put(*[scene.cluster.add(m, "seawall") for m in own_routes(OWNER, spec_of(OWN), 0)])
    scene.cluster.fail("apply", ApiConflict("conflict"), times=1)
    written = await scene.write(read, 10)
    assert written.problems == []
    assert scene.weights(HTTP_OWN) == [90, 10]


def spec_of(more: dict[str, Any]) -> InferenceServiceSpec:
    return InferenceServiceSpec.model_validate(digits(**more)["spec"])


async def test_a_deleted_services_route_makes_room() -> None:
    scene = Scene(**OWN)
    former = own_routes(Owner("digits", "ns", "uid-former"), spec_of(OWN), 50)[0]
    scene.cluster.add(former, "seawall")
    written = await scene.look(0)
    assert written.problems == []
    assert scene.live(HTTP_OWN)["metadata"]["ownerReferences"][0]["uid"] == "uid-digits"
    assert scene.cluster.calls["delete HTTPRoute"] == 1


async def test_a_route_that_the_server_refuses_does_not_hold_up_the_other() -> None:
    scene = Scene(**OWN)
    scene.cluster.fail("apply", ApiRejected("spec.hostnames: no"), kind="HTTPRoute")
    written = await scene.look(0)
    assert [(p.ref.kind, p.reason, p.message) for p in written.problems] == [
        ("HTTPRoute", "Rejected", "spec.hostnames: no")
    ]
    assert [m["kind"] for m in written.routes] == ["GRPCRoute"]


async def test_our_own_go_when_nobody_asks_for_them() -> None:
    scene = Scene(**OWN)
    await scene.look(0)
    scene.service = digits()
    written = await scene.look(0)
    assert written.routes == ()
    assert scene.cluster.objects == {}
    assert not (await scene.look(0)).tried


# Somebody else's.


THEIRS = ObjectRef(HTTP_OWN.api_version, "HTTPRoute", "ns", "theirs")
CALLS = ObjectRef(HTTP_OWN.api_version, "GRPCRoute", "ns", "calls")


def named(scene: Scene) -> None:
    scene.put(route("theirs", [STABLE(150), ref("else")(50)]), route("calls", [STABLE(1)], kind="GRPCRoute"))


async def test_weights_are_set_in_both_routes_and_nothing_is_written_twice() -> None:
    scene = Scene(**NAMED)
    named(scene)
    assert not (await scene.look(0)).tried
    written = await scene.look(10)
    assert scene.weights(THEIRS) == [135, 50, 15]
    assert scene.weights(CALLS) == [90, 10]
    assert [m["metadata"]["generation"] for m in written.routes] == [2, 2]
    assert not (await scene.look(10)).tried
    assert scene.cluster.writes() == 2
    assert scene.live(THEIRS)["spec"]["parentRefs"] == [PARENT]


async def test_a_route_that_has_changed_since_it_was_read_is_looked_at_again() -> None:
    scene = Scene(**NAMED)
    named(scene)
    read = await scene.read()
    scene.live(THEIRS)["spec"]["rules"][0]["backendRefs"].reverse()
    scene.cluster.touch(scene.live(THEIRS))
    with pytest.raises(ApiUnavailable):
        await scene.write(read, 10)
    assert scene.weights(THEIRS) == [50, 150]
    assert scene.weights(CALLS) == [90, 10]  # one that is in the way does not hold up the other
    await scene.look(10)
    assert scene.weights(THEIRS) == [50, 135, 15]


async def test_a_route_that_has_gone_is_not_known_any_more() -> None:
    scene = Scene(**NAMED)
    named(scene)
    read = await scene.read()
    del scene.cluster.objects[("HTTPRoute", "ns", "theirs")]
    written = await scene.write(read, 10)
    assert written.problems == []
    assert [m["kind"] for m in written.routes] == ["GRPCRoute"]


async def test_a_refused_patch_is_told() -> None:
    scene = Scene(**NAMED)
    named(scene)
    scene.cluster.fail("patch", ApiRejected("too many backends"), kind="HTTPRoute")
    written = await scene.look(10)
    assert [(p.ref, p.reason, p.message) for p in written.problems] == [
        (THEIRS, "Rejected", "too many backends")
    ]


# In a whole look.


@pytest.fixture
def town() -> Town:
    made = Town()
    made.survey.capabilities = SERVED
    made.put(digits(**OWN))
    return made


async def test_a_routed_service_is_ready_when_its_gateways_say_so(town: Town) -> None:
    await town.reconcile(KEY)
    town.bring_up(town.deployments()[0])
    await town.reconcile(KEY)
    assert ("Service", "ns", "digits-candidate") in town.cluster.objects
    assert town.condition("RouteReady")["status"] == "False"
    for at in (HTTP_OWN, GRPC_OWN):
        live = town.cluster.objects[(at.kind, at.namespace, at.name)]
        town.cluster.touch(answered(live))
    await town.reconcile(KEY)
    assert town.condition("RouteReady")["status"] == "True"
    town.told()
    town.cluster.calls.clear()
    await town.reconcile(KEY)
    assert town.cluster.calls == {"get HTTPRoute": 1, "get GRPCRoute": 1}


async def test_a_route_that_cannot_be_split_leaves_the_service_ready() -> None:
    """What serves gets all that comes to it; only a rollout could not go on. One that is refused is another
    matter."""
    town = Town()
    town.survey.capabilities = SERVED
    town.put(digits(rollout={"traffic": {"httpRoute": "theirs"}}))
    small = route("theirs", [STABLE(9), ref("else")(91)])
    town.put(answered(small))
    await town.reconcile(KEY)
    town.bring_up(town.deployments()[0])
    await town.reconcile(KEY)
    told = town.condition("RouteReady")
    assert (told["status"], told["reason"]) == ("True", "RouteWeightsTooSmall")
    assert "give it 100 or more" in told["message"]
    assert town.condition("Ready")["status"] == "True"
    live = town.cluster.objects["HTTPRoute", "ns", "theirs"]
    live["status"]["parents"][0]["conditions"][0]["status"] = "False"
    town.cluster.touch(live)
    await town.reconcile(KEY)
    assert (town.condition("RouteReady")["status"], town.condition("Ready")["status"]) == ("False", "False")


async def test_a_service_that_is_routed_no_more_loses_its_routes_before_the_candidates_service(
    town: Town,
) -> None:
    await town.reconcile(KEY)
    town.told()
    live = town.cluster.objects[("InferenceService", "ns", "digits")]
    live["spec"].pop("routing")
    town.cluster.touch(live)
    town.told()
    left = []
    for _ in range(2):
        await town.reconcile(KEY)
        town.told()
        left.append({(kind, name) for kind, _, name in town.cluster.objects} & GOING)
    assert left == [{("Service", "digits-candidate")}, set()]


GOING = {("HTTPRoute", "digits"), ("GRPCRoute", "digits-grpc"), ("Service", "digits-candidate")}

"""Who owns spec.replicas: counts are written apart from the rest, and no change of hands lets one fall."""

from __future__ import annotations

from typing import Any

import pytest

from seawall.decide.types import Manifest, ObjectRef, Scale, WriteProblem
from seawall.desired.canonical import stamped
from seawall.desired.names import REPLICAS_MANAGER
from seawall.ports import ApiRejected, ApiUnavailable
from seawall.runtime.kinds import BY_NAME, DEPLOYMENT
from seawall.runtime.store import Store
from seawall.runtime.writer import Writer
from support.fakecluster import FakeCluster
from support.scene import digits

SERVICE = digits() | {"status": {"phase": "Serving"}}
LABELS = {"app.kubernetes.io/managed-by": "seawall", "serving.seawall.dev/inferenceservice": "digits"}
OWNER = {
    "apiVersion": "serving.seawall.dev/v1alpha1",
    "kind": "InferenceService",
    "name": "digits",
    "uid": "uid-digits",
    "controller": True,
}


def child(kind: str, name: str = "digits-a", **spec: Any) -> Manifest:
    meta = {"name": name, "namespace": "ns", "labels": LABELS, "ownerReferences": [OWNER]}
    made = {"apiVersion": BY_NAME[kind].api_version, "kind": kind, "metadata": meta, "spec": spec}
    return stamped(made)


REF = ObjectRef("apps/v1", "Deployment", "ns", "digits-a")


class Scene:
    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.store = Store()
        self.again = 0
        self.writer = Writer(self.cluster, self.store, self.look_again)
        self.order: list[str] = []
        self.cluster.on_apply.append(lambda made: self.order.append(made["kind"]))

    def look_again(self) -> None:
        self.again += 1

    def told(self) -> None:
        for (kind, _, _), manifest in list(self.cluster.objects.items()):
            self.store.put(BY_NAME[kind], manifest)

    def owned(self, count: int, *managers: str) -> None:
        """A Deployment whose count these own."""
        entries = [
            {
                "manager": manager,
                "operation": "Apply" if manager.startswith("seawall") else "Update",
                **({"subresource": "scale"} if manager == "kube-controller-manager" else {}),
                "fieldsV1": {"f:spec": {"f:replicas": {}}},
            }
            for manager in managers
        ]
        if "seawall" not in managers:
            entries.append({"manager": "seawall", "operation": "Apply", "fieldsV1": {"f:spec": {}}})
        live = self.cluster.add(child("Deployment", replicas=count, strategy="x"))
        self.cluster.objects["Deployment", "ns", "digits-a"]["metadata"]["managedFields"] = entries
        assert live["spec"]["replicas"] == count
        self.told()

    @property
    def live(self) -> Manifest:
        return self.cluster.objects["Deployment", "ns", "digits-a"]

    @property
    def owners(self) -> set[str]:
        entries = self.live["metadata"]["managedFields"]
        return {m["manager"] for m in entries if "f:replicas" in (m["fieldsV1"].get("f:spec") or {})}

    async def scale(self, count: int) -> tuple[list[Scale], list[WriteProblem]]:
        return await self.writer.scale(SERVICE, [Scale(REF, count)])


@pytest.mark.parametrize(
    "owner", [(), ("kube-controller-manager",), (REPLICAS_MANAGER,), ("kubectl",), ("seawall",)], ids=str
)
async def test_a_count_that_differs_is_applied_alone_whoever_owned_it(owner: tuple[str, ...]) -> None:
    scene = Scene()
    scene.owned(3, *owner)
    assert await scene.scale(5) == ([Scale(REF, 5)], [])
    assert (scene.live["spec"]["replicas"], scene.owners) == (5, {REPLICAS_MANAGER})
    assert scene.cluster.calls == {"scale Deployment": 1}
    assert scene.store.get(DEPLOYMENT, "ns", "digits-a")["spec"]["replicas"] == 5  # type: ignore[index]


async def test_a_count_that_stands_is_left_to_whoever_owns_it() -> None:
    scene = Scene()
    scene.owned(3, "kube-controller-manager")
    assert await scene.scale(3) == ([], [])
    assert scene.cluster.writes() == 0
    assert scene.writer.all_scaled(SERVICE, [Scale(REF, 3)])
    assert not scene.writer.all_scaled(SERVICE, [Scale(REF, 4)])


async def test_a_deployment_that_is_not_there_or_not_ours_is_not_scaled() -> None:
    scene = Scene()
    assert await scene.scale(3) == ([], [])
    foreign = child("Deployment", replicas=1)
    foreign["metadata"]["ownerReferences"] = [OWNER | {"uid": "somebody-else"}]
    scene.cluster.add(foreign)
    scene.told()
    assert await scene.scale(3) == ([], [])
    assert scene.cluster.writes() == 0


async def test_a_deployment_that_has_just_gone_is_no_problem() -> None:
    scene = Scene()
    scene.owned(3, REPLICAS_MANAGER)
    scene.cluster.objects.clear()
    assert await scene.scale(5) == ([Scale(REF, 5)], [])


async def test_a_refused_count_is_told() -> None:
    scene = Scene()
    scene.owned(3, REPLICAS_MANAGER)
    scene.cluster.fail("scale", ApiRejected("a webhook says no"))
    _, [problem] = await scene.scale(5)
    assert (problem.ref.name, problem.reason, problem.message) == (
        "digits-a",
        "Rejected",
        "a webhook says no",
    )


async def test_the_count_of_an_earlier_operator_is_taken_over_before_it_is_left_out() -> None:
    scene = Scene()
    scene.owned(4, "seawall")
    await scene.writer.apply(SERVICE, [child("Deployment", strategy="x")])
    assert scene.cluster.calls == {"scale Deployment": 1, "apply Deployment": 1}
    assert (scene.live["spec"]["replicas"], scene.owners) == (4, {REPLICAS_MANAGER})
    scene.told()
    scene.cluster.calls.clear()
    await scene.writer.apply(SERVICE, [child("Deployment", strategy="y")])
    assert scene.cluster.calls == {"apply Deployment": 1}
    assert scene.live["spec"]["replicas"] == 4


async def test_a_count_that_changes_while_it_is_taken_over_is_read_again_first() -> None:
    scene = Scene()
    scene.owned(4, "seawall", "kubectl")
    scene.live["spec"]["replicas"] = 9  # since the watch told of 4
    with pytest.raises(ApiUnavailable):
        await scene.writer.apply(SERVICE, [child("Deployment", strategy="x")])
    assert scene.live["spec"]["replicas"] == 9
    assert scene.cluster.calls["apply Deployment"] == 0


@pytest.mark.parametrize("owner", ["kube-controller-manager", REPLICAS_MANAGER])
async def test_a_count_that_others_own_stays_where_it_is(owner: str) -> None:
    scene = Scene()
    scene.owned(7, owner)
    await scene.writer.apply(SERVICE, [child("Deployment", strategy="y")])
    assert scene.cluster.calls == {"apply Deployment": 1}
    assert (scene.live["spec"]["replicas"], scene.owners) == (7, {owner})


@pytest.mark.parametrize("owner", ["kube-controller-manager", REPLICAS_MANAGER])
async def test_whoever_owns_the_count_alone_is_no_reason_to_write_after_a_restart(owner: str) -> None:
    scene = Scene()
    wanted = child("Deployment", strategy="x")
    scene.cluster.add(wanted, "seawall")
    scene.live["spec"]["replicas"] = 7
    count = {"manager": owner, "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    if owner == "kube-controller-manager":
        count |= {"operation": "Update", "subresource": "scale"}
    scene.live["metadata"]["managedFields"].append(count)
    scene.told()
    assert scene.writer.all_stand(SERVICE, [wanted])


async def test_an_autoscalers_write_of_the_count_does_not_make_us_apply() -> None:
    scene = Scene()
    wanted = child("Deployment", strategy="x")
    await scene.writer.apply(SERVICE, [wanted])
    await scene.cluster.scale(ObjectRef.of(scene.live), 6, force=True)
    scene.told()
    assert scene.writer.all_stand(SERVICE, [wanted])


async def test_what_watches_over_a_deployment_comes_after_it_and_after_the_services() -> None:
    scene = Scene()
    await scene.writer.apply(
        SERVICE,
        [
            child("HorizontalPodAutoscaler"),
            child("PodMonitor"),
            child("Service"),
            child("Deployment"),
            child("ScaledObject"),
        ],
    )
    assert scene.order[:2] == ["Deployment", "Service"]
    assert sorted(scene.order[2:]) == ["HorizontalPodAutoscaler", "PodMonitor", "ScaledObject"]


async def test_a_refused_autoscaler_stops_no_traffic() -> None:
    scene = Scene()
    scene.cluster.fail("apply", ApiRejected("spec.behavior: invalid"), kind="HorizontalPodAutoscaler")
    wanted = [child("HorizontalPodAutoscaler"), child("Service"), child("Deployment")]
    _, [problem] = await scene.writer.apply(SERVICE, wanted)
    assert problem.ref.kind == "HorizontalPodAutoscaler"
    assert scene.order == ["Deployment", "Service"]


async def test_what_an_autoscaler_tells_of_itself_is_no_news() -> None:
    scene = Scene()
    hpa = child("HorizontalPodAutoscaler", "digits-a", maxReplicas=5)
    scene.cluster.add(hpa)
    scene.told()
    live = scene.cluster.objects["HorizontalPodAutoscaler", "ns", "digits-a"]
    steps: list[tuple[dict[str, Any], bool]] = [
        ({"currentReplicas": 2, "lastScaleTime": "2026-01-01T00:00:00Z"}, False),
        ({"conditions": [{"type": "AbleToScale", "status": "True", "reason": "ReadyForNewScale"}]}, False),
        ({"conditions": [{"type": "ScalingActive", "status": "False", "reason": "FailedGet"}]}, True),
        ({"conditions": [{"type": "ScalingActive", "status": "False", "reason": "FailedGet",
                          "lastTransitionTime": "2026-01-01T00:00:00Z"}]}, False),
    ]  # fmt: skip
    for status, news in steps:
        live["status"] = status
        scene.cluster.touch(live)
        assert scene.store.put(BY_NAME["HorizontalPodAutoscaler"], live) is news

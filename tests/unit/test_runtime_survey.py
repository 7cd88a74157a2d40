"""What the cluster serves is found out, kept while it does not answer, and told where it changes."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest

from seawall.decide.types import Key
from seawall.ports import ApiRejected, ApiUnavailable
from seawall.runtime import survey as survey_module
from seawall.runtime.handlers import Relisting, Told
from seawall.runtime.kinds import DEPLOYMENT, MONITORS, SCALED_OBJECT
from seawall.runtime.store import Store
from seawall.runtime.survey import Survey
from support.fakecluster import FakeCluster
from support.scene import Served

OBJECT = {
    "apiVersion": "keda.sh/v1alpha1",
    "kind": "ScaledObject",
    "metadata": {
        "name": "digits-a",
        "namespace": "ns",
        "labels": {
            "app.kubernetes.io/managed-by": "seawall",
            "serving.seawall.dev/inferenceservice": "digits",
        },
    },
    "spec": {},
}


class Face:
    def __init__(self) -> None:
        self.looked = asyncio.Event()
        self.looked.set()
        self.state: tuple[Literal["Ours", "Others", "Absent"], str] = ("Ours", "answers")

    async def run(self, *_: Any) -> None:
        raise AssertionError("the survey only looks at its state")


class Scene:
    def __init__(self, face: Face | None = None) -> None:
        self.cluster = FakeCluster()
        self.store = Store()
        self.woken: list[Key] = []
        self.relisting = Relisting(self.cluster, self.store, Told(self.store, self.woken.append), ())
        self.relisting.filled.set()
        self.served = Served()
        self.fault: Exception | None = None
        self.changes = 0
        self.told = asyncio.Event()
        self.face = face
        self.survey = Survey(
            discover=self.discover,
            repair=self.relisting.repair,
            clear=self.store.clear,
            face=face,
            prometheus_url="http://p:9090",
            changed=self.changed,
        )

    async def discover(self) -> Served:
        if self.fault is not None:
            raise self.fault
        return self.served

    def changed(self) -> None:
        self.changes += 1
        self.told.set()


async def test_what_is_served_is_listed_into_the_store_and_its_service_is_woken() -> None:
    scene = Scene()
    scene.cluster.add(OBJECT)
    assert await scene.survey.look()
    assert not scene.survey.serves(SCALED_OBJECT)
    assert scene.survey.serves(DEPLOYMENT)
    scene.served = Served(keda=True)
    assert await scene.survey.look()
    assert scene.survey.serves(SCALED_OBJECT)
    assert not any(map(scene.survey.serves, MONITORS))
    assert scene.survey.capabilities.keda
    assert scene.survey.capabilities.prometheus_url == "http://p:9090"
    assert [o["metadata"]["name"] for o in scene.store.children(Key("ns", "digits"))["ScaledObject"]] == [
        "digits-a"
    ]
    assert scene.woken == [Key("ns", "digits")]


async def test_an_object_that_somebody_deleted_is_missed_at_the_next_look() -> None:
    scene = Scene()
    scene.served = Served(keda=True)
    scene.cluster.add(OBJECT)
    await scene.survey.look()
    scene.woken.clear()
    scene.cluster.objects.clear()
    await scene.survey.look()
    assert scene.woken == [Key("ns", "digits")]
    assert not scene.store.children(Key("ns", "digits"))["ScaledObject"]


async def test_a_kind_that_goes_away_takes_its_objects_out_of_the_store() -> None:
    scene = Scene()
    scene.served = Served(keda=True)
    scene.cluster.add(OBJECT)
    await scene.survey.look()
    scene.served = Served()
    await scene.survey.look()
    assert not scene.survey.capabilities.keda
    assert len(scene.store) == 0


async def test_only_a_difference_is_told() -> None:
    scene = Scene(Face())
    for _ in range(3):
        await scene.survey.look()
    assert scene.changes == 1
    scene.served = Served(prometheus_operator=True)
    await scene.survey.look()
    assert scene.changes == 2
    assert scene.survey.capabilities.prometheus_operator


async def test_routes_are_known_of_and_kept_in_no_store() -> None:
    scene = Scene()
    scene.served = Served(gateway_api=True)
    await scene.survey.look()
    assert (scene.survey.capabilities.gateway_api, scene.survey.capabilities.grpc_routes) == (True, False)
    assert scene.changes == 1
    assert scene.cluster.calls == {}


@pytest.mark.parametrize("fault", [ApiUnavailable("away"), ApiRejected("forbidden")])
async def test_what_was_known_stands_while_nobody_answers(fault: Exception) -> None:
    scene = Scene()
    scene.served = Served(keda=True)
    await scene.survey.look()
    scene.fault = fault
    assert not await scene.survey.look()
    assert scene.survey.capabilities.keda


async def test_a_kind_that_may_not_be_listed_counts_as_not_served() -> None:
    scene = Scene()
    scene.served = Served(keda=True, prometheus_operator=True)
    scene.cluster.fail("list", ApiRejected("forbidden"), kind="ScaledObject", times=9)
    await scene.survey.look()
    assert not scene.survey.capabilities.keda
    assert scene.survey.capabilities.prometheus_operator


async def test_the_own_metrics_api_is_looked_at_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey_module, "GLANCE_SECONDS", 0.01)
    monkeypatch.setattr(survey_module, "PERIOD_SECONDS", 1e6)
    face = Face()
    scene = Scene(face)
    await scene.survey.start()
    assert scene.survey.capabilities.metrics_api == "Ours"
    scene.told.clear()
    face.state = ("Others", "prometheus-adapter has it")
    running = asyncio.create_task(scene.survey.run())
    await asyncio.wait_for(scene.told.wait(), 10)
    running.cancel()
    assert scene.survey.capabilities.metrics_api_message == "prometheus-adapter has it"


async def test_without_a_metrics_api_of_our_own_it_is_absent() -> None:
    scene = Scene()
    await scene.survey.start()
    assert scene.survey.capabilities.metrics_api == "Absent"
    assert "not to serve it" in scene.survey.capabilities.metrics_api_message

"""From events and LISTs to keys in the queue; and what kopf's own LISTs are turned into."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from yarl import URL

from seawall.decide.types import Key
from seawall.ports import ApiRejected, ApiUnavailable
from seawall.runtime import handlers
from seawall.runtime.handlers import Relisting, Told, Watch, watch_settings
from seawall.runtime.kinds import (
    ACCELERATOR,
    BY_NAME,
    DEPLOYMENT,
    K8S_SERVICE,
    NETWORK_POLICY,
    SERVICE,
    WATCHED,
)
from seawall.runtime.store import Store
from support.fakecluster import FakeCluster

LABELS = {"app.kubernetes.io/managed-by": "seawall", "serving.seawall.dev/inferenceservice": "digits"}


def manifest(kind: str, name: str, version: str = "5", **more: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "ns", "uid": f"u-{name}", "resourceVersion": version, "labels": LABELS}
    return {"apiVersion": BY_NAME[kind].api_version, "kind": kind, "metadata": meta, **more}


class Scene:
    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.store = Store()
        self.added: list[Key] = []
        self.told = Told(self.store, self.added.append)
        self.relisting = Relisting(self.cluster, self.store, self.told, ())

    async def fill(self) -> None:
        for kind in WATCHED:
            await self.relisting.repair(kind)


def test_a_child_brings_its_service_and_an_unchanged_one_does_not() -> None:
    scene = Scene()
    scene.told.event(DEPLOYMENT, "ADDED", manifest("Deployment", "digits-1"))
    scene.told.event(DEPLOYMENT, "MODIFIED", manifest("Deployment", "digits-1", "6"))
    assert scene.added == [Key("ns", "digits")]
    scene.told.event(DEPLOYMENT, "DELETED", manifest("Deployment", "digits-1", "7"))
    assert scene.added == [Key("ns", "digits")] * 2


def test_a_class_brings_its_users_and_nobody_else() -> None:
    scene = Scene()
    for name, accelerator in (("one", "cpu"), ("two", "gpu")):
        spec = {"accelerator": {"class": accelerator}}
        scene.told.event(SERVICE, "ADDED", manifest("InferenceService", name, spec=spec))
    scene.added.clear()
    changed = {"metadata": {"name": "cpu", "uid": "c", "resourceVersion": "9"}, "spec": {"type": "cpu"}}
    scene.told.event(ACCELERATOR, "MODIFIED", changed)
    assert scene.added == [Key("ns", "one")]


def test_a_shared_object_brings_one_service_of_its_namespace_or_the_namespace_itself() -> None:
    scene = Scene()
    scene.told.event(NETWORK_POLICY, "ADDED", manifest("NetworkPolicy", "seawall-models"))
    assert scene.added == [Key("ns", "")]
    scene.told.event(SERVICE, "ADDED", manifest("InferenceService", "digits", spec={}))
    scene.added.clear()
    scene.told.event(NETWORK_POLICY, "DELETED", manifest("NetworkPolicy", "seawall-models", "8"))
    assert scene.added == [Key("ns", "digits")]


async def test_the_first_fill_wakes_nobody_and_later_lists_tell_of_every_difference() -> None:
    scene = Scene()
    scene.cluster.add(manifest("Deployment", "ghost"))
    scene.cluster.add(manifest("Service", "digits"))
    await scene.fill()
    assert scene.relisting.filled.is_set()
    assert scene.added == []
    del scene.cluster.objects[("Deployment", "ns", "ghost")]  # and no watch tells
    await scene.relisting.repair(DEPLOYMENT)
    assert scene.added == [Key("ns", "digits")]
    assert scene.store.get(DEPLOYMENT, "ns", "ghost") is None
    scene.cluster.add(manifest("Deployment", "unseen"))
    await scene.relisting.repair(DEPLOYMENT)
    assert scene.added == [Key("ns", "digits")] * 2
    await scene.relisting.repair(K8S_SERVICE)
    assert scene.added == [Key("ns", "digits")] * 2, "an unchanged one is no news"


async def test_a_kind_that_cannot_be_listed_just_now_is_listed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "RELIST_RETRY", 0.0)
    scene = Scene()
    scene.cluster.fail("list", ApiUnavailable("503"), kind="Pod", times=3)
    running = asyncio.create_task(scene.relisting.run())
    for kind in WATCHED:
        scene.relisting.ask(kind)
    await asyncio.wait_for(scene.relisting.filled.wait(), 30)
    running.cancel()
    assert scene.cluster.calls["list Pod"] == 4


async def test_a_kind_that_may_not_be_listed_at_the_start_ends_it() -> None:
    scene = Scene()
    scene.cluster.fail("list", ApiRejected("forbidden"), kind="Pod")
    for kind in WATCHED:
        scene.relisting.ask(kind)
    with pytest.raises(ApiRejected, match="forbidden"):
        await asyncio.wait_for(scene.relisting.run(), 30)


class Requests:
    """Sends what kopf asks for through the watch's middleware."""

    def __init__(self) -> None:
        self.relisted: list[str] = []
        self.asked: list[str] = []
        self.counted: list[tuple[str, str, str]] = []
        self.sent: list[URL] = []

        async def no_session(_: Any) -> Any:
            raise AssertionError("not opened in this test")

        self.watch = Watch(
            told=Told(Store(), lambda _: None),
            relisted=lambda kind: self.relisted.append(kind.plural),
            asked=lambda kind: self.asked.append(kind.plural),
            open_session=no_session,
            counted=lambda *call: self.counted.append(call),
            namespaces=(),
        )

    async def send(self, url: str, status: int = 200) -> None:
        async def answer(request: Any) -> Any:
            self.sent.append(request.url)
            return SimpleNamespace(status=status)

        await self.watch._through(SimpleNamespace(method="GET", url=URL(url)), answer)  # type: ignore[arg-type]


async def test_a_list_of_kopfs_matches_nothing_and_one_of_ours_follows() -> None:
    requests = Requests()
    await requests.send("https://api/apis/apps/v1/deployments?labelSelector=a%3Db")
    assert dict(requests.sent[0].query) == {"labelSelector": "a=b", "fieldSelector": "metadata.name=--"}
    assert requests.relisted == ["deployments"]
    assert requests.counted == [("list", "deployments", "200")]


async def test_a_refused_list_is_followed_by_none() -> None:
    requests = Requests()
    await requests.send("https://api/apis/apps/v1/deployments", status=503)
    assert requests.relisted == []


async def test_a_watch_goes_through_as_it_is() -> None:
    requests = Requests()
    await requests.send("https://api/api/v1/namespaces/ns/pods?watch=true&resourceVersion=5")
    assert dict(requests.sent[0].query) == {"watch": "true", "resourceVersion": "5"}
    assert requests.relisted == []
    assert requests.asked == ["pods"]


async def test_the_discovery_of_kinds_goes_through_uncounted() -> None:
    requests = Requests()
    await requests.send("https://api/apis/apps/v1")
    assert requests.counted == []


def test_kopf_is_told_to_write_nothing_and_to_watch_only_what_is_ours() -> None:
    settings = watch_settings()
    assert not settings.posting.enabled
    assert settings.scanning.disabled
    assert settings.peering.standalone
    for kind in WATCHED:
        group, version = kind.group_version
        selector = settings.watching.label_selectors.get((group, version, kind.plural), "")
        assert selector == kind.selector
    with pytest.raises(AssertionError):
        settings.persistence.diffbase_storage.store(body={}, patch={}, essence={})  # type: ignore[arg-type,typeddict-item]

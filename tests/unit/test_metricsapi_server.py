"""Who is let in, over real TLS; what is written to the cluster; what is said of who owns the API."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from seawall.decide.types import ObjectRef
from seawall.metricsapi.certificates import AUTHORITY_LIFE, SERVING_LIFE, Credentials, Due, encoded, renewed
from seawall.metricsapi.frontproxy import tls_context
from seawall.metricsapi.server import PRESUMED_SECONDS, MetricsApi
from seawall.ports import ApiRejected, ApiUnavailable
from support.fakecluster import FakeCluster
from support.frontproxy import PROXY_NAME, Authority, published, trusting

NAMESPACE, SERVICE = "seawall-system", "seawall-metrics-api"
NAME = f"{SERVICE}.{NAMESPACE}.svc"
PATH = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/a/inferenceservices.serving.seawall.dev/echo/slo-load"
ECHO = {"metadata": {"name": "echo"}, "status": {"scaling": {"load": "2.55", "revision": "r1"}}}
SECRET = ObjectRef("v1", "Secret", NAMESPACE, SERVICE)
GROUP = "custom.metrics.k8s.io"
TRUSTED = Authority("front-proxy-ca")
USER = {"X-Remote-User": "system:serviceaccount:kube-system:horizontal-pod-autoscaler"}


def registered(version: str, available: str = "True", **service: str) -> dict[str, Any]:
    named = {"namespace": NAMESPACE, "name": SERVICE} | service
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{version}.{GROUP}"},
        "spec": {"group": GROUP, "version": version, "service": named},
        "status": {"conditions": [{"type": "Available", "status": available, "message": "it was tried"}]},
    }


class MergingCluster(FakeCluster):
    """Whose apply of an APIService touches the fields that it names, and minds the version that it names."""

    async def apply(self, manifest: Any, *, force: bool) -> Any:
        live = self.objects.get(
            (manifest["kind"], manifest["metadata"].get("namespace", ""), _name(manifest))
        )
        wanted = manifest["metadata"].get("resourceVersion")
        if live is not None and wanted not in (None, live["metadata"]["resourceVersion"]):
            raise ApiUnavailable("the object has been modified")
        if live is not None and "spec" in manifest:
            manifest = manifest | {"spec": live["spec"] | manifest["spec"]}
        return await super().apply(manifest, force=force)


def _name(manifest: Any) -> str:
    return str(manifest["metadata"]["name"])


class Scene:
    def __init__(self, *, leads: bool = True, ours: bool = True) -> None:
        self.cluster = MergingCluster()
        self.leads = leads
        self.now = datetime.now(UTC)
        self.cluster.add(published(TRUSTED))
        if ours:
            for version in ("v1beta2", "v1beta1"):
                self.cluster.add(registered(version))
        self.api = self.replica()

    def replica(self) -> MetricsApi:
        return MetricsApi(self.cluster, NAMESPACE, SERVICE, "127.0.0.1", 0, now=lambda: self.now)

    @asynccontextmanager
    async def running(
        self, api: MetricsApi | None = None, *, leads: bool | None = None
    ) -> AsyncIterator[MetricsApi]:
        running = api or self.api
        lookup: Callable[[str, str], Any] = lambda namespace, name: ECHO if name == "echo" else None  # noqa: E731
        task = asyncio.create_task(running.run(lookup, lambda: self.leads if leads is None else leads))
        try:
            await asyncio.wait_for(running.looked.wait(), 20)
            yield running
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    @property
    def secret(self) -> Credentials:
        held = Credentials.of(self.cluster.objects[("Secret", NAMESPACE, SERVICE)])
        assert held is not None
        return held

    def bundles(self) -> set[str]:
        names = (f"{version}.{GROUP}" for version in ("v1beta2", "v1beta1"))
        return {self.cluster.objects[("APIService", "", name)]["spec"].get("caBundle", "") for name in names}

    def publish(self, *authorities: Authority, names: list[str] | None = None) -> None:
        self.cluster.add(published(*authorities, names=names))


async def get(
    api: MetricsApi, context: ssl.SSLContext, headers: Any = USER, session: Any = None, method: str = "GET"
) -> tuple[int, Any]:
    async with contextlib.AsyncExitStack() as stack:
        session = session or await stack.enter_async_context(aiohttp.ClientSession())
        url = f"https://127.0.0.1:{api.port}{PATH}"
        answer = await session.request(method, url, ssl=context, server_hostname=NAME, headers=headers)
        return answer.status, await answer.json()


async def test_the_front_proxy_gets_its_answer(tmp_path: Path) -> None:
    scene = Scene()
    async with scene.running() as api:
        status, document = await get(api, trusting(scene.secret.authority, TRUSTED.client(tmp_path)))
        assert (status, document["items"][0]["value"]) == (200, "2550m")
        assert api.state == ("Ours", "")


async def test_it_answers_again_after_its_work_was_ended_and_begun_anew(tmp_path: Path) -> None:
    scene = Scene()
    for _ in range(2):
        async with scene.running() as api:
            context = trusting(scene.secret.authority, TRUSTED.client(tmp_path))
            assert (await get(api, context))[0] == 200
        assert not api.port


Client = Callable[[Path], Path | None]
STRANGER = Authority("front-proxy-ca")  # the same name, another key
BETWEEN = Authority("between", TRUSTED)
AT_THE_DOOR: dict[str, Client] = {
    "no certificate": lambda folder: None,
    "signed by somebody else": STRANGER.client,
    "a certificate that has ended": lambda folder: TRUSTED.client(folder, ended=True),
    "a server's certificate": lambda folder: TRUSTED.client(folder, serves=True),
    "an intermediate that was not sent": BETWEEN.client,
}


@pytest.mark.parametrize("case", AT_THE_DOOR)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_who_has_no_certificate_of_the_front_proxy_gets_no_connection(
    case: str, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    scene = Scene()
    async with scene.running() as api:
        context = trusting(scene.secret.authority, AT_THE_DOOR[case](tmp_path))
        context.maximum_version = version
        with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
            await get(api, context)


def test_nothing_older_than_tls_1_2_is_spoken() -> None:
    made = renewed(None, Due.EVERYTHING, NAME, datetime.now(UTC))
    context = tls_context(made.certificate, made.key, TRUSTED.pem)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


INSIDE = {
    "another name": ("somebody", USER, [PROXY_NAME], 401),
    "one of several names": ("second", USER, [PROXY_NAME, "second"], 200),
    "any name, where none is required": ("somebody", USER, [], 200),
    "no user": (PROXY_NAME, {}, [PROXY_NAME], 401),
    "an empty user": (PROXY_NAME, {"X-Remote-User": ""}, [PROXY_NAME], 401),
    "a header of another name": (PROXY_NAME, {"X-User": "system:admin"}, [PROXY_NAME], 401),
}


@pytest.mark.parametrize("case", INSIDE)
async def test_names_and_users_are_checked_on_every_request(case: str, tmp_path: Path) -> None:
    name, headers, names, status = INSIDE[case]
    scene = Scene()
    scene.publish(TRUSTED, names=names)
    async with scene.running() as api:
        context = trusting(scene.secret.authority, TRUSTED.client(tmp_path, name))
        code, document = await get(api, context, headers)
        assert code == status
        if status == 401:
            assert (document["kind"], document["reason"]) == ("Status", "Unauthorized")


async def test_a_body_is_not_read(tmp_path: Path) -> None:
    scene = Scene()
    async with scene.running() as api:
        context = trusting(scene.secret.authority, TRUSTED.client(tmp_path))
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", api.port, ssl=context, server_hostname=NAME
        )
        head = f"GET {PATH} HTTP/1.1\r\nHost: x\r\nX-Remote-User: u\r\nContent-Length: 1000000000\r\n\r\n"
        writer.write(head.encode() + b"x" * 1000)
        answer = await asyncio.wait_for(reader.read(), 20)  # until the server hangs up
        assert answer.startswith(b"HTTP/1.1 200 ")
        writer.close()


TOO_MUCH = {
    "a long path": f"GET /{'a' * 5000} HTTP/1.1\r\n",
    "a long header": f"GET {PATH} HTTP/1.1\r\nX-Remote-User: {'u' * 10000}\r\n",
    "many headers": f"GET {PATH} HTTP/1.1\r\n" + "".join(f"X-{n}: a\r\n" for n in range(600)),
}


@pytest.mark.parametrize("case", TOO_MUCH)
async def test_a_request_has_bounds(case: str, tmp_path: Path) -> None:
    scene = Scene()
    async with scene.running() as api:
        context = trusting(scene.secret.authority, TRUSTED.client(tmp_path))
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", api.port, ssl=context, server_hostname=NAME
        )
        writer.write(f"{TOO_MUCH[case]}Host: x\r\n\r\n".encode())
        assert (await asyncio.wait_for(reader.readline(), 20)).split()[1] == b"400"
        writer.close()


async def test_a_new_authority_of_the_proxy_is_taken_over_and_the_old_one_is_trusted_no_more(
    tmp_path: Path,
) -> None:
    scene = Scene()
    following = Authority("front-proxy-ca-2")
    async with scene.running() as api, aiohttp.ClientSession() as kept:
        old = trusting(scene.secret.authority, TRUSTED.client(tmp_path))
        new = trusting(scene.secret.authority, following.client(tmp_path))
        assert (await get(api, old, session=kept))[0] == 200
        port = api.port
        scene.publish(TRUSTED, following)
        await api.look_after()
        assert [(await get(api, context))[0] for context in (old, new)] == [200, 200]
        scene.publish(following)
        await api.look_after()
        assert (await get(api, new))[0] == 200
        with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
            await get(api, old)
        # The connection from before is not dropped: it has one more answer, with a request to come anew.
        assert (await get(api, old, session=kept))[0] == 200
        with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
            await get(api, old, session=kept)
        assert api.port == port


async def test_no_tls_session_outlives_the_trust_in_which_it_began(tmp_path: Path) -> None:
    scene = Scene()
    async with scene.running() as api:
        context = trusting(scene.secret.authority, TRUSTED.client(tmp_path))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        await get(api, context)
        scene.publish(Authority("another"))
        await api.look_after()
        with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
            await get(api, context)


async def test_an_intermediate_authority_alone_is_an_anchor_as_it_is_in_go(tmp_path: Path) -> None:
    scene = Scene()
    scene.publish(BETWEEN)
    async with scene.running() as api:
        assert (await get(api, trusting(scene.secret.authority, BETWEEN.client(tmp_path))))[0] == 200


async def test_while_nothing_says_who_the_proxy_is_nobody_is_answered(tmp_path: Path) -> None:
    scene = Scene()
    async with scene.running() as api:
        context = trusting(scene.secret.authority, TRUSTED.client(tmp_path))
        scene.publish()
        await api.look_after()
        assert api.port == 0
        assert api.state[0] == "Absent"
        assert "extension-apiserver-authentication" in api.state[1]
        scene.publish(TRUSTED)
        await api.look_after()
        assert (await get(api, context))[0] == 200


async def test_the_leader_makes_certificates_and_registers_them_and_then_writes_no_more() -> None:
    scene = Scene()
    async with scene.running() as api:
        assert scene.bundles() == {encoded(scene.secret.authority)}
        writes = scene.cluster.writes()
        assert writes == 3
        await api.look_after()
        assert scene.cluster.writes() == writes


async def test_a_standby_writes_nothing_and_serves_what_the_leader_has_made(tmp_path: Path) -> None:
    scene = Scene(leads=False)
    async with scene.running() as standby:
        assert (scene.cluster.writes(), standby.port) == (0, 0)
        async with scene.running(scene.replica(), leads=True):
            await standby.look_after()
        assert (await get(standby, trusting(scene.secret.authority, TRUSTED.client(tmp_path))))[0] == 200
        assert standby.state == ("Ours", "")


async def test_a_renewed_certificate_reaches_every_replica_under_the_same_authority(tmp_path: Path) -> None:
    scene = Scene()
    scene.now -= SERVING_LIFE * 0.7
    async with scene.running() as leader, scene.running(scene.replica(), leads=False) as standby:
        first = scene.secret
        scene.now += SERVING_LIFE * 0.7
        await leader.look_after()
        await standby.look_after()
        assert scene.secret.authority == first.authority
        assert scene.bundles() == {encoded(first.authority)}
        for replica in (leader, standby):
            context = trusting(first.authority, TRUSTED.client(tmp_path))
            _, writer = await asyncio.open_connection(
                "127.0.0.1", replica.port, ssl=context, server_hostname=NAME
            )
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            assert ssl.DER_cert_to_PEM_cert(shown).strip() == scene.secret.certificate.strip()
            writer.close()


async def test_a_new_authority_is_trusted_before_it_signs(tmp_path: Path) -> None:
    scene = Scene()
    async with scene.running() as leader:
        first = scene.secret
        told: list[tuple[str, bool]] = []
        scene.cluster.on_apply.append(lambda made: told.append((made["kind"], first == scene.secret)))
        scene.now += AUTHORITY_LIFE * 0.7
        await leader.look_after()
        assert [kind for kind, _ in told] == ["APIService", "APIService", "Secret"]
        assert scene.bundles() == {encoded(scene.secret.authority)}
        assert scene.secret.authority.endswith(first.authority)


async def _deleted(scene: Scene) -> None:
    del scene.cluster.objects[("Secret", NAMESPACE, SERVICE)]


async def _damaged(scene: Scene) -> None:
    scene.cluster.objects[("Secret", NAMESPACE, SERVICE)]["data"]["ca.key"] = "AAAA"


async def _emptied(scene: Scene) -> None:
    scene.cluster.objects[("Secret", NAMESPACE, SERVICE)].pop("data")


async def _unregistered(scene: Scene) -> None:
    for version in ("v1beta2", "v1beta1"):
        scene.cluster.add(registered(version))


HARM: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "the Secret deleted": _deleted,
    "the Secret damaged": _damaged,
    "the Secret emptied": _emptied,
    "the APIServices applied anew": _unregistered,
}


@pytest.mark.parametrize("case", HARM)
async def test_it_heals(case: str, tmp_path: Path) -> None:
    scene = Scene()
    async with scene.running() as leader, scene.running(scene.replica(), leads=False) as standby:
        await HARM[case](scene)
        await standby.look_after()
        await leader.look_after()
        await standby.look_after()
        assert scene.bundles() == {encoded(scene.secret.authority)}
        for replica in (leader, standby):
            assert (await get(replica, trusting(scene.secret.authority, TRUSTED.client(tmp_path))))[0] == 200
            assert replica.state == ("Ours", "")


async def test_two_that_both_believe_they_lead_agree_within_a_round(tmp_path: Path) -> None:
    scene = Scene()
    second = scene.replica()
    async with scene.running() as first, scene.running(second):
        for _ in range(2):
            await asyncio.gather(first.look_after(), second.look_after())
        assert scene.bundles() == {encoded(scene.secret.authority)}
        for replica in (first, second):
            assert (await get(replica, trusting(scene.secret.authority, TRUSTED.client(tmp_path))))[0] == 200


async def test_an_api_of_somebody_else_is_never_touched() -> None:
    scene = Scene()
    scene.cluster.add(registered("v1beta1", namespace="monitoring", name="prometheus-adapter"))
    async with scene.running() as api:
        message = f"APIService v1beta1.{GROUP} belongs to Service monitoring/prometheus-adapter"
        assert api.state == ("Others", message)
        foreign = scene.cluster.objects[("APIService", "", f"v1beta1.{GROUP}")]
        assert "caBundle" not in foreign["spec"]


async def test_an_api_that_changes_hands_between_reading_and_writing_is_left_alone() -> None:
    scene = Scene()
    place = ("APIService", "", f"v1beta2.{GROUP}")

    class Late(MergingCluster):
        async def apply(self, manifest: Any, *, force: bool) -> Any:
            if manifest["kind"] == "APIService" and _name(manifest) == place[2]:
                self.add(registered("v1beta2", namespace="monitoring", name="prometheus-adapter"))
            return await super().apply(manifest, force=force)

    late = Late()
    late.objects, late._versions = scene.cluster.objects, scene.cluster._versions
    api = MetricsApi(late, NAMESPACE, SERVICE, "127.0.0.1", 0, now=lambda: scene.now)
    task = asyncio.create_task(api.run(lambda namespace, name: None, lambda: True))
    await asyncio.wait_for(api.looked.wait(), 20)  # the first round fails, the second sees whose it is
    task.cancel()
    assert api.state[0] == "Others"
    assert "caBundle" not in late.objects[place]["spec"]


async def test_without_registration_it_is_absent() -> None:
    scene = Scene(ours=False)
    async with scene.running() as api:
        assert api.state == ("Absent", f"no APIService registers {GROUP}")


async def test_an_api_that_is_ours_and_does_not_answer_counts_as_absent_only_after_a_while() -> None:
    scene = Scene()
    scene.cluster.add(registered("v1beta2", available="False"))
    async with scene.running() as api:
        message = f"APIService v1beta2.{GROUP} is not available: it was tried"
        assert api.state == ("Ours", message)
        scene.now += timedelta(seconds=PRESUMED_SECONDS + 1)
        assert api.state == ("Absent", message)
        scene.cluster.add(registered("v1beta2"))
        await api.look_after()
        await api.look_after()
        assert api.state == ("Ours", "")


async def test_a_right_that_is_missing_is_said() -> None:
    scene = Scene()
    scene.cluster.fail("get", ApiRejected("apiservices is forbidden"), kind="APIService")
    async with scene.running() as api:
        assert api.state == ("Absent", "the API server refuses the operator: apiservices is forbidden")


async def test_an_api_server_that_is_away_changes_nothing(tmp_path: Path) -> None:
    scene = Scene()
    async with scene.running() as api:
        scene.cluster.fail("get", ApiUnavailable("connection refused"), times=5)
        await api.look_after()
        assert (await get(api, trusting(scene.secret.authority, TRUSTED.client(tmp_path))))[0] == 200
        assert api.state == ("Ours", "")


async def test_a_port_that_is_taken_is_said_and_tried_again() -> None:
    scene = Scene()
    async with scene.running() as first:
        second = MetricsApi(scene.cluster, NAMESPACE, SERVICE, "127.0.0.1", first.port, now=lambda: scene.now)
        async with scene.running(second):
            assert second.state[0] == "Absent"
            assert "cannot listen" in second.state[1]


async def test_nothing_listens_after_the_end() -> None:
    scene = Scene()
    async with scene.running() as api:
        port = api.port
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)

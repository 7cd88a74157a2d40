"""What a cluster serves, as told by a small server in an API server's place."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from seawall.adapters.discovery import Served, discover
from seawall.ports import ApiRejected, ApiUnavailable
from seawall.runtime.health import bound_port, serve

KEDA, MONITORING, VERSION = "/apis/keda.sh/v1alpha1", "/apis/monitoring.coreos.com/v1", "/version"
GATEWAY = "/apis/gateway.networking.k8s.io/v1"


def resources(*names: str) -> tuple[int, str]:
    listed = [{"name": name} for name in names]
    return 200, json.dumps({"kind": "APIResourceList", "resources": listed})


def version(minor: str) -> tuple[int, str]:
    return 200, json.dumps({"major": "1", "minor": minor})


ABSENT = (404, "404 page not found")
BARE = {KEDA: ABSENT, MONITORING: ABSENT, GATEWAY: ABSENT, VERSION: version("36")}


class Server:
    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, str]] = dict(BARE)

    async def handle(self, request: web.Request) -> web.Response:
        status, text = self.answers[request.path]
        return web.Response(status=status, text=text)


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[ApiClient]:
    app = web.Application()
    app.router.add_get("/{path:.*}", server.handle)
    runner = await serve(app, "127.0.0.1", 0)
    config = Configuration(host=f"http://127.0.0.1:{bound_port(runner)}")
    config.retries = None
    made = ApiClient(config)
    yield made
    await made.close()
    await runner.cleanup()


@pytest.mark.parametrize(
    ("answers", "served"),
    [
        pytest.param({}, Served(False, False, True), id="nothing but Kubernetes"),
        pytest.param({KEDA: resources("scaledjobs", "scaledobjects")}, Served(True, False, True), id="KEDA"),
        pytest.param(
            {MONITORING: resources("prometheuses", "podmonitors", "prometheusrules")},
            Served(False, True, True),
            id="the Prometheus operator",
        ),
        pytest.param(
            {MONITORING: resources("podmonitors")}, Served(False, False, True), id="half of its definitions"
        ),
        pytest.param(
            {KEDA: (200, '{"resources": null}')}, Served(False, False, True), id="a group without kinds"
        ),
        pytest.param(
            {GATEWAY: resources("gateways", "httproutes", "grpcroutes")},
            Served(False, False, True, gateway_api=True, grpc_routes=True),
            id="the Gateway API",
        ),
        pytest.param(
            {GATEWAY: resources("gateways", "httproutes")},
            Served(False, False, True, gateway_api=True),
            id="the Gateway API before GRPCRoutes",
        ),
        pytest.param({VERSION: version("34")}, Served(False, False, False), id="before tolerances"),
        pytest.param({VERSION: version("35+")}, Served(False, False, True), id="a provider's version"),
        pytest.param({VERSION: version("")}, Served(False, False, False), id="a version that says nothing"),
    ],
)
async def test_what_is_served(
    server: Server, client: ApiClient, answers: dict[str, tuple[int, str]], served: Served
) -> None:
    server.answers |= answers
    assert await discover(client) == served


@pytest.mark.parametrize(
    ("path", "answer", "kind"),
    [
        (KEDA, (503, '{"message": "the API server is starting"}'), ApiUnavailable),
        (KEDA, (500, "oops"), ApiUnavailable),
        (KEDA, (429, "{}"), ApiUnavailable),
        (KEDA, (200, "<html>please log in</html>"), ApiUnavailable),
        (KEDA, (200, "[1]"), ApiUnavailable),
        (MONITORING, (401, "{}"), ApiUnavailable),
        (MONITORING, (403, '{"message": "no"}'), ApiRejected),
        (GATEWAY, (503, "{}"), ApiUnavailable),
        (VERSION, (502, ""), ApiUnavailable),
    ],
)
async def test_what_cannot_be_told_is_not_called_absent(
    server: Server, client: ApiClient, path: str, answer: Any, kind: type[Exception]
) -> None:
    server.answers[path] = answer
    with pytest.raises(kind):
        await discover(client)


async def test_nobody_there_is_not_called_absent_either() -> None:
    listening = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    config = Configuration(host=f"http://127.0.0.1:{port}")
    config.retries = None
    client = ApiClient(config)
    with pytest.raises(ApiUnavailable, match=r"get /apis/keda\.sh"):
        await discover(client)
    await client.close()
    listening.close()

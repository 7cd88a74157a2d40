"""TLS that ends at the gateway: clients ask a model over it, and a renewed certificate restarts nothing."""

import http.client
import json
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from demo_kube import Kube, wait_for

from seawall.metricsapi.certificates import Credentials, Due, renewed

pytestmark = [pytest.mark.node, pytest.mark.asyncio(loop_scope="module")]

HOST, SECRET = "secure.example.com", "clients"
PORT = 8443
"""Contour's Envoy listens 8000 above the listener's own."""
HTTPS = {
    "name": "https",
    "port": 443,
    "protocol": "HTTPS",
    "tls": {"mode": "Terminate", "certificateRefs": [{"name": SECRET}]},
    "allowedRoutes": {"namespaces": {"from": "All"}},
}
INFRA = Kube("infra")


def made() -> Credentials:
    """A certificate of an authority of its own."""
    return renewed(None, Due.EVERYTHING, HOST, datetime.now(UTC))


async def hand_over(credentials: Credentials) -> None:
    await INFRA.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": "infra"},
            "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": credentials.certificate, "tls.key": credentials.key},
        }
    )


async def address() -> str:
    found = await INFRA.get("endpointslice", "gw")
    assert found is not None
    return str(found["endpoints"][0]["addresses"][0])


def connected(at: str, authority: str) -> http.client.HTTPConnection:
    """Raises ssl.SSLError where the certificate is not of this authority."""
    context = ssl.create_default_context(cadata=authority)
    connection = http.client.HTTPConnection(at, PORT, timeout=10)
    connection.sock = context.wrap_socket(
        socket.create_connection((at, PORT), timeout=10), server_hostname=HOST
    )
    return connection


def asked(connection: http.client.HTTPConnection, image: list[float]) -> int:
    """The digit that the model sees."""
    tensor = {"name": "image", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": image}
    body = json.dumps({"inputs": [tensor]})
    connection.request("POST", "/v2/models/digits/infer", body, {"Host": HOST})
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status == 200, text[:300]
    scores = json.loads(text)["outputs"][0]["data"]
    return scores.index(max(scores))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def first(kube: Any, manifest: Any) -> AsyncIterator[Credentials]:
    """The gateway with a listener for HTTPS beside the other, and a service behind it."""
    credentials = made()
    await hand_over(credentials)
    gateway = await INFRA.get("gateway", "gw")
    assert gateway is not None
    plain = gateway["spec"]["listeners"]
    await INFRA.patch("gateway", "gw", {"spec": {"listeners": [*plain, HTTPS]}})
    service = manifest("digits")
    service["spec"]["routing"] = {"gateways": [{"name": "gw", "namespace": "infra"}], "hostnames": [HOST]}
    await kube.apply(service)
    await kube.wait_ready("digits")
    yield credentials
    await INFRA.patch("gateway", "gw", {"spec": {"listeners": plain}})
    await INFRA.delete("secret", SECRET)


async def served_under(at: str, authority: str) -> None:
    async def look() -> tuple[bool, str]:
        try:
            connected(at, authority).close()
        except (OSError, ssl.SSLError) as problem:
            return False, str(problem)
        return True, ""

    await wait_for(look, "the gateway to show the certificate", 60)


async def test_a_model_answers_over_tls_and_a_renewed_certificate_restarts_nothing(
    kube: Any, digits: Any, first: Credentials
) -> None:
    at = await address()
    await served_under(at, first.authority)
    image = [float(value) for value in next(iter(digits.inputs.values()))[0].ravel()]
    open_since_before = connected(at, first.authority)
    assert asked(open_since_before, image) == digits.labels[0]
    pods = {p["metadata"]["uid"]: p["status"] for p in await kube.children("pod", "digits")}

    second = made()
    with pytest.raises(ssl.SSLError):
        connected(at, second.authority)
    await hand_over(second)
    await served_under(at, second.authority)

    assert asked(connected(at, second.authority), image) == digits.labels[0]
    with pytest.raises(ssl.SSLError):
        connected(at, first.authority)
    now = {p["metadata"]["uid"]: p["status"] for p in await kube.children("pod", "digits")}
    assert now.keys() == pods.keys()
    assert all(each["restartCount"] == 0 for status in now.values() for each in status["containerStatuses"])

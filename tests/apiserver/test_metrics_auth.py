"""The operator's /metrics against a real API server: whose token it takes, and with which rights it asks."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import subprocess
import time
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
import yaml
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import load_kube_config
from seawall_cluster import binaries

from apiserver.conftest import Start
from apiserver.operators import ROOT, Cluster, OperatorProcess, eventually
from seawall.adapters.access import KubeAccess
from seawall.adapters.kube import KubeCluster
from seawall.ports import ApiRejected, Caller

pytestmark = pytest.mark.apiserver
PLACE = "seawall-system"
READER = "seawall-metrics-reader"
OTHERS = ssl._create_unverified_context()  # noqa: S323 - who scrapes so trusts the network


def chart() -> list[dict[str, Any]]:
    helm = binaries.ensure(["helm"])["helm"]
    command = [helm, "template", "seawall", ROOT / "charts/seawall", "-n", PLACE]
    text = subprocess.run(
        [*command, "-s", "templates/metricsauth.yaml"], capture_output=True, text=True, check=True
    ).stdout
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


@pytest.fixture
def endpoint(start: Start, namespace: str) -> OperatorProcess:
    return start(metrics_auth="true", namespace=namespace).working()


@pytest.fixture
def reader(cluster: Cluster, namespace: str) -> Iterator[None]:
    """The chart's ClusterRole, bound to the ServiceAccount `prometheus`."""
    (role,) = [made for made in chart() if made["metadata"]["name"] == READER]
    cluster.apply(role)
    for account in ("prometheus", "web"):
        cluster.server.kubectl("create", "serviceaccount", account, "-n", namespace)
    binding = f"reads-{namespace}"
    cluster.server.kubectl(
        *("create", "clusterrolebinding", binding, f"--clusterrole={READER}"),
        f"--serviceaccount={namespace}:prometheus",
    )
    yield
    cluster.server.kubectl("delete", "clusterrolebinding", binding)
    cluster.server.kubectl("delete", "clusterrole", READER)


def token(cluster: Cluster, namespace: str, account: str, *more: str) -> str:
    return cluster.server.kubectl("create", "token", account, "-n", namespace, *more).strip()


def scrape(endpoint: OperatorProcess, bearer: str, context: ssl.SSLContext = OTHERS) -> tuple[int, str]:
    """(0, why) while nothing listens."""
    request = Request(f"https://127.0.0.1:{endpoint.metrics_port}/metrics")
    if bearer:
        request.add_header("Authorization", f"Bearer {bearer}")
    try:
        with urlopen(request, timeout=30, context=context) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except HTTPError as refusal:
        return refusal.code, refusal.read().decode()
    except URLError as problem:
        return 0, str(problem.reason)


def ending(cluster: Cluster, namespace: str, account: str, seconds: int) -> str:
    """The account's own token with another end, so far from now, signed with the cluster's key."""
    head, body, _ = token(cluster, namespace, account).split(".")
    claims = json.loads(_decoded(body))
    now = int(time.time())
    claims |= {"iat": now - 7200, "nbf": now - 7200, "exp": now + seconds}
    text = f"{head}.{_encoded(json.dumps(claims).encode())}"
    key = load_pem_private_key(cluster.server.plane.pki.service_account_keys().key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    signature = r.to_bytes(32) + s.to_bytes(32)
    return f"{text}.{_encoded(signature)}"


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_a_reader_is_answered_and_others_are_told_why_not(
    cluster: Cluster, endpoint: OperatorProcess, reader: None, namespace: str
) -> None:
    eventually("it listens", lambda: scrape(endpoint, "")[0])
    good = token(cluster, namespace, "prometheus")
    status, body = scrape(endpoint, good)
    assert status == 200
    assert "seawall_leader 1.0" in body

    assert scrape(endpoint, ending(cluster, namespace, "prometheus", 600))[0] == 200

    refused = {
        "nobody": ("", 401, "a bearer token is needed"),
        "garbage": ("garbage", 401, "does not know this token"),
        "a token signed by nobody": (good[:-8] + "AAAAAAAA", 401, "does not know this token"),
        "a token that has expired": (ending(cluster, namespace, "prometheus", -60), 401, "expired"),
        "a token for another audience": (
            token(cluster, namespace, "prometheus", "--audience=vault"),
            401,
            "does not know this token",
        ),
        "an account without the right": (
            token(cluster, namespace, "web"),
            403,
            f"system:serviceaccount:{namespace}:web may not get /metrics",
        ),
    }
    for who, (bearer, code, words) in refused.items():
        status, body = scrape(endpoint, bearer)
        assert (status, words in body, "seawall_" in body) == (code, True, False), who
    told = endpoint.log.read_text()
    assert good not in told
    assert f"{namespace}:web asked for /metrics" in told


def test_a_token_ends_with_its_account(
    cluster: Cluster, endpoint: OperatorProcess, reader: None, namespace: str
) -> None:
    gone = token(cluster, namespace, "prometheus")
    cluster.server.kubectl("delete", "serviceaccount", "prometheus", "-n", namespace)
    eventually("it listens", lambda: scrape(endpoint, "")[0])
    assert scrape(endpoint, gone)[0] == 401


def test_the_authority_in_the_secret_is_the_one_to_trust(
    cluster: Cluster, endpoint: OperatorProcess, reader: None, namespace: str
) -> None:
    eventually("it listens", lambda: scrape(endpoint, "")[0])
    secret = cluster.get("secret", "seawall-metrics", namespace)
    assert secret is not None
    authority = base64.b64decode(secret["data"]["ca.crt"]).decode()
    context = ssl.create_default_context(cadata=authority)
    context.check_hostname = False  # urllib cannot ask an address under another name
    assert scrape(endpoint, token(cluster, namespace, "prometheus"), context)[0] == 200
    strict = ssl.create_default_context()
    strict.check_hostname = False
    assert "certificate verify failed" in scrape(endpoint, "", strict)[1]


async def test_the_charts_rights_are_those_that_are_needed(cluster: Cluster, namespace: str) -> None:
    user = f"asker-{namespace}"
    config = Configuration()
    path = str(cluster.server.kubeconfig_for(user))
    await load_kube_config(path, client_configuration=config, persist_config=False)
    config.retries = None
    kube = KubeCluster(ApiClient(config))
    access = KubeAccess(kube)
    somebody = Caller("somebody", groups=("system:authenticated",))
    run = cluster.server.kubectl
    try:
        for asking in (access.caller("garbage"), access.may_get(somebody, "/metrics")):
            with pytest.raises(ApiRejected, match="forbidden"):
                await asking
        (role,) = [
            m for m in chart() if (m["kind"], m["metadata"]["name"]) == ("ClusterRole", "seawall-metrics")
        ]
        cluster.apply(role)
        run("create", "clusterrolebinding", user, "--clusterrole=seawall-metrics", f"--user={user}")

        async def works() -> bool:
            try:
                return await access.caller("garbage") is None
            except ApiRejected:
                return False  # the authoriser has not seen the binding yet

        async with asyncio.timeout(60):
            while not await works():  # noqa: ASYNC110 - the API server tells nobody
                await asyncio.sleep(0.1)
        assert not await access.may_get(somebody, "/metrics")
    finally:
        await kube.close()
        run("delete", "clusterrolebinding", user, "--ignore-not-found")
        run("delete", "clusterrole", "seawall-metrics", "--ignore-not-found")


def test_while_the_api_is_down_nobody_new_is_let_in(
    cluster: Cluster, endpoint: OperatorProcess, reader: None, namespace: str
) -> None:
    eventually("it listens", lambda: scrape(endpoint, "")[0])
    known = token(cluster, namespace, "prometheus")
    fresh = token(cluster, namespace, "prometheus", "--duration=20m")
    assert scrape(endpoint, known)[0] == 200
    cluster.server.stop()
    try:
        assert scrape(endpoint, fresh)[0] == 503
    finally:
        cluster.server.start()
    assert eventually("it is let in", lambda: scrape(endpoint, fresh)[0] == 200)

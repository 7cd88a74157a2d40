"""What somebody on the pod network gets of the model pods, of a build and of the operator, in a real cluster."""

import asyncio
import base64
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from demo_kube import wait_for

from support.served_builds import compressed

pytestmark = [pytest.mark.node, pytest.mark.asyncio(loop_scope="module")]
CLOSED = ("v2/repository/index", "v2/repository/models/digits/load", "v2/logging", "v2/trace/setting")


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def services(kube: Any, manifest: Any) -> None:
    await kube.apply(manifest("digits"))
    await kube.wait_ready("digits")
    await kube.wait_settled("digits")


def asked(url: str, method: str = "GET", context: ssl.SSLContext | None = None, **headers: str) -> Any:
    body = b"{}" if method == "POST" else None
    request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()
    except (urllib.error.URLError, ConnectionError) as problem:
        return 0, str(problem)


async def pod(kube: Any) -> Any:
    (found,) = await kube.children("pod", "digits")
    return found


async def test_the_kubelet_has_put_each_pods_own_key_in(kube: Any) -> None:
    found = await pod(kube)
    base = f"http://{found['status']['podIP']}:8000"
    for path in CLOSED:
        status, words = asked(f"{base}/{path}", "POST")
        assert (status, "restricted" in words) == (403, True), path
    key = {"seawall-admin-key": found["metadata"]["uid"]}
    status, words = asked(f"{base}/v2/repository/index", "POST", **key)
    assert (status, json.loads(words)[0]["name"]) == (200, "digits")
    assert asked(f"{base}/v2/models/digits/stats")[0] == 200
    (server,) = [each for each in found["spec"]["containers"] if each["name"] == "triton"]
    assert found["metadata"]["uid"] not in json.dumps([server["args"], server["env"]])


async def test_the_operators_metrics_want_a_token_and_show_the_charts_certificate(
    kube: Any, system: Any
) -> None:
    secret = await system.get("secret", "seawall-metrics")
    authority = base64.b64decode(secret["data"]["ca.crt"]).decode()
    context = ssl.create_default_context(cadata=authority)
    context.check_hostname = False  # the address of a pod is not in it
    operators = await system.listed("pod", **{"app.kubernetes.io/component": "operator"})
    assert len(operators) == 2
    await kube.run("create", "serviceaccount", "scraper")
    account = f"{kube.namespace}:scraper"
    token = (await kube.run("create", "token", "scraper")).strip()
    urls = [f"https://{each['status']['podIP']}:9090/metrics" for each in operators]
    for url in urls:
        assert asked(url, context=context)[0] == 401
        status, words = asked(url, context=context, Authorization=f"Bearer {token}")
        assert (status, f"system:serviceaccount:{account} may not get /metrics" in words) == (403, True)
        assert asked(url.replace("https", "http"))[0] == 0, "nothing is told without TLS"
    other = (await kube.run("create", "token", "scraper", "--duration=20m")).strip()
    name = f"scraper-{kube.namespace}"
    await kube.run("create", "clusterrolebinding", name, "--clusterrole=seawall-metrics-reader",
                   f"--serviceaccount={account}")  # fmt: skip
    try:
        for url in urls:

            async def admitted(url: str = url) -> tuple[bool, str]:
                status, words = asked(url, context=context, Authorization=f"Bearer {other}")
                return status == 200 and "seawall_leader" in words, f"{status} {words[:100]}"

            await wait_for(admitted, "the token to be admitted", 60)
    finally:
        await kube.run("delete", "clusterrolebinding", name)


async def test_nobody_loads_a_model_into_the_server_of_a_build(
    kube: Any, manifest: Any, source: Path
) -> None:
    await kube.apply(compressed(manifest("built")))
    refusals: dict[str, Any] = {}

    async def looked() -> tuple[bool, str]:
        """While the server that measures runs, which is seconds."""
        for found in await kube.listed("pod", **{"app.kubernetes.io/component": "model-build"}):
            address = found["status"].get("podIP")
            if address and asked(f"http://{address}:8000/v2/health/live")[0] == 200:
                load = f"http://{address}:8000/v2/repository/models/x/load"
                refusals["http"] = await asyncio.to_thread(asked, load, "POST")
                refusals["grpc"] = await asyncio.to_thread(asked, f"http://{address}:8001/")
                refusals["metrics"] = await asyncio.to_thread(asked, f"http://{address}:8002/metrics")
                return True, ""
        return False, "no build serves yet"

    await wait_for(looked, "a build's server to live", 180)
    assert refusals["http"][0] == 403
    assert "refused" in refusals["grpc"][1]
    assert "refused" in refusals["metrics"][1]
    await kube.wait_ready("built", 180)

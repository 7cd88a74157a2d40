"""What the adapter makes of an API server's answers, asked of a small HTTP server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from seawall.adapters.kube import KubeCluster, TokenBucket
from seawall.adapters.problems import Answer, problem
from seawall.decide.types import EventNote, ObjectRef
from seawall.ports import ApiConflict, ApiRejected, ApiUnavailable
from seawall.runtime.health import bound_port, serve

REF = ObjectRef("apps/v1", "Deployment", "ns", "digits-1", "uid-1")
MANIFEST = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "digits-1", "namespace": "ns"},
}
CONFLICT = {"details": {"causes": [{"reason": "FieldManagerConflict", "field": ".spec"}]}}


@pytest.mark.parametrize(
    ("status", "data", "kind"),
    [
        (409, CONFLICT, ApiConflict),
        (409, {}, ApiUnavailable),
        (401, {}, ApiUnavailable),
        (410, {}, ApiUnavailable),
        (429, {}, ApiUnavailable),
        (500, {}, ApiUnavailable),
        (504, {}, ApiUnavailable),
        (400, {}, ApiRejected),
        (403, {}, ApiRejected),
        (404, {}, ApiRejected),
        (422, {}, ApiRejected),
    ],
)
def test_an_answer_means_one_of_three_things(status: int, data: dict[str, Any], kind: type) -> None:
    assert type(problem(Answer(status, data), "apply")) is kind


@pytest.mark.parametrize(
    ("header", "data", "seconds"),
    [
        ("7", {}, 7.0),
        (None, {"details": {"retryAfterSeconds": 3}}, 3.0),
        (None, {}, None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", {}, None),
    ],
)
def test_the_servers_wish_for_patience_is_read(
    header: str | None, data: dict[str, Any], seconds: float | None
) -> None:
    found = problem(Answer(429, data, header), "apply")
    assert isinstance(found, ApiUnavailable)
    assert found.retry_after == seconds


class Server:
    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], str, Any]] = []
        self.answers: list[tuple[int, Any]] = []

    async def handle(self, request: web.Request) -> web.Response:
        raw = await request.text()
        content = request.headers.get("Content-Type", "")
        body = json.loads(raw) if raw else None
        self.requests.append((request.method, request.path, dict(request.query), content, body))
        status, data = self.answers.pop(0)
        text = data if isinstance(data, str) else json.dumps(data)
        return web.Response(status=status, text=text, content_type="application/json")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", made.handle)
    runner = await serve(app, "127.0.0.1", 0)
    made.port = bound_port(runner)  # type: ignore[attr-defined]
    yield made
    await runner.cleanup()


@pytest.fixture
async def cluster(server: Server) -> AsyncIterator[KubeCluster]:
    config = Configuration(host=f"http://127.0.0.1:{server.port}")  # type: ignore[attr-defined]
    made = KubeCluster(ApiClient(config))
    yield made
    await made.close()


async def test_an_apply_is_a_patch_by_our_manager(server: Server, cluster: KubeCluster) -> None:
    server.answers = [(201, MANIFEST)]
    assert await cluster.apply(MANIFEST, force=False) == MANIFEST
    method, path, query, content, body = server.requests[0]
    assert (method, path) == ("PATCH", "/apis/apps/v1/namespaces/ns/deployments/digits-1")
    assert query == {"fieldManager": "seawall", "force": "false"}
    assert content == "application/apply-patch+yaml"
    assert body == MANIFEST


async def test_a_status_is_applied_by_its_own_manager_to_that_very_incarnation(
    server: Server, cluster: KubeCluster
) -> None:
    server.answers = [
        (200, MANIFEST),
        (404, {}),
        (409, {"message": "Precondition failed: UID in precondition"}),
    ]
    assert await cluster.apply_status(REF, {"replicas": 1}) == MANIFEST
    _, path, query, _, body = server.requests[0]
    assert path.endswith("/deployments/digits-1/status")
    assert query["fieldManager"] == "seawall-status"
    assert body["metadata"]["uid"] == "uid-1"
    assert await cluster.apply_status(REF, {}) is None
    assert await cluster.apply_status(REF, {}) is None


async def test_a_count_is_applied_alone_by_its_own_manager_to_that_very_incarnation(
    server: Server, cluster: KubeCluster
) -> None:
    conflict = {"message": "conflict", "details": {"causes": [{"reason": "FieldManagerConflict"}]}}
    server.answers = [
        (200, MANIFEST),
        (409, {"message": "Precondition failed: UID in precondition"}),
        (409, conflict),
        (403, {"message": "forbidden: no"}),
    ]
    assert await cluster.scale(REF, 3, force=True) == MANIFEST
    _, path, query, _, body = server.requests[0]
    assert path.endswith("/deployments/digits-1")
    assert query == {"fieldManager": "seawall-replicas", "force": "true"}
    assert body["spec"] == {"replicas": 3}
    assert body["metadata"] == {"name": "digits-1", "namespace": "ns", "uid": "uid-1"}
    assert await cluster.scale(REF, 3, force=True) is None
    with pytest.raises(ApiConflict):
        await cluster.scale(REF, 3, force=False)
    with pytest.raises(ApiRejected):
        await cluster.scale(REF, 3, force=True)


async def test_a_list_is_read_page_by_page_without_other_peoples_field_sets(
    server: Server, cluster: KubeCluster
) -> None:
    managed = [{"manager": "seawall", "fieldsV1": {"a": 1}}, {"manager": "kubectl", "fieldsV1": {"b": 1}}]
    first = {"metadata": {"name": "a", "managedFields": managed}}
    server.answers = [
        (200, {"metadata": {"continue": "token", "resourceVersion": "7"}, "items": [first]}),
        (200, {"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "b"}}]}),
    ]
    items, version = await cluster.list("apps/v1", "Deployment", None, "a=b")
    assert version == "7"
    assert [i["metadata"]["name"] for i in items] == ["a", "b"]
    assert {i["kind"] for i in items} == {"Deployment"}
    assert items[0]["metadata"]["managedFields"] == [
        {"manager": "seawall", "fieldsV1": {"a": 1}},
        {"manager": "kubectl"},
    ]
    assert server.requests[1][2]["continue"] == "token"
    assert server.requests[0][1] == "/apis/apps/v1/deployments"


@pytest.mark.parametrize("status", [200, 404, 409])
async def test_deleting_what_is_gone_or_replaced_is_fine(
    server: Server, cluster: KubeCluster, status: int
) -> None:
    server.answers = [(status, {})]
    await cluster.delete(REF)
    assert server.requests[0][4]["preconditions"] == {"uid": "uid-1"}


async def test_what_does_not_exist_is_none_and_what_may_not_be_read_is_refused(
    server: Server, cluster: KubeCluster
) -> None:
    server.answers = [(404, {}), (403, {"message": "forbidden: no"})]
    assert await cluster.get(REF) is None
    with pytest.raises(ApiRejected, match="forbidden: no"):
        await cluster.get(REF)


async def test_an_answer_that_is_no_json_is_told_and_no_crash(server: Server, cluster: KubeCluster) -> None:
    server.answers = [(502, "<html>bad gateway")]
    with pytest.raises(ApiUnavailable, match="bad gateway"):
        await cluster.get(REF)


async def test_nobody_at_the_other_end_is_a_passing_fault() -> None:
    calls: list[tuple[str, str, str]] = []
    lonely = KubeCluster(
        ApiClient(Configuration(host="http://127.0.0.1:1")), counted=lambda *call: calls.append(call)
    )
    with pytest.raises(ApiUnavailable):
        await lonely.get(REF)
    assert calls == [("get", "deployments", "none")]
    await lonely.close()


async def test_an_event_is_short_enough_for_the_api_and_about_the_right_object(
    server: Server, cluster: KubeCluster
) -> None:
    server.answers = [(201, {})]
    service = {
        "apiVersion": "g/v1",
        "kind": "InferenceService",
        "metadata": {"name": "digits" * 20, "namespace": "ns", "uid": "u"},
    }
    await cluster.record(service, EventNote("Warning", "RolledBack", "x" * 5000))
    _, path, _, _, body = server.requests[0]
    assert path == "/apis/events.k8s.io/v1/namespaces/ns/events"
    assert len(body["note"]) == 1024
    assert body["regarding"]["uid"] == "u"
    assert body["reportingController"] == "serving.seawall.dev/operator"


async def test_writes_beyond_the_burst_wait_their_turn() -> None:
    now = 0.0
    bucket = TokenBucket(1000.0, 2, clock=lambda: now)
    for _ in range(4):
        await bucket.take()
    assert bucket._tokens == -2
    now = 1.0
    await bucket.take()
    assert bucket._tokens == 1


STEPS = (
    {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
    {"op": "add", "path": "/spec/rules/0/backendRefs/0/weight", "value": 90},
)
ROUTE = ObjectRef("gateway.networking.k8s.io/v1", "HTTPRoute", "ns", "theirs")


async def test_weights_are_a_json_patch_by_a_manager_of_their_own(
    server: Server, cluster: KubeCluster
) -> None:
    server.answers = [(200, MANIFEST), (404, {})]
    assert await cluster.patch(ROUTE, STEPS) == MANIFEST
    method, path, query, content, body = server.requests[0]
    assert (method, path) == ("PATCH", "/apis/gateway.networking.k8s.io/v1/namespaces/ns/httproutes/theirs")
    assert query == {"fieldManager": "seawall-routes"}
    assert content == "application/json-patch+json"
    assert body == list(STEPS)
    assert await cluster.patch(ROUTE, STEPS) is None


@pytest.mark.parametrize(
    ("status", "data", "kind"),
    [
        pytest.param(409, {}, ApiUnavailable, id="somebody was faster"),
        pytest.param(422, {"message": "the server rejected our request"}, ApiUnavailable, id="a failed test"),
        pytest.param(
            422,
            {"details": {"causes": [{"reason": "FieldValueInvalid", "field": "spec.rules"}]}},
            ApiRejected,
            id="what would not be valid",
        ),
        pytest.param(403, {"message": "forbidden"}, ApiRejected, id="what is not allowed"),
        pytest.param(503, {}, ApiUnavailable, id="nobody there"),
    ],
)
async def test_a_patch_that_fails_is_tried_again_where_that_helps(
    server: Server, cluster: KubeCluster, status: int, data: dict[str, Any], kind: type[Exception]
) -> None:
    server.answers = [(status, data)]
    with pytest.raises(kind):
        await cluster.patch(ROUTE, STEPS)

"""A Prometheus that lies, refuses, dribbles or says nothing. The real one is in tests/stores."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from seawall.adapters.prometheus import PrometheusMetrics, _groups
from seawall.adapters.promql import TIME, gateway_query, pod_query
from seawall.adapters.scrape import PodMetrics
from seawall.measure.types import ArmSample
from seawall.ports import NoCount, Target

pytest.importorskip("prometheus_api_client", reason="the client library of Prometheus is not installed")

NOW = 1_795_000_000.0
TARGET = Target(
    "team",
    "minilm",
    "r1",
    "minilm",
    20.0,
    {"a": "10.0.0.1", "b": "10.0.0.2"},
    ("minilm-stable",),
    {"a": NOW - 9},
)
Body = Callable[[str], bytes]


def one(labels: dict[str, str], value: str, at: float = NOW) -> dict[str, Any]:
    return {"metric": labels, "value": [at, value]}


def of_pod(pod: str, answered: str = "6", **target: str) -> list[dict[str, Any]]:
    labels = {"namespace": "team", "pod": pod, "job": "pods", "instance": f"{pod}:8002", **target}
    model = {**labels, "model": "minilm", "version": "1", "_inferenceservice": "minilm"}
    bucket = {**model, "__name__": "nv_inference_first_response_histogram_ms_bucket"}
    return [
        one({**model, "__name__": "nv_inference_request_success", "gpu_uuid": "g"}, answered),
        one({**model, "__name__": "nv_inference_request_success", "model": "other"}, "77"),
        one({**model, "__name__": "nv_inference_request_failure", "reason": "OTHER"}, "1"),
        one({**bucket, "le": "19.0"}, "5"),
        one({**bucket, "le": "+Inf"}, "7"),
        one({**labels, "__name__": "nv_energy_consumption", "gpu_uuid": "g"}, "12.5"),
        one({**model, TIME: "at"}, str(NOW - 3)),
    ]


def of_gateway(instance: str, port: int = 8000, **target: str) -> list[dict[str, Any]]:
    labels = {
        "envoy_cluster_name": f"team_minilm-stable_{port}",
        "instance": instance,
        "job": "envoy",
        **target,
    }
    bucket = {**labels, "__name__": "envoy_cluster_upstream_rq_time_bucket"}
    codes = {**labels, "__name__": "envoy_cluster_upstream_rq"}
    return [
        one({**bucket, "le": "20.0"}, "90"),
        one({**bucket, "le": "+Inf"}, "100"),
        one({**codes, "envoy_response_code": "200"}, "94"),
        one({**codes, "envoy_response_code": "404"}, "3"),
        one({**codes, "envoy_response_code": "429"}, "1"),
        one({**codes, "envoy_response_code": "503"}, "7"),
        one({**labels, "__name__": "envoy_cluster_grpc_failure"}, "2"),
        one({**labels, TIME: "at"}, str(NOW - 2)),
    ]


def vector(*series: dict[str, Any]) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": series}}).encode()


def both(pods: list[dict[str, Any]], gateway: list[dict[str, Any]] | None = None) -> Body:
    return lambda query: vector(*(gateway or [])) if "envoy" in query else vector(*pods)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    body: Body = staticmethod(lambda _: b"")
    status = 200
    delay = 0.0
    drip = False
    asked: int = 0
    params: dict[str, list[str]] = {}  # noqa: RUF012 - of the last question


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.asked += 1
        time.sleep(self.server.delay)
        self.server.params = parse_qs(urlsplit(self.path).query)
        body = self.server.body(self.server.params["query"][0])
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        step = 1 if self.server.drip else max(len(body), 1)
        try:
            for start in range(0, len(body), step):
                self.wfile.write(body[start : start + step])
                time.sleep(0.05 if self.server.drip else 0)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def prometheus() -> Iterator[tuple[_Server, str]]:
    server = _Server(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


async def read(url: str, *targets: Target, seconds: float = 2.0) -> list[ArmSample]:
    metrics = PrometheusMetrics(url, query_seconds=seconds, clock=lambda: NOW)
    try:
        return list(await metrics.read(targets))
    finally:
        await metrics.close()


async def told(body: Body, target: Target = TARGET) -> ArmSample:
    with prometheus() as (server, url):
        server.body = body
        (sample,) = await read(url, target)
        return sample


async def test_series_become_samples_with_their_own_times() -> None:
    sample = await told(both([*of_pod("a"), *of_pod("b"), *of_pod("stranger")], of_gateway("e1")))
    a, b = sample.pods
    assert (sample.trouble, sample.message, sample.expected) == (None, "", {"a", "b"})
    assert (a.pod, a.at, a.answered, a.failed, a.joules, a.started) == ("a", NOW - 3, 6, 1, 12.5, NOW - 9)
    assert (b.pod, b.started, b.problem) == ("b", None, "")
    assert a.histogram is not None
    assert a.histogram.edges_ms[:1] == (19.0,)
    assert sample.gateway is not None
    (part,) = sample.gateway.parts
    assert (part.at, part.instance, part.ended, part.failed, part.refused) == (NOW - 2, "e1", 105, 8, 3)


async def test_ports_of_a_service_are_one_and_instances_are_two() -> None:
    series = [*of_gateway("e1"), *of_gateway("e1", 8001), *of_gateway("e2")]
    sample = await told(both(of_pod("a"), series))
    assert sample.gateway is not None
    first, second = sample.gateway.parts
    assert (first.instance, first.ended, first.histogram.counts) == ("e1", 210, (180, 200))
    assert (second.instance, second.ended) == ("e2", 105)


@pytest.mark.parametrize(("grpc", "failed"), [("2", 8), ("8", 8), ("30", 30)])
async def test_a_failed_call_of_grpc_is_counted_once(grpc: str, failed: float) -> None:
    """Without a server it is a 503 as well; a server's own is HTTP 200."""
    series = [
        {**one, "value": [NOW, grpc]} if "grpc" in one["metric"].get("__name__", "") else one
        for one in of_gateway("e1")
    ]
    gateway = (await told(both(of_pod("a"), series))).gateway
    assert gateway is not None
    assert gateway.parts[0].failed == failed


async def test_a_gateway_without_a_histogram_knows_its_failures() -> None:
    series = [one for one in of_gateway("e1") if "le" not in one["metric"]]
    sample = await told(both(of_pod("a"), series))
    assert sample.gateway is not None
    (part,) = sample.gateway.parts
    assert (part.ended, part.failed, part.refused, part.histogram.counts) == (11, 8, 3, ())


async def test_what_is_scraped_twice_is_told_twice() -> None:
    twice = await told(both([*of_pod("a"), *of_pod("a", job="annotations")]))
    assert [pod.pod for pod in twice.pods] == ["a", "a"]
    same = await told(both([*of_pod("a"), *of_pod("a")]))
    assert [pod.problem for pod in same.pods] == ["tells nv_inference_request_success twice"]
    gateway = (await told(both(of_pod("a"), [*of_gateway("e1"), *of_gateway("e1", job="again")]))).gateway
    assert gateway is not None
    assert [part.instance for part in gateway.parts] == ["e1", "e1"]


async def test_an_unknown_pod_is_silent_and_unknown_pods_are_a_trouble() -> None:
    some = await told(both(of_pod("a")))
    assert (some.trouble, [pod.pod for pod in some.pods]) == (None, ["a"])
    assert "1 of 2 pods, b among them" in some.message
    none = await told(both([]))
    assert (none.trouble, none.pods, none.gateway) == ("MetricsUnavailable", (), None)
    assert "PodMonitor" in none.message


NONSENSE = {
    "nothing": b"",
    "a page": b"<html>login</html>",
    "null": b"null",
    "a list": b"[]",
    "an error in JSON": b'{"status": "error", "error": "x"}',
    "no list": b'{"data": {"result": {"a": 1}}}',
    "a matrix": b'{"data": {"result": [{"metric": {}, "values": [[1, "2"]]}]}}',
    "a number as text": b'{"data": {"result": [{"metric": {}, "value": [1, "many"]}]}}',
    "a bare number": b'{"data": {"result": [{"metric": {}, "value": [1, 2]}]}}',
    "labels that are none": b'{"data": {"result": [{"metric": {"pod": 5}, "value": [1, "2"]}]}}',
    "a deep well": b"[" * 200_000,
}


@pytest.mark.parametrize("name", NONSENSE)
async def test_nonsense_is_no_data(name: str) -> None:
    sample = await told(lambda _: NONSENSE[name])
    assert (sample.trouble, sample.pods, sample.gateway) == ("MetricsInvalid", (), None)
    assert sample.expected == {"a", "b"}
    assert len(sample.message) < 300


@pytest.mark.parametrize("status", [400, 401, 422, 500, 503])
async def test_a_refusal_is_asked_once_and_told(status: int) -> None:
    with prometheus() as (server, url):
        server.status, server.body = status, lambda _: b"overloaded " * 100
        (sample,) = await read(url, Target("team", "m", "r", "m", 20.0, {"a": "10.0.0.1"}))
        assert server.asked == 1
    assert sample.trouble == "MetricsUnavailable"
    assert str(status) in sample.message
    assert len(sample.message) <= 300


@pytest.mark.parametrize("drip", [False, True], ids=["late", "drop by drop"])
async def test_a_slow_answer_is_not_waited_for(drip: bool) -> None:
    with prometheus() as (server, url):
        server.body, server.drip, server.delay = both(of_pod("a")), drip, 0.0 if drip else 0.8
        metrics = PrometheusMetrics(url, query_seconds=0.3, clock=lambda: NOW)
        for _ in range(3):
            (sample,) = await metrics.read([TARGET])
            assert (sample.trouble, sample.pods) == ("MetricsUnavailable", ())
            assert "0.3 s" in sample.message
        server.drip, server.delay = False, 0.0
        # Threads that were left behind end by themselves, and the next question is answered again.
        deadline = time.monotonic() + 10
        while sample.trouble is not None and time.monotonic() < deadline:
            (sample,) = await metrics.read([TARGET])
        await metrics.close()
    assert (sample.trouble, [pod.pod for pod in sample.pods]) == (None, ["a"])


async def test_nobody_there() -> None:
    (sample,) = await read("http://user:secret@127.0.0.1:1", TARGET)
    assert sample.trouble == "MetricsUnavailable"
    assert "refused" in sample.message
    assert "secret" not in sample.message
    assert "query" not in sample.message


async def test_a_service_without_pods_asks_nobody() -> None:
    (sample,) = await read("http://127.0.0.1:1", Target("team", "m", "r", "m", 20.0, {}))
    assert (sample.trouble, sample.message) == ("NotStarted", "No pod serves yet.")


def test_few_questions_for_many_targets_in_their_order() -> None:
    targets = [
        Target("team", f"s{i}", "r", "m", 20.0, {f"s{i}-{j}": "" for j in range(7)}) for i in range(100)
    ]
    groups = list(_groups(targets))
    assert [target for group in groups for target in group] == targets
    assert len(groups) == 8
    long = [
        Target(
            "a-name-space",
            f"a-rather-long-name-{i}",
            "r",
            "m",
            20.0,
            {f"a-rather-long-name-{i}-6d8f7c9b5d-x2x{j}x": "" for j in range(10)},
        )
        for i in range(10)
    ]
    assert len(pod_query(next(iter(_groups(long))))) < 8000


def test_names_are_matched_whole_and_literally() -> None:
    target = Target("team", "m", "r", "m", 20.0, {"a.b-1": ""}, ("m-stable",))
    assert 'pod=~"(a[.]b-1)"' in pod_query([target])
    assert 'envoy_cluster_name=~"(team_m-stable)_[0-9]+"' in gateway_query([target])


async def counted(url: str, query: str = "sum(x)", at: float = NOW, seconds: float = 2.0) -> float | str:
    """What a user's query says, or why it says nothing."""
    metrics = PrometheusMetrics(url, query_seconds=seconds)
    try:
        return await metrics.count(query, at)
    except NoCount as problem:
        return str(problem)
    finally:
        await metrics.close()


REFUSED = json.dumps(
    {"status": "error", "errorType": "bad_data", "error": "unexpected end of input"}
).encode()
COUNTS: dict[str, tuple[int, bytes, float | str]] = {
    "one series": (200, vector(one({"a": "b"}, "12.5")), 12.5),
    "zero": (200, vector(one({}, "0")), 0.0),
    "no series": (200, vector(), "the query returns no series; where one appears"),
    "three series": (
        200,
        vector(*(one({"a": a}, "1") for a in "abc")),
        "the query returns 3 series; sum them",
    ),
    "NaN": (200, vector(one({}, "NaN")), "the query returns nan, which is no count"),
    "infinity": (200, vector(one({}, "+Inf")), "the query returns inf"),
    "less than nothing": (200, vector(one({}, "-1")), "the query returns -1"),
    "a scalar": (200, b'{"data": {"resultType": "scalar", "result": [1, "2"]}}', "returns no vector"),
    "a string": (200, b'{"data": {"resultType": "string", "result": [1, "x"]}}', "returns no vector"),
    "a matrix": (200, NONSENSE["a matrix"], "returns no vector"),
    "a page": (200, NONSENSE["a page"], "returns no vector"),
    "a query that is none": (400, REFUSED, "Prometheus refuses (HTTP 400): unexpected end of input"),
    "two that do not match": (422, REFUSED, "Prometheus refuses (HTTP 422): unexpected"),
    "a proxy's words": (502, b"bad gateway", "502"),
    "an error that is no text": (503, b'{"error": [1]}', "503"),
    "far too much": (200, b" " * (1024 * 1024 + 1), "Prometheus answers with more than 1 MiB"),
}


@pytest.mark.parametrize("name", COUNTS)
async def test_a_users_query_is_one_number_or_a_sentence(name: str) -> None:
    status, body, expected = COUNTS[name]
    with prometheus() as (server, url):
        server.status, server.body = status, lambda _: body
        found = await counted(url)
        assert server.asked == 1
    if isinstance(expected, float):
        assert found == expected
    else:
        assert isinstance(found, str)
        assert expected in found
        assert len(found) <= 300


async def test_a_users_query_is_of_the_moment_that_is_asked_for() -> None:
    with prometheus() as (server, url):
        server.body = lambda _: vector(one({}, "1"))
        query = 'sum(app_total{revision="a1",path=~"/v2.+&x=%"}) or vector(0)'
        assert await counted(url, query, NOW + 0.25) == 1
    assert server.params == {"query": [query], "time": [f"{NOW + 0.25:.3f}"], "timeout": ["2s"]}


async def test_a_users_slow_query_holds_up_nobody() -> None:
    """Those of others are asked by other threads."""
    with prometheus() as (server, url):
        server.body, server.delay = lambda _: vector(one({}, "1")), 0.8
        metrics = PrometheusMetrics(url, query_seconds=0.3, clock=lambda: NOW)
        slow = await asyncio.gather(*(metrics.count("x", NOW) for _ in range(4)), return_exceptions=True)
        assert {str(problem) for problem in slow} == {"Prometheus does not answer within 0.3 s."}
        server.delay, server.body = 0.0, both(of_pod("a"))
        (sample,) = await metrics.read([TARGET])
        await metrics.close()
    assert [pod.pod for pod in sample.pods] == ["a"]


async def test_without_a_prometheus_there_is_no_count() -> None:
    pods = PodMetrics()
    with pytest.raises(NoCount, match="no Prometheus to ask"):
        await pods.count("x", NOW)
    assert "refused" in str(await counted("http://user:secret@127.0.0.1:1"))

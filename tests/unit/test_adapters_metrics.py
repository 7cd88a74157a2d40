"""The pods' own metrics: Triton's text as it is, and everything that a pod may answer instead."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import pytest
from aiohttp import web

from seawall.adapters.metrics_text import Unreadable, pod_sample, read_text
from seawall.adapters.scrape import NoAnswer, PodMetrics, read_batches
from seawall.measure.types import Histogram, PodSample
from seawall.ports import Target
from seawall.sizing.calibration import BatchCount

# As Triton 2.51 writes it, with the series that 2.65 and GPUs add.
TEXT = """\
# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="other",version="1"} 900
nv_inference_request_success{model="minilm",version="1"} 6
nv_inference_request_failure{model="minilm",reason="OTHER",version="1"} 1
nv_inference_request_failure{model="minilm",reason="CANCELED",version="1"} 0
nv_inference_request_failure{model="minilm",reason="REJECTED",version="1"} 2
nv_inference_count{model="minilm",version="1"} 6
nv_inference_request_duration_us{model="minilm",version="1"} 110184
nv_inference_pending_request_count{model="minilm",version="1"} 4
nv_inference_request_summary_us_count{model="minilm",version="1"} 6
nv_inference_request_summary_us_sum{model="minilm",version="1"} 110184
nv_inference_request_summary_us{model="minilm",version="1",quantile="0.5"} 397
nv_inference_request_summary_us{model="minilm",version="1",quantile="0.99"} 438
nv_inference_queue_summary_us{model="minilm",version="1",quantile="0.99"} Nan
nv_inference_first_response_histogram_ms_count{model="minilm",version="1"} 9
nv_inference_first_response_histogram_ms_sum{model="minilm",version="1"} 110
nv_inference_first_response_histogram_ms_bucket{model="minilm",version="1",le="19"} 8
nv_inference_first_response_histogram_ms_bucket{model="minilm",version="1",le="40"} 8
nv_inference_first_response_histogram_ms_bucket{model="minilm",version="1",le="+Inf"} 9
nv_energy_consumption{gpu_uuid="GPU-1"} 1000.5
nv_energy_consumption{gpu_uuid="GPU-2"} 500
nv_cpu_utilization 0
"""
SAMPLE = PodSample(
    "a", 5.0, 6.0, 3.0, 4.0, Histogram((19.0, 40.0, math.inf), (8.0, 8.0, 9.0)), 0.438, joules=1500.5
)


def _sample(text: str, model: str = "minilm") -> PodSample:
    return pod_sample("a", 5.0, model, read_text(text))


def test_tritons_text_is_read() -> None:
    assert _sample(TEXT) == SAMPLE
    assert _sample(TEXT.replace("\n", "\r\n")) == SAMPLE


def test_stages_of_a_pipeline_are_other_models() -> None:
    assert _sample(TEXT, "other").answered == 900
    assert _sample(TEXT, "other").histogram is None
    assert _sample(TEXT, "mini") == PodSample("a", 5.0, joules=1500.5)


def test_versions_of_a_model_are_added_up() -> None:
    second = TEXT.replace('version="1"', 'version="2"').replace('le="40"', 'le="50"')
    lines = [line for line in second.splitlines() if "energy" not in line]
    both = _sample(TEXT + "\n".join(lines) + "\n")
    assert (both.answered, both.failed, both.problem) == (12, 6, "")
    assert both.histogram == Histogram((19.0, math.inf), (16.0, 18.0))


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        (('quantile="0.99"} 438', 'quantile="0.99"} Nan'), "summary_p99_ms", None),
        (("} 4\n", "} -4\n"), "pending", -4.0),
        (("nv_energy_consumption", "nv_energy_other"), "joules", None),
        (("_request_failure", "_request_other"), "failed", 0.0),
        (("_request_success", "_request_other"), "answered", None),
        (('version="1"} 6\n', 'version="1",a="x\\"}{\\\\,"} 6 1795000000\n'), "answered", 6.0),
        (('="minilm",version="1"} 6\n', '="minilm",version="1"} +Inf\n'), "answered", math.inf),
    ],
)
def test_what_is_told_is_handed_on_as_it_is(change: tuple[str, str], field: str, value: object) -> None:
    assert getattr(_sample(TEXT.replace(*change)), field) == value


def test_an_edge_that_is_no_number_is_seen_later() -> None:
    found = _sample(TEXT.replace('le="40"', 'le="forty"')).histogram
    assert found is not None
    assert any(math.isnan(edge) for edge in found.edges_ms)


def test_a_series_told_twice_is_a_problem() -> None:
    line = 'nv_inference_request_success{model="minilm",version="1"} 6\n'
    assert _sample(TEXT + line).problem == "tells nv_inference_request_success twice"


@pytest.mark.parametrize("end", [-1, -2, -15, -30, -60])
def test_a_text_that_was_cut_off_is_refused(end: int) -> None:
    with pytest.raises(Unreadable, match="cut off"):
        _sample(TEXT[:end])


@pytest.mark.parametrize(
    "line", ["nv_energy_consumption{", "nv_energy_consumption x", "nv_energy_consumption 5 6 7"]
)
def test_a_line_that_is_none_is_refused(line: str) -> None:
    with pytest.raises(Unreadable):
        _sample(f"{TEXT}{line}\n")


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def _pods(**answers: Handler) -> AsyncIterator[tuple[dict[str, str], int]]:
    """Every pod has a loopback address of its own, and the same port."""
    runners, addresses, port = [], {}, 0
    for number, (name, answer) in enumerate(answers.items(), start=2):
        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        addresses[name] = f"127.0.0.{number}"
        await web.TCPSite(runner, addresses[name], port).start()
        port = runner.addresses[0][1]
    try:
        yield addresses, port
    finally:
        for runner in runners:
            await runner.cleanup()


async def _well(_: web.Request) -> web.Response:
    return web.Response(text=TEXT)


def _answers(**arguments: object) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(**arguments)  # type: ignore[arg-type]

    return answer


async def _slow(_: web.Request) -> web.Response:
    await asyncio.sleep(30)
    return web.Response(text=TEXT)


async def _drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(100):
        await response.write(b"# more\n")
        await asyncio.sleep(0.05)
    return response


async def _flood(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            await response.write(b"# more and more\n" * 8192)
    return response


def _target(pods: Mapping[str, str], started: Mapping[str, float] | None = None) -> Target:
    return Target("team", "minilm", "r1", "minilm", 20.0, pods, started=started or {})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (_answers(status=503), "HTTP 503"),
        (_answers(status=302, headers={"Location": "http://127.0.0.2/"}), "HTTP 302"),
        (_slow, "no answer within 0.3 s"),
        (_drip, "no answer within 0.3 s"),
        (_flood, "more than"),
    ],
    ids=["failing", "elsewhere", "slow", "drip", "flood"],
)
async def test_a_pod_that_does_not_answer_is_missing(answer: Handler, words: str) -> None:
    async with _pods(a=_well, b=answer) as (addresses, port):
        metrics = PodMetrics(metrics_port=port, pod_seconds=0.3, clock=lambda: 5.0)
        try:
            (sample,) = await metrics.read([_target(addresses, {"a": 4.0})])
            (alone,) = await metrics.read([_target({"b": addresses["b"]})])
        finally:
            await metrics.close()
    assert sample.expected == {"a", "b"}
    assert [pod.pod for pod in sample.pods] == ["a"]
    assert (sample.pods[0].started, sample.pods[0].at, sample.trouble) == (4.0, 5.0, None)
    assert words in sample.message
    assert (alone.trouble, alone.pods) == ("MetricsUnavailable", ())


async def test_nobody_there_and_nobody_to_ask() -> None:
    metrics = PodMetrics(metrics_port=1, pod_seconds=0.3)
    try:
        gone, none = await metrics.read([_target({"a": "127.0.0.9"}), _target({})])
    finally:
        await metrics.close()
    assert gone.trouble == "MetricsUnavailable"
    assert "Connection refused" in gone.message or "Connect call failed" in gone.message
    assert (none.trouble, none.expected) == ("NotStarted", frozenset())


async def test_a_pod_that_answers_nonsense_is_told_as_such() -> None:
    async with _pods(a=_answers(text="nv_energy_consumption{\n"), b=_answers(text="")) as (addresses, port):
        metrics = PodMetrics(metrics_port=port)
        try:
            (sample,) = await metrics.read([_target(addresses)])
        finally:
            await metrics.close()
    first, second = sample.pods
    assert first.problem.startswith("tells a line that is no metric")
    assert (second.answered, second.problem) == (None, "")


async def test_all_pods_together_have_a_deadline() -> None:
    async with _pods(a=_slow, b=_well) as (addresses, port):
        metrics = PodMetrics(metrics_port=port, pod_seconds=30, read_seconds=0.4)
        try:
            (sample,) = await metrics.read([_target(addresses)])
        finally:
            await metrics.close()
    assert [pod.pod for pod in sample.pods] == ["b"]


def _stage(count: int, ns: int) -> dict[str, int]:
    return {"count": count, "ns": ns}


STATS = {
    "model_stats": [
        {"name": "other", "version": "1", "batch_stats": []},
        {
            "name": "minilm",
            "version": "1",
            "batch_stats": [
                {
                    "batch_size": size,
                    "compute_input": _stage(count, 10),
                    "compute_infer": _stage(count, 1000 * size),
                    "compute_output": _stage(count, 1),
                }
                for size, count in ((4, 7), (1, 100))
            ],
        },
    ]
}


async def test_batch_statistics_are_asked_from_the_pods() -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.raw_path)
        return web.json_response(STATS)

    pods = {"a": answer, "b": _answers(text="{}"), "c": _answers(status=400)}
    async with _pods(**pods) as (addresses, port):
        metrics = PodMetrics(http_port=port)
        try:
            told = await metrics.batches(_target(addresses))
        finally:
            await metrics.close()
    assert told == {"a": (BatchCount(1, 100, 1011), BatchCount(4, 7, 4011))}
    assert asked == ["/v2/models/minilm/stats"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b'{"model_stats": 5}',
        b'{"model_stats": [{"name": "minilm", "batch_stats": [{}]}]}',
        b"[" * 100_000,
        json.dumps(STATS).replace("4000", "-5").encode(),
        json.dumps(STATS).replace('"ns": 4000', '"ns": true').encode(),
        json.dumps(STATS).replace('"batch_size": 4', '"batch_size": [4]').encode(),
    ],
)
def test_statistics_that_are_none_are_refused(raw: bytes) -> None:
    with pytest.raises(NoAnswer):
        read_batches(raw, "minilm")

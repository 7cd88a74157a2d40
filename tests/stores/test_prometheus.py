"""A real Prometheus that scrapes real text: killed, restarted, slow, empty, NaN and doubled."""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from seawall.adapters.prometheus import PrometheusMetrics
from seawall.measure.types import ArmSample
from seawall.measure.window import Series
from seawall.ports import NoCount, Target

pytest.importorskip("prometheus_api_client", reason="the client library of Prometheus is not installed")
pytestmark = pytest.mark.stores

EDGES = (9, 14, 19, 24, 39)
SHARES = (0.5, 0.9, 0.995, 0.999, 1.0)
RPS = 80
CACHE = Path(
    os.environ.get("SEAWALL_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seawall"
)


def _program() -> Path:
    found = sorted(CACHE.glob("bin/prometheus-v*/prometheus"))
    if not found:
        pytest.skip("no Prometheus was built here: tools/cluster builds one")
    return found[-1]


class Exporter:
    """Triton's text of one pod, and Envoy's of one gateway, as functions of the time."""

    def __init__(self) -> None:
        self.began = time.time()
        self.change: Callable[[str], str] = lambda text: text
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = outer.change(outer.triton() + outer.envoy()).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    def triton(self) -> str:
        n = int(10_000 + RPS * (time.time() - self.began))
        of = 'model="minilm",version="1"'
        buckets = [(str(edge), int(n * share)) for edge, share in zip(EDGES, SHARES, strict=True)]
        lines = [
            f"nv_inference_request_success{{{of}}} {n}",
            f'nv_inference_request_failure{{{of},reason="OTHER"}} 0',
            f"nv_inference_pending_request_count{{{of}}} 2",
            f'nv_inference_request_summary_us{{{of},quantile="0.5"}} 9000',
            f'nv_inference_request_summary_us{{{of},quantile="0.99"}} Nan',
        ]
        family = "nv_inference_first_response_histogram_ms"
        lines.append(f"# TYPE {family} histogram")
        lines += [f'{family}_bucket{{{of},le="{le}"}} {v}' for le, v in [*buckets, ("+Inf", n)]]
        lines += [f"{family}_count{{{of}}} {n}", f"{family}_sum{{{of}}} {9 * n}"]
        return "\n".join(lines) + "\n"

    def envoy(self) -> str:
        n = int(5000 + 2 * RPS * (time.time() - self.began))
        of = 'envoy_cluster_name="other_minilm_8000"'
        family = "envoy_cluster_upstream_rq_time"
        lines = [f"# TYPE {family} histogram"]
        buckets = [(str(edge + 1), int(n * share)) for edge, share in zip(EDGES, SHARES, strict=True)]
        lines += [f'{family}_bucket{{{of},le="{le}"}} {v}' for le, v in [*buckets, ("+Inf", n)]]
        lines += [f"{family}_count{{{of}}} {n}", f"{family}_sum{{{of}}} {9 * n}"]
        lines.append(f'envoy_cluster_upstream_rq{{{of},envoy_response_code="200"}} {n}')
        return "\n".join(lines) + "\n"


class Prometheus:
    """One process on loopback; jobs are (name, pods) that are scraped every second."""

    def __init__(self, folder: Path, exporter: Exporter) -> None:
        self.folder, self.exporter = folder, exporter
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port: int = taken.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *jobs: str) -> None:
        labels = {"namespace": "team", "pod": "a"}
        scrapes = [
            {"job_name": job, "static_configs": [{"targets": [self.exporter.address], "labels": labels}]}
            for job in jobs
        ]
        config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": scrapes}
        (self.folder / "prometheus.yml").write_text(json.dumps(config))
        command = [
            str(_program()),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None


@contextmanager
def slow_proxy(port: int, seconds: float) -> Iterator[str]:
    """Hands connections on, and holds every answer back."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket, delay: float) -> None:
        try:
            while data := source.recv(65536):
                time.sleep(delay)
                sink.sendall(data)
        except OSError:
            pass

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", port))
            for ends in ((client, server, 0.0), (server, client, seconds)):
                threading.Thread(target=pump, args=ends, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    exporter = Exporter()
    yield exporter
    exporter.server.shutdown()
    exporter.server.server_close()


@pytest.fixture
def prometheus(tmp_path: Path, exporter: Exporter) -> Iterator[Prometheus]:
    prometheus = Prometheus(tmp_path, exporter)
    yield prometheus
    prometheus.kill()


@pytest.fixture
async def metrics(prometheus: Prometheus) -> AsyncIterator[PrometheusMetrics]:
    metrics = PrometheusMetrics(prometheus.url, query_seconds=2.0)
    yield metrics
    await metrics.close()


POD = Target("team", "minilm", "r1", "minilm", 20.0, {"a": "127.0.0.1"})
BEHIND = Target("other", "minilm", "r1", "minilm", 20.0, {"b": "127.0.0.1"}, ("minilm",))


async def until(
    metrics: PrometheusMetrics,
    wanted: Callable[[ArmSample], bool],
    target: Target = POD,
    seconds: float = 30.0,
) -> ArmSample:
    end = time.monotonic() + seconds
    while True:
        (sample,) = await metrics.read([target])
        if wanted(sample):
            return sample
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds} s; last: {sample}", pytrace=False)
        await asyncio.sleep(0.3)


async def watch(metrics: PrometheusMetrics, series: Series, seconds: float, target: Target = POD) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        (sample,) = await metrics.read([target])
        series.add(sample)
        await asyncio.sleep(1)


async def test_rate_and_p99_of_what_was_scraped(prometheus: Prometheus, metrics: PrometheusMetrics) -> None:
    prometheus.start("pods")
    first = await until(metrics, lambda s: bool(s.pods))
    assert 0 <= first.at - first.pods[0].at < 3, "the time of the scrape"
    assert first.pods[0].at != first.at
    assert (first.pods[0].summary_p99_ms, first.pods[0].pending) == (None, 2)
    assert first.gateway is None
    series = Series()
    await watch(metrics, series, 12)
    reading = series.reading(time.time(), 20.0)
    assert (reading.source, reading.trouble, reading.complete) == ("Triton", None, True)
    assert reading.rate_15s == pytest.approx(RPS, rel=0.02)
    assert reading.p99_ms == pytest.approx(19.7, abs=0.3)
    assert reading.late_share == pytest.approx(0.005, abs=0.003)

    prometheus.kill()
    gone = await until(metrics, lambda s: s.trouble is not None)
    assert gone.trouble == "MetricsUnavailable"
    assert series.add(gone).reading(gone.at + 31, 20.0).p99_ms is None
    assert series.reading(gone.at + 31, 20.0).trouble == "MetricsUnavailable"

    prometheus.start("pods")
    back = await until(metrics, lambda s: bool(s.pods) and s.pods[0].at > gone.at)
    series.add(back)
    await watch(metrics, series, 4)
    again = series.reading(time.time(), 20.0)
    assert again.trouble is None
    assert again.rate_60s == pytest.approx(RPS, rel=0.02)


async def test_the_gateway_is_known_by_its_service(
    prometheus: Prometheus, metrics: PrometheusMetrics
) -> None:
    prometheus.start("envoy")
    await until(metrics, lambda s: s.gateway is not None, BEHIND)
    series = Series()
    await watch(metrics, series, 12, BEHIND)
    reading = series.reading(time.time(), 20.0)
    assert (reading.source, reading.trouble) == ("Gateway", None)
    assert reading.rate_15s == pytest.approx(2 * RPS, rel=0.02)
    assert not reading.complete, "the pod itself is not scraped"


async def test_scraped_by_two_jobs(prometheus: Prometheus, metrics: PrometheusMetrics) -> None:
    prometheus.start("pods", "pods-again")
    sample = await until(metrics, lambda s: len(s.pods) > 1)
    reading = Series().add(sample).reading(sample.at, 20.0)
    assert (reading.trouble, reading.p99_ms, reading.rate_60s) == ("MetricsInvalid", None, None)
    assert "twice" in reading.message


@pytest.mark.parametrize(
    ("change", "trouble"),
    [
        (lambda text: "", "MetricsUnavailable"),
        (lambda text: text.replace("} 2\n", "} NaN\n"), "MetricsInvalid"),
        (lambda text: "\n".join(x for x in text.split("\n") if '="+Inf"' not in x), "MetricsInvalid"),
    ],
    ids=["empty", "NaN", "no last edge"],
)
async def test_what_the_pods_say_is_no_data(
    prometheus: Prometheus, metrics: PrometheusMetrics, change: Callable[[str], str], trouble: str
) -> None:
    prometheus.start("pods")
    await until(metrics, lambda s: bool(s.pods))
    prometheus.exporter.change = change

    def reading_of(sample: ArmSample) -> bool:
        return Series().add(sample).reading(sample.at, 20.0).trouble == trouble

    sample = await until(metrics, reading_of)
    assert Series().add(sample).reading(sample.at, 20.0).rate_60s is None


async def test_a_slow_way_to_prometheus(prometheus: Prometheus, metrics: PrometheusMetrics) -> None:
    prometheus.start("pods")
    await until(metrics, lambda s: bool(s.pods))
    for delay, fine in ((0.2, True), (5.0, False)):
        with slow_proxy(prometheus.port, delay) as url:
            behind = PrometheusMetrics(url, query_seconds=1.0)
            (sample,) = await behind.read([POD])
            await behind.close()
        assert (sample.trouble is None) == fine
        assert bool(sample.pods) == fine


ANSWERED = 'sum(nv_inference_request_success{namespace="team",model="minilm"})'


async def test_a_users_query_of_two_moments_makes_a_count(
    prometheus: Prometheus, metrics: PrometheusMetrics
) -> None:
    prometheus.start("pods")
    await until(metrics, lambda s: bool(s.pods))
    await asyncio.sleep(13)
    end = time.time() - 2
    ends = [await metrics.count(ANSWERED, at) for at in (end - 8, end)]
    assert ends[1] - ends[0] == pytest.approx(8 * RPS, abs=1.1 * RPS), "each is up to one scrape old"
    await asyncio.sleep(2)
    assert [await metrics.count(ANSWERED, at) for at in (end - 8, end)] == ends, "the past stays what it was"


SAID = {
    "sum(nothing_of_this_name)": "returns no series",
    "nv_inference_first_response_histogram_ms_bucket": "returns 6 series; sum them",
    "sum(nothing_of_this_name) or vector(0)": "",
    "nv_inference_request_summary_us{quantile='0.99'}": "returns nan",
    "scalar(sum(up))": "returns no vector",
    "up[5m]": "returns no vector",
    "sum(": "Prometheus refuses (HTTP 400): ",
    "label_replace(up, 'x', '$1', 'pod', '(')": "Prometheus refuses (HTTP ",
}


async def test_what_a_users_query_may_say(prometheus: Prometheus, metrics: PrometheusMetrics) -> None:
    prometheus.start("pods")
    await until(metrics, lambda s: bool(s.pods))
    for query, said in SAID.items():
        try:
            assert await metrics.count(query, time.time()) >= 0
            told = ""
        except NoCount as problem:
            told = str(problem)
        assert said in told, query
        assert bool(told) == bool(said), query

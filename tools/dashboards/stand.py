"""A real Prometheus over the story: scraping it as it goes on, or holding what it told over hours."""

from __future__ import annotations

import http.server
import json
import re
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from seawall_cluster import binaries

from dashboards.story import Story
from seawall.runtime.telemetry import Telemetry

Labels = dict[str, str]
PROCESS = re.compile(r"^(# \w+ )?(process_|python_)")


@dataclass(frozen=True)
class Prometheus:
    url: str

    def now(self, expr: str, at: float | None = None) -> list[tuple[Labels, float]]:
        """An instant query."""
        parameters = {"query": expr} | ({} if at is None else {"time": str(at)})
        return [(each["metric"], float(each["value"][1])) for each in self._result("query", parameters)]

    def over(self, expr: str, start: float, end: float, step: float) -> list[tuple[Labels, list[Any]]]:
        """A range query: (time, value) of each series."""
        parameters = {"query": expr, "start": str(start), "end": str(end), "step": str(step)}
        return [
            (each["metric"], [(at, float(value)) for at, value in each["values"]])
            for each in self._result("query_range", parameters)
        ]

    def _result(self, kind: str, parameters: dict[str, str]) -> list[dict[str, Any]]:
        url = f"{self.url}/api/v1/{kind}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - loopback
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
                return found
        except urllib.error.HTTPError as error:
            raise ValueError(f"{parameters['query']}: {error.read().decode()[:500]}") from error


@contextmanager
def telling(
    story: Story, every: int = 1, process: Callable[[str], str] | None = None
) -> Iterator[list[dict[str, Any]]]:
    """Serves what the story's operator and pods tell; gives Prometheus' scrape_configs.

    `process`: what to tell of an operator's process, in place of what this one is.
    """
    lock, last = threading.Lock(), [time.monotonic()]
    pods, operators = {pod.name: pod for pod in story.pods()}, story.operators()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with lock:
                now = time.monotonic()
                story.go_on(max(0.001, now - last[0]))
                last[0] = now
                name = self.path.strip("/")
                if name in operators:
                    text = _without_process(operators[name]) if process else _whole(operators[name])
                    text += process(name) if process else ""
                else:
                    text = pods[name].text()
            with suppress(ConnectionError):  # a scrape that would not wait
                self.send_response(200)
                self.send_header("Content-Type", CONTENT_TYPE_LATEST)
                self.end_headers()
                self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    here = [f"127.0.0.1:{server.server_port}"]
    targets = [
        {
            "targets": here,
            "labels": {**pod.target, "instance": f"{name}:8002", "__metrics_path__": f"/{name}"},
        }
        for name, pod in pods.items()
    ]
    often = {"scrape_interval": f"{every}s", "scrape_timeout": f"{every}s"}
    # An instance of its own for each, as pods have addresses of their own.
    leading = [
        {"targets": here, "labels": {"pod": name, "instance": f"{name}:9090", "__metrics_path__": f"/{name}"}}
        for name in operators
    ]
    try:
        yield [
            {"job_name": "seawall-models", **often, "static_configs": targets},
            {"job_name": "seawall", "honor_labels": True, **often, "static_configs": leading},
        ]
    finally:
        server.shutdown()
        server.server_close()


def _whole(telemetry: Telemetry) -> str:
    return generate_latest(telemetry.registry).decode()


def _without_process(telemetry: Telemetry) -> str:
    lines = _whole(telemetry).splitlines(keepends=True)
    return "".join(line for line in lines if not PROCESS.search(line))


@contextmanager
def prometheus(
    folder: Path, scrapes: Sequence[dict[str, Any]] = (), rules: dict[str, Any] | None = None
) -> Iterator[Prometheus]:
    """One process on loopback over the data in `folder`."""
    program = binaries.ensure(["prometheus"])["prometheus"]
    config: dict[str, Any] = {"scrape_configs": list(scrapes)}
    if rules is not None:
        (folder / "rules.yml").write_text(json.dumps(rules))
        config["rule_files"] = [str(folder / "rules.yml")]
    (folder / "prometheus.yml").write_text(json.dumps(config))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    command = [
        str(program),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--storage.tsdb.retention.time=10y",
        f"--web.listen-address={address}",
    ]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait(process, f"http://{address}/-/ready", folder / "log")
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        process.wait(20)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - loopback
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"Prometheus does not start: {log.read_text()[-1000:]}")

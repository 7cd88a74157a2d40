"""Operators as processes of their own against a real API server, and what they may be asked about."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import yaml

ROOT = Path(__file__).resolve().parents[2]
WRITES = {"patch", "create", "update", "delete"}
PATIENCE = 60.0
"""How long a test waits for what must happen; only a failing test waits that long."""

CLASS = {
    "apiVersion": "serving.seawall.dev/v1alpha1",
    "kind": "AcceleratorClass",
    "metadata": {"name": "cpu"},
    "spec": {"type": "cpu", "runtime": {"image": "example.test/triton:1", "tritonVersion": "24.10"}},
}


def service(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.seawall.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"uri": f"s3://models/{name}.onnx"},
            "accelerator": {"class": "cpu"},
            "slo": {"p99": "50ms"},
        }
        | spec,
    }


def eventually(what: str, condition: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """The first true value of the condition."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not come true: {what}")
        time.sleep(0.05)


_PORTS = itertools.count(20000 + 1500 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]))
"""Each worker has its own, below those that the kernel gives to outgoing connections: nobody takes one
between the moment it is found free and the moment it is listened at."""


def free_port() -> int:
    for port in itertools.islice(_PORTS, 1500):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


class Cluster:
    """kubectl against the API server under test, with JSON in and out."""

    def __init__(self, server: Any) -> None:
        self.server = server

    def apply(self, *manifests: dict[str, Any]) -> None:
        self.server.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests))

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        text = self.server.kubectl(
            "get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found", "--show-managed-fields"
        )
        return json.loads(text) if text.strip() else None

    def list(self, kind: str, namespace: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(
            self.server.kubectl("get", kind, "-n", namespace, "-o", "json")
        )["items"]
        return items

    def names(self, kind: str, namespace: str) -> set[str]:
        return {item["metadata"]["name"] for item in self.list(kind, namespace)}

    def namespace(self, name: str) -> str:
        self.server.kubectl("create", "namespace", name)
        return name

    def patch(
        self, kind: str, name: str, namespace: str, patch: dict[str, Any], type_: str = "merge"
    ) -> None:
        self.server.kubectl(
            "patch", kind, name, "-n", namespace, f"--type={type_}", "-p", json.dumps(patch),
            "--field-manager=somebody",
        )  # fmt: skip

    def condition(self, name: str, namespace: str, type_: str) -> dict[str, Any]:
        found = (self.get("swi", name, namespace) or {}).get("status", {}).get("conditions", [])
        return next((c for c in found if c["type"] == type_), {})

    def versions(self, namespace: str) -> dict[str, str]:
        kinds = "deployments,services,poddisruptionbudgets,networkpolicies,serviceaccounts,swi"
        return {
            f"{o['kind']} {o['metadata']['name']}": o["metadata"]["resourceVersion"]
            for o in self.list(kinds, namespace)
        }

    def settled(self, name: str, namespace: str) -> None:
        """The service's children exist and its status tells of its present spec."""
        eventually(f"{name} has its Service", lambda: name in self.names("services", namespace))

        def told() -> bool:
            live = self.get("swi", name, namespace) or {}
            return bool(live.get("status", {}).get("observedGeneration") == live["metadata"]["generation"])

        eventually(f"the status of {name} is up to date", told)


class OperatorProcess:
    program: tuple[str, ...] = ("-m", "seawall", "operator")
    """what Python runs"""

    def __init__(self, server: Any, user: str, log: Path, **settings: str) -> None:
        self.server = server
        self.user = user
        self.log = log
        self.health_port, self.metrics_port = free_port(), free_port()
        environment = server.environment() | {
            "KUBECONFIG": str(server.kubeconfig_for(user, "system:masters")),
            "SEAWALL_IMAGE": "example.test/seawall:1",
            "SEAWALL_NAMESPACE": "default",
            "SEAWALL_HEALTH_PORT": str(self.health_port),
            "SEAWALL_METRICS_PORT": str(self.metrics_port),
            "SEAWALL_METRICS_AUTH": "false",  # tests/apiserver/test_metrics_auth.py asks with tokens
            "SEAWALL_LISTEN_HOST": "127.0.0.1",
        }
        environment |= {f"SEAWALL_{name.upper()}": value for name, value in settings.items()}
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, *self.program], env=environment, stderr=sink, cwd=os.sep
            )

    def health(self, path: str = "healthz") -> dict[str, Any]:
        """{} while it does not answer or answers that it is not well."""
        try:
            with urlopen(f"http://127.0.0.1:{self.health_port}/{path}", timeout=5) as answer:
                facts: dict[str, Any] = json.load(answer)
                return facts
        except (URLError, ConnectionError, TimeoutError):
            return {}

    def metrics(self) -> dict[str, float]:
        with urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def looks(self) -> float:
        return sum(v for name, v in self.metrics().items() if name.startswith("seawall_reconcile_total"))

    def leads(self) -> bool:
        return bool(self.health().get("leader"))

    def ready(self) -> OperatorProcess:
        def answered() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"the operator has ended: {self.log.read_text()[-2000:]}")
            return bool(self.health("readyz"))

        eventually("the operator is ready", answered)
        return self

    def working(self) -> OperatorProcess:
        self.ready()
        eventually("the operator leads", self.leads)
        return self

    def idle(self) -> None:
        """It has nothing in its queue, and nothing new comes for a while."""
        quiet = 0
        while quiet < 4:
            before = self.looks()
            time.sleep(0.25)
            still = self.looks() == before and self.metrics()["seawall_queue_depth"] == 0
            quiet = quiet + 1 if still else 0

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def requests(self) -> Counter[str]:
        """By verb and resource, of everything that this user has asked the API server for."""
        counted: Counter[str] = Counter()
        for event in self.server.audit_events(self.user):
            if event["stage"] == "ResponseComplete":
                ref = event.get("objectRef", {})
                resource = ref.get("resource", "") + (
                    f"/{ref['subresource']}" if "subresource" in ref else ""
                )
                counted[f"{event['verb']} {resource}"] += 1
        return counted

    def writes(self) -> Counter[str]:
        """Without the Lease, which is written every two seconds whatever happens."""
        return Counter(
            {
                call: n
                for call, n in self.requests().items()
                if call.split()[0] in WRITES and not call.endswith(" leases")
            }
        )


@contextmanager
def operator(server: Any, log: Path, user: str = "operator", **settings: str) -> Iterator[OperatorProcess]:
    running = OperatorProcess(server, user, log, **settings)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.kill()

"""A real API server with Seawall's definitions in it; each test has users and a namespace of its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from apiserver.operators import CLASS, ROOT, Cluster, OperatorProcess, operator


@pytest.fixture(scope="module")
def cluster(apiserver: Any) -> Iterator[Cluster]:
    apiserver.kubectl("apply", "-f", str(ROOT / "crds"))
    apiserver.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    made = Cluster(apiserver)
    made.apply(CLASS)
    yield made
    apiserver.kubectl("delete", "swa", "--all")  # the server is shared with tests that make classes too


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    name = cluster.namespace(f"t-{uuid.uuid4().hex[:8]}")
    yield name
    cluster.server.kubectl("delete", "swi", "--all", "-n", name, "--wait=true")


Start = Callable[..., OperatorProcess]


@pytest.fixture
def start(apiserver: Any, tmp_path: Path, namespace: str) -> Iterator[Start]:
    """start() runs one more operator, which ends with the test; each test has its own Lease."""
    lease = f"lease-{uuid.uuid4().hex[:8]}"
    with ExitStack() as running:

        def one_more(**settings: str) -> OperatorProcess:
            user = settings.pop("user", f"operator-{uuid.uuid4().hex[:8]}")
            log = tmp_path / f"{user}.log"
            settings = {"lease_name": lease, "watch_namespaces": f'["{namespace}"]'} | settings
            return running.enter_context(operator(apiserver, log, user, **settings))

        yield one_more

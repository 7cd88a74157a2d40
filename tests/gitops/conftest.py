"""An API server with the definitions of Seawall, the Gateway API and Flux; each test has a fleet of its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from seawall_cluster import flux, modules

from apiserver.operators import ROOT, Cluster
from gitops.stand import Fleet


@pytest.fixture(scope="session")
def cluster(apiserver: Any) -> Cluster:
    files = [ROOT / "crds", *modules.crds("gateway-api"), *flux.definitions()]
    chosen = [argument for path in files for argument in ("-f", str(path))]
    apiserver.kubectl("apply", "--server-side", "--force-conflicts", *chosen)
    apiserver.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    return Cluster(apiserver)


@pytest.fixture
def namespace(cluster: Cluster) -> str:
    return cluster.namespace(f"t-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def fleet(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    with ExitStack() as made:

        def one(*gates: str) -> Fleet:
            return made.enter_context(closing(Fleet(cluster, tmp_path, namespace, gates)))

        yield one

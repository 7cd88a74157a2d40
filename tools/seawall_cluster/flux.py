"""Flux's source- and kustomize-controller as programs beside an API server, without a node.

They are what `flux install` puts into pods, told by arguments instead of a pod's manifest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import modules

NAMESPACE = "flux-system"
"""Where Flux is usually; each pair of controllers looks at one namespace alone."""
USERS = ("source-controller", "kustomize-controller")
DEFINITIONS = USERS
"""Names for `modules.crds`"""


@dataclass(frozen=True)
class Ports:
    """All on loopback."""

    artifacts: int
    source_metrics: int
    source_health: int
    kustomize_metrics: int
    kustomize_health: int


def definitions() -> list[Path]:
    return [path for name in DEFINITIONS for path in modules.crds(name)]


def source_command(program: Path, storage: Path, ports: Ports) -> list[str]:
    """`storage`: where it keeps what it has fetched, and serves it from."""
    address = f"127.0.0.1:{ports.artifacts}"
    return [
        *_command(program, ports.source_metrics, ports.source_health),
        f"--storage-path={storage}",
        f"--storage-addr={address}",
        f"--storage-adv-addr={address}",
    ]


def kustomize_command(program: Path, ports: Ports, *gates: str, concurrent: int = 4) -> list[str]:
    """`gates`: optional features to switch on. `concurrent`: Kustomizations at once; each health check that
    waits takes a place."""
    features = [f"--feature-gates={','.join(f'{gate}=true' for gate in gates)}"] if gates else []
    command = _command(program, ports.kustomize_metrics, ports.kustomize_health)
    return [*command, f"--concurrent={concurrent}", *features]


def _command(program: Path, metrics: int, health: int) -> list[str]:
    return [
        str(program),
        "--watch-all-namespaces=false",
        "--enable-leader-election=false",
        "--events-addr=",
        f"--metrics-addr=127.0.0.1:{metrics}",
        f"--health-addr=127.0.0.1:{health}",
    ]


def environment(kubeconfig: Path, namespace: str = NAMESPACE) -> dict[str, str]:
    return {"KUBECONFIG": str(kubeconfig), "RUNTIME_NAMESPACE": namespace}


def git_repository(name: str, url: str, namespace: str = NAMESPACE, interval: str = "1h") -> dict[str, Any]:
    return {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"url": url, "interval": interval, "ref": {"branch": "main"}, "timeout": "20s"},
    }

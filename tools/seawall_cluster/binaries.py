"""Where the programs come from: KUBEBUILDER_ASSETS, the cache, PATH (the exact version only), the official
download, and last a build from pinned Go modules.

The cache lies outside the checkout and is keyed by version, so that every checkout shares it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import building, modules, obtain
from .cache import cache_directory
from .errors import ClusterError


@dataclass(frozen=True)
class Bundle:
    """Programs that share a version and a source."""

    name: str
    version: str
    programs: tuple[str, ...]
    # How a program is asked for its version.
    asks: tuple[str, ...]
    # What releases and programs call themselves, where that is not the version of the Go module.
    release: str = ""

    @property
    def folder(self) -> str:
        return f"{self.name}-v{self.version}"

    @property
    def called(self) -> str:
        return self.release or self.version


KUBERNETES = Bundle(
    "k8s",
    "1.36.2",
    ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl", "kube-proxy"),
    ("--version",),
)
CONTAINERD = Bundle("containerd", "2.3.5", ("containerd", "containerd-shim-runc-v2", "ctr"), ("--version",))
COREDNS = Bundle("coredns", "1.15.0", ("coredns",), ("-version",))
HELM = Bundle("helm", "4.3.1", ("helm",), ("version",))
# No part of the cluster: the stores that artefacts are published to in tests.
VERSITYGW = Bundle("versitygw", "1.8.0", ("versitygw",), ("--version",))
REGISTRY = Bundle("registry", "3.1.2", ("registry",), ("--version",))
# What `tools/cluster up --with` adds.
PROMETHEUS = Bundle("prometheus", "0.315.0", ("prometheus", "promtool"), ("--version",), "3.15.0")
CONTOUR = Bundle("contour", modules.SOURCES["contour"].version, ("contour",), ("version",))
ENVOY = Bundle("envoy", "1.40.0", ("envoy",), ("--version",))
KEDA = Bundle("keda", modules.SOURCES["keda"].version, ("keda-operator", "keda-adapter"), ("--version",))
# Flux, for the tests of GitOps; it cannot be asked for its version.
FLUX = Bundle(
    "flux",
    modules.SOURCES["kustomize-controller"].version,
    ("source-controller", "kustomize-controller"),
    ("--version",),
)
BUNDLES = (
    *(KUBERNETES, CONTAINERD, COREDNS, HELM, VERSITYGW, REGISTRY),
    *(PROMETHEUS, CONTOUR, ENVOY, KEDA, FLUX),
)
# Debian and Ubuntu package these; any version that they ship is good enough.
PACKAGED = {"etcd": "etcd-server", "runc": "runc"}
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def ensure(names: Iterable[str]) -> dict[str, Path]:
    """The path of each program, obtaining what is missing; progress goes to stderr."""
    wanted = list(names)
    found = {name: path for name in wanted if (path := find(name))}
    for name in wanted:
        if name in PACKAGED and name not in found:
            raise ClusterError(
                f"{name} is missing: install the package {PACKAGED[name]} (tools/bootstrap does)"
            )
    missing = [name for name in wanted if name not in found]
    if missing:
        with _only_one_builder():
            # Another process may have made them while this one waited.
            missing = [name for name in missing if not find(name)]
            for number, name in enumerate(missing, 1):
                _obtain(name, f"{number} of {len(missing)}")
        found |= {name: path for name in wanted if (path := find(name))}
    return found


def find(name: str) -> Path | None:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and _runnable(given := Path(assets) / name):
        return given
    if name in PACKAGED:
        packaged = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")
        return Path(packaged) if packaged else None
    bundle = bundle_of(name)
    if _runnable(cached := cache_directory() / "bin" / bundle.folder / name):
        return cached
    on_path = shutil.which(name)
    return Path(on_path) if on_path and has_version(Path(on_path), bundle) else None


def bundle_of(name: str) -> Bundle:
    for bundle in BUNDLES:
        if name in bundle.programs:
            return bundle
    raise ClusterError(f"{name} is not a program of the cluster")


def has_version(program: Path, bundle: Bundle) -> bool:
    asks = ("version", "--client") if program.name == "kubectl" else bundle.asks
    try:
        said = subprocess.run([program, *asks], capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return says_version(said.stdout, bundle.called)


def says_version(text: str, version: str) -> bool:
    """Whether a program's answer names exactly this version: not 1.36.20, not a release candidate."""
    return re.search(rf"(?<![\d.]){re.escape(version)}(?![\d.]|-(?:alpha|beta|rc))", text) is not None


def _runnable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _obtain(name: str, count: str) -> None:
    bundle = bundle_of(name)
    if find(name):  # came along with an earlier one of its bundle
        return
    folder = cache_directory() / "bin" / bundle.folder
    folder.mkdir(parents=True, exist_ok=True)
    label = f"{name} {bundle.called} ({count})"
    if not obtain.download(bundle.name, bundle.called, name, folder, label):
        building.make(bundle.name, bundle.called, name, folder, label)


@contextmanager
def _only_one_builder() -> Iterator[None]:
    directory = cache_directory()
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "build.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(
                "waiting for another process that makes the cluster's programs", file=sys.stderr, flush=True
            )
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield

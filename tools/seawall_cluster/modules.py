"""CustomResourceDefinitions of other projects, taken from their Go modules: the same files that they release.

A module is pinned by its version and by the hash that Go gives its contents. The files are copied into the
cache, so that Go and the network are needed once.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .cache import cache_directory
from .errors import ClusterError


@dataclass(frozen=True)
class Source:
    """Where the definitions lie, and what the module must be."""

    module: str
    version: str
    content: str
    files: tuple[str, ...]


def _each(folder: str, group: str, *kinds: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{group}_{kind}.yaml" for kind in kinds)


SOURCES = {
    "gateway-api": Source(
        "sigs.k8s.io/gateway-api",
        "1.3.0",
        "h1:q6okN+/UKDATola4JY7zXzx40WO4VISk7i9DIfOvr9M=",
        _each(
            "config/crd/standard",
            "gateway.networking.k8s.io",
            *("gatewayclasses", "gateways", "httproutes", "grpcroutes", "referencegrants"),
        ),
    ),
    "contour": Source(
        "github.com/projectcontour/contour",
        "1.33.8",
        "h1:QoOfwqWws+CVRFpsRC2+f1DmB5IdurtyUtepIsiWfE0=",
        ("examples/contour/01-crds.yaml",),
    ),
    "keda": Source(
        "github.com/kedacore/keda/v2",
        "2.21.0",
        "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
        (
            *_each(
                "config/crd/bases",
                "keda.sh",
                *("scaledobjects", "scaledjobs", "triggerauthentications", "clustertriggerauthentications"),
            ),
            *_each("config/crd/bases", "eventing.keda.sh", "cloudeventsources", "clustercloudeventsources"),
        ),
    ),
    "source-controller": Source(
        "github.com/fluxcd/source-controller",
        "1.9.1",
        "h1:FF8XTxLND/pXzVtUESKURUDiItFJQDZBZkbHvZimN8s=",
        # It ends where one of its kinds is unknown.
        _each(
            "config/crd/bases",
            "source.toolkit.fluxcd.io",
            *("buckets", "externalartifacts", "gitrepositories", "helmcharts"),
            *("helmrepositories", "ocirepositories"),
        ),
    ),
    "kustomize-controller": Source(
        "github.com/fluxcd/kustomize-controller",
        "1.9.1",
        "h1:jggQk9hMsnXG9QdPWNSKhttH5NdVN+HXm/dbKAJ3Uw8=",
        _each("config/crd/bases", "kustomize.toolkit.fluxcd.io", "kustomizations"),
    ),
    "monitoring": Source(
        "github.com/prometheus-operator/prometheus-operator",
        "0.85.0",
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        _each(
            "example/prometheus-operator-crd",
            "monitoring.coreos.com",
            *("podmonitors", "prometheusrules", "servicemonitors"),
        ),
    ),
}


def crds(name: str) -> list[Path]:
    """The files of one project's definitions, fetched if need be; some fit only a server-side apply."""
    if name not in SOURCES:
        raise ClusterError(f"no definitions are known by the name {name}: {', '.join(SOURCES)}")
    source = SOURCES[name]
    folder = cache_directory() / "crds" / f"{name}-v{source.version}"
    wanted = [folder / Path(file).name for file in source.files]
    if not all(path.exists() for path in wanted):
        _copy(source, _fetched(source), folder)
    return wanted


def _copy(source: Source, module: Path, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as scratch:
        for file in source.files:
            fresh = Path(scratch) / Path(file).name
            shutil.copyfile(module / file, fresh)
            folder.mkdir(exist_ok=True)
            fresh.replace(folder / fresh.name)


def _fetched(source: Source) -> Path:
    what = f"{source.module}@v{source.version}"
    # The content is pinned here; no other witness is asked.
    environment = {**os.environ, "GOFLAGS": "", "GOTOOLCHAIN": "local", "GOSUMDB": "off", "GOWORK": "off"}
    try:
        # In the root there is no go.mod that could have a say.
        command = ["go", "mod", "download", "-json", what]
        done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ClusterError(f"{what} is fetched with Go, which is not installed (https://go.dev/dl)") from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = {"Error": done.stderr.strip()[-500:] or f"go said nothing and ended with {done.returncode}"}
    if "Error" in answer:
        raise ClusterError(f"{what} could not be fetched: {answer['Error']}")
    if answer.get("Sum") != source.content:
        raise ClusterError(f"{what} has the content {answer.get('Sum')}, not {source.content}")
    return Path(answer["Dir"])

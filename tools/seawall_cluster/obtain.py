"""Getting a program that this machine does not have: the official download, else a build.

What arrives is checked and moved into place in one step, so that an interrupted run never leaves half a
program under its final name.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import ClusterError

CONNECT_SECONDS = 5
WRAPPER_MODULE = Path(__file__).resolve().parent.parent / "go"
GO_NEEDED = (1, 26)
MODULES = {
    "containerd": "github.com/containerd/containerd/v2/cmd/{program}@v{version}",
    "coredns": "github.com/coredns/coredns@v{version}",
    "helm": "helm.sh/helm/v4/cmd/helm@v{version}",
    "registry": "github.com/distribution/distribution/v3/cmd/{program}@v{version}",
    "versitygw": "github.com/versity/versitygw/cmd/{program}@v{version}",
}
# The address of the file and of its checksum; what is not here is always built.
DOWNLOADS = {
    "k8s": ("https://dl.k8s.io/release/v{version}/bin/linux/{arch}/{program}", ".sha256"),
    "containerd": (
        "https://github.com/containerd/containerd/releases/download/v{version}/containerd-{version}-linux-{arch}.tar.gz",
        ".sha256sum",
    ),
    "coredns": (
        "https://github.com/coredns/coredns/releases/download/v{version}/coredns_{version}_linux_{arch}.tgz",
        ".sha256",
    ),
    "helm": ("https://get.helm.sh/helm-v{version}-linux-{arch}.tar.gz", ".sha256sum"),
}
_unreachable: set[str] = set()


def architecture() -> str:
    known = {"x86_64": "amd64", "aarch64": "arm64"}
    machine = platform.machine()
    if machine not in known:
        raise ClusterError(f"no programs are known for the processor {machine}")
    return known[machine]


def download(bundle: str, version: str, program: str, folder: Path, label: str) -> bool:
    """True when the program lies in `folder`; False when there is no official site that can be reached."""
    if bundle not in DOWNLOADS:
        return False
    pattern, suffix = DOWNLOADS[bundle]
    url = pattern.format(version=version, arch=architecture(), program=program)
    site = url.split("/")[2]
    if site in _unreachable:
        return False
    try:
        checksum = _fetch(url + suffix).decode().split()[0]
        with _progress(f"downloading {label}"):
            content = _fetch(url)
    except (OSError, http.client.HTTPException, IndexError, ValueError) as problem:
        _unreachable.add(site)
        _say(f"no download from {site} ({_reason(problem)}): building instead")
        return False
    if hashlib.sha256(content).hexdigest() != checksum:
        raise ClusterError(f"{url} does not have the checksum that its site publishes")
    if url.endswith("gz"):
        _unpack(content, folder)
    else:
        _place(content, folder / program)
    return (folder / program).exists()


def build(bundle: str, version: str, program: str, folder: Path, label: str) -> None:
    _check_go(label)
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": ""}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as scratch:
        flags = ["-trimpath", "-ldflags", _linker_flags(bundle, version)]
        if bundle == "k8s":
            target = ["build", *flags, "-o", f"{scratch}/{program}", f"k8s.io/kubernetes/cmd/{program}"]
        else:
            environment["GOBIN"] = scratch
            target = ["install", *flags, MODULES[bundle].format(program=program, version=version)]
        with _progress(f"building {label}; the first build of each takes minutes"):
            done = subprocess.run(
                ["go", *target],
                cwd=WRAPPER_MODULE,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            raise ClusterError(f"go could not build {label}:\n{done.stderr.strip()[-2000:]}")
        (Path(scratch) / program).replace(folder / program)


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


def _linker_flags(bundle: str, version: str) -> str:
    major, minor, _ = version.split(".")
    if bundle == "k8s":
        base, client = "k8s.io/component-base/version", "k8s.io/client-go/pkg/version"
        stamps = {
            f"{base}.gitVersion": f"v{version}",
            f"{base}.gitMajor": major,
            f"{base}.gitMinor": minor,
            f"{base}.gitTreeState": "clean",
            f"{client}.gitVersion": f"v{version}",
        }
    elif bundle == "helm":
        stamps = {"helm.sh/helm/v4/internal/version.version": f"v{version}"}
    elif bundle == "registry":
        stamps = {"github.com/distribution/distribution/v3/version.version": f"v{version}"}
    elif bundle == "versitygw":
        stamps = {"main.Version": f"v{version}"}
    else:
        stamps = {}
    return " ".join(["-s -w", *(f"-X {name}={value}" for name, value in stamps.items())])


def _fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as answer:  # noqa: S310 - the addresses stand above
        return bytes(answer.read())


def _reason(problem: Exception) -> str:
    return str(getattr(problem, "reason", problem)) or type(problem).__name__


def _unpack(archive: bytes, folder: Path) -> None:
    """Every program of a release archive, wherever it lies in it."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        for member in members:
            content = members.extractfile(member) if member.isfile() and member.mode & 0o111 else None
            if content is not None:
                _place(content.read(), folder / Path(member.name).name)


def _place(content: bytes, path: Path) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.chmod(0o755)
    part.replace(path)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def _progress(what: str, every: float = 15.0) -> Iterator[None]:
    """Says what is being done, then every few seconds that it is still being done."""
    started, finished = time.monotonic(), threading.Event()
    short = what.partition(";")[0]
    _say(what)

    def remind() -> None:
        while not finished.wait(every):
            _say(f"  {short}: {time.monotonic() - started:.0f} s")

    thread = threading.Thread(target=remind, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
    _say(f"  {short}: done in {time.monotonic() - started:.0f} s")

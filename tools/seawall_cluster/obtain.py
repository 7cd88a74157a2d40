"""Getting a program that this machine does not have by the official download.

What arrives is checked and moved into place in one step, so that an interrupted run never leaves half a
program under its final name.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import platform
import sys
import tarfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import ClusterError

CONNECT_SECONDS = 5
# The address of the file, and of its checksum: a suffix, or the name of a list beside it. What is not here is
# always built, or installed from a wheel.
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
    "prometheus": (
        "https://github.com/prometheus/prometheus/releases/download/v{version}/prometheus-{version}.linux-{arch}.tar.gz",
        "sha256sums.txt",
    ),
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
        checksum = checksum_of(url, _fetch(checksum_address(url, suffix)).decode())
        with progress(f"downloading {label}"):
            content = _fetch(url)
    except (OSError, http.client.HTTPException, IndexError, ValueError) as problem:
        _unreachable.add(site)
        say(f"no download from {site} ({_reason(problem)}): building instead")
        return False
    if hashlib.sha256(content).hexdigest() != checksum:
        raise ClusterError(f"{url} does not have the checksum that its site publishes")
    if url.endswith("gz"):
        _unpack(content, folder)
    else:
        _place(content, folder / program)
    return (folder / program).exists()


def checksum_address(url: str, suffix: str) -> str:
    return url + suffix if suffix.startswith(".") else f"{url.rpartition('/')[0]}/{suffix}"


def checksum_of(url: str, text: str) -> str:
    """The checksum of a file in what its site publishes: one line, or a line for each file of the release."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    name = url.rpartition("/")[2]
    for words in lines:
        if len(lines) == 1 or words[-1].lstrip("*") == name:
            return words[0]
    raise ValueError(f"no checksum of {name}")


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


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def progress(what: str, every: float = 15.0) -> Iterator[None]:
    """Says what is being done, then every few seconds that it is still being done."""
    started, finished = time.monotonic(), threading.Event()
    short = what.partition(";")[0]
    say(what)

    def remind() -> None:
        while not finished.wait(every):
            say(f"  {short}: {time.monotonic() - started:.0f} s")

    thread = threading.Thread(target=remind, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
    say(f"  {short}: done in {time.monotonic() - started:.0f} s")

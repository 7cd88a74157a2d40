"""The triton-cpu image, run as a restricted pod runs it: as uid 1000 on a read-only root.

The archive is unpacked and entered with chroot in a mount namespace of its own, so that no container
runtime is needed and SIGTERM reaches the server itself.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ENTER = """\
set -e
mount --bind "$1" "$1"; cd "$1"; shift
mount --bind "$1" models; shift
mount -t proc proc proc
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs tmpfs dev
mkdir -m 1777 dev/shm
for device in null zero random urandom; do : > dev/$device; mount --bind /dev/$device dev/$device; done
: > dev/termination-log; mount --bind "$1" dev/termination-log; shift
mount -o remount,ro,bind "$PWD"
exec setpriv --no-new-privs chroot --userspec=1000:1000 "$PWD" env -i "$@"
"""


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@dataclass
class Image:
    """The unpacked image: its root folder and the environment and command of its configuration."""

    root: Path
    environ: list[str]
    user: str

    @classmethod
    def unpack(cls, archive: Path, root: Path) -> Image:
        with tarfile.open(archive) as outer:

            def read(digest: str) -> Any:
                return outer.extractfile("blobs/" + digest.replace(":", "/"))

            index = json.load(outer.extractfile("index.json"))
            manifest = json.load(read(index["manifests"][0]["digest"]))
            config = json.load(read(manifest["config"]["digest"]))["config"]
            for layer in manifest["layers"]:
                with tarfile.open(fileobj=read(layer["digest"]), mode="r:*") as inner:
                    cls._apply(inner, root)
        (root / "models").mkdir(exist_ok=True)
        root.chmod(0o755)  # a folder of pytest's, closed to the server's uid
        return cls(root, config["Env"], config["User"])

    @staticmethod
    def _apply(layer: tarfile.TarFile, root: Path) -> None:
        """One layer over those below it; a `.wh.` entry says that its namesake is gone."""
        for member in layer:
            path = root / member.name
            if path.name.startswith(".wh."):
                subprocess.run(["rm", "-rf", path.with_name(path.name.removeprefix(".wh."))], check=True)
            else:
                layer.extract(member, root, filter="fully_trusted")


@dataclass
class Triton:
    """A running server."""

    process: subprocess.Popen[bytes]
    http_port: int
    grpc_port: int
    metrics_port: int
    log: Path
    termination_log: Path
    started: float = field(default_factory=time.monotonic)

    @property
    def http(self) -> str:
        return f"127.0.0.1:{self.http_port}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://{self.http}{path}", timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def post(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://{self.http}{path}", data=b"{}", timeout=10) as answer:
            return json.loads(answer.read())

    def metric(self, name: str, **labels: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        found = [
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith(name + "{") and all(f'{k}="{v}"' in line for k, v in labels.items())
        ]
        return sum(found)

    def answers(self, path: str) -> bool:
        try:
            self.get(path)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return True

    def wait(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        """Until something comes true; a server that ends meanwhile fails with its own words."""
        end = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None:
                raise AssertionError(
                    f"triton ended with {self.process.returncode}:\n{self.log.read_text()[-4000:]}"
                )
            if time.monotonic() > end:
                raise AssertionError(f"waited {seconds:.0f} s in vain:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.05)

    def stop(self) -> int:
        """SIGTERM as the kubelet sends it; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


def archive() -> Path:
    """Of the image, built first if it must be."""
    listing = subprocess.run(
        [ROOT / "tools" / "images", "--json", "triton-cpu"], stdout=subprocess.PIPE, check=True
    ).stdout
    return Path(json.loads(listing)["triton-cpu"]["archive"])


@contextlib.contextmanager
def serving(
    image: Image, models: Path, *flags: str, environ: Mapping[str, str] | None = None
) -> Iterator[Triton]:
    """The image's tritonserver over a model repository, on free ports of loopback."""
    http, grpc, metrics = free_ports(3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        last_words = folder / "termination-log"
        last_words.touch()
        last_words.chmod(0o666)
        ports = {"http": http, "grpc": grpc, "metrics": metrics}
        addresses = [f"--{name}-address=127.0.0.1" for name in ports]
        addresses += [f"--{name}-port={port}" for name, port in ports.items()]
        command = ["unshare", "--mount", "sh", "-c", ENTER, "enter", image.root, models, last_words]
        command += [*image.environ, *(f"{k}={v}" for k, v in (environ or {}).items())]
        command += ["tritonserver", "--model-repository=/models", "--allow-gpu-metrics=false"]
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen([*command, *addresses, *flags], stdout=output, stderr=output)
        try:
            yield Triton(process, http, grpc, metrics, log, last_words)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

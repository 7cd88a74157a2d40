"""What the demo and the node tests stand on: models, images, a cluster, the operator installed by Helm."""

import json
import os
import subprocess
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from demo_show import Show

ROOT = Path(__file__).resolve().parent.parent
PYTHON = str(ROOT / ".venv" / "bin" / "python")
SYSTEM = "seawall-system"
LAST_WORDS = 15


class Failed(Exception):
    """A step ended badly; the message is for the person at the keyboard."""


class Stand:
    """One named cluster with Seawall in it."""

    def __init__(self, name: str, show: Show) -> None:
        self.name, self._show = name, show

    def cluster(self, *words: str) -> list[str]:
        return [str(ROOT / "tools" / "cluster"), *words, "--name", self.name]

    def inside(self, *command: str) -> list[str]:
        """The command, run where pod addresses, ClusterIPs and the cluster's names mean something."""
        return [*self.cluster("exec"), "--", *command]

    def _only_built_in(self) -> None:
        elsewhere = os.environ.get("CLUSTER", "")
        if elsewhere:
            raise Failed(
                f"CLUSTER={elsewhere}: the demo and the node tests hand their models over in a folder of the"
                " node, which only the built-in cluster shares with this machine; unset CLUSTER"
            )

    def build(self, *, training: bool = False) -> tuple[str, dict[str, dict[str, str]]]:
        """The folder of the example models, and the images with their archives."""
        self._only_built_in()
        with self._show.step("example models") as note:
            models = self._output("building the models", [str(ROOT / "examples" / "build")]).strip()
            note.text = models
        with self._show.step("images") as note:
            made: dict[str, dict[str, str]] = {}
            for chosen in ("all", "training") if training else ("all",):
                command = [str(ROOT / "tools" / "images"), chosen, "--json"]
                made |= json.loads(self._output("building the images", command))
            note.text = ", ".join(image["image"] for image in made.values())
        return models, made

    def start(
        self,
        images: dict[str, dict[str, str]],
        parts: Sequence[str] = (),
        values: Mapping[str, str] | None = None,
    ) -> None:
        """`parts`: what `tools/cluster up --with` adds; `values`: of the chart, beside the usual ones."""
        chosen = ["--with", ",".join(parts)] if parts else []
        with self._show.step("etcd, apiserver, controllers, scheduler, containerd, kubelet, kube-proxy, DNS"):
            self._output("starting the cluster", [*self.cluster("up"), *chosen])
        for image in images.values():
            with self._show.step(f"load {image['image']}"):
                quietly("loading the image", [*self.cluster("load"), image["archive"]])
        self._install(images, values or {})

    def _install(self, images: dict[str, dict[str, str]], more: Mapping[str, str]) -> None:
        repository, _, tag = images["operator"]["image"].rpartition(":")
        settings = {
            "image.repository": repository,
            "image.tag": tag,
            "accelerators.cpu.image": images["triton-cpu"]["image"],
            "builds.optimizerImage": images["optimizer"]["image"],
            "artifacts.uri": "pvc://artifacts/builds",
            "builds.profileSeconds": "5",
            # The tag stays the same when the image changes; this makes Helm roll the pods nevertheless.
            "podAnnotations.archive": Path(images["operator"]["archive"]).stem,
            **more,
        }
        values = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        chart = str(ROOT / "charts" / "seawall")
        words = ["--namespace", SYSTEM, "--create-namespace", "--wait", "--timeout", "3m"]
        with self._show.step("helm install: two replicas of the operator"):
            quietly("helm", self.inside("helm", "upgrade", "--install", "seawall", chart, *words, *values))

    def _output(self, what: str, command: list[str]) -> str:
        """Standard output of a command; its standard error is progress, and the reason if it fails."""
        with tempfile.TemporaryFile("w+") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True, cwd=ROOT)
            said: deque[str] = deque(maxlen=LAST_WORDS)
            for line in process.stderr or ():
                said.append(line.rstrip())
                self._show.progress(said[-1])
            if process.wait():
                raise Failed(f"{what} failed (exit code {process.returncode}):\n" + "\n".join(said))
            out.seek(0)
            return out.read()

    def remove(self) -> None:
        with self._show.step(f"the cluster {self.name} is removed"):
            quietly("removing the cluster", self.cluster("down"))


def quietly(what: str, command: list[str]) -> None:
    """A command whose words matter only when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        words = "\n".join((done.stderr or done.stdout).strip().splitlines()[-LAST_WORDS:])
        raise Failed(f"{what} failed (exit code {done.returncode}):\n{words}")

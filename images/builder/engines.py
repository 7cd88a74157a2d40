"""The programs that can build an image: Docker, Podman, or buildah where there is no daemon."""

import os
import shutil
import subprocess
import sys
from pathlib import Path


def say(words: str) -> None:
    sys.stderr.write(f"images: {words}\n")
    sys.stderr.flush()


def call(*command: str | Path, environ: dict[str, str] | None = None) -> None:
    """Run a command whose output is progress, which belongs on stderr."""
    words, complete = [str(word) for word in command], {**os.environ, **(environ or {})}
    done = subprocess.run(words, env=complete, stdout=sys.stderr, check=False)
    if done.returncode:
        shown = " ".join(words[:3])
        raise SystemExit(f"images: {shown} ... failed with code {done.returncode}; the reason is above")


def works(*command: str | Path, environ: dict[str, str] | None = None, seconds: float = 60) -> bool:
    if not shutil.which(command[0]):
        return False
    words, complete = [str(word) for word in command], {**os.environ, **(environ or {})}
    try:
        done = subprocess.run(words, env=complete, timeout=seconds, capture_output=True, check=False)
    except subprocess.TimeoutExpired:
        return False
    return not done.returncode


class Engine:
    """Docker and Podman, which share their command line but for what an archive is called."""

    def __init__(self, program: str) -> None:
        self.name = program
        self.command: list[str | Path] = [program]
        self.environ = {"DOCKER_BUILDKIT": "1"}
        self.build_words = ["build", "--network", "host"]
        self.save_words = ["save"] if program == "docker" else ["save", "--format", "oci-archive"]

    def run(self, *words: str | Path) -> None:
        call(*self.command, *words, environ=self.environ)

    def build(self, *words: str | Path) -> None:
        self.run(*self.build_words, *words)

    def has(self, image: str) -> bool:
        return works(*self.command, "image", "inspect", image, environ=self.environ)

    def pull(self, image: str) -> bool:
        return works(*self.command, "pull", image, environ=self.environ, seconds=300)

    def import_root(self, archive: Path, image: str) -> None:
        self.run("import", archive, image)

    def save(self, image: str, path: Path) -> None:
        self.run(*self.save_words, "-o", path, image)

    def mount_words(self, folder: Path) -> list[str]:
        if self.name == "docker":
            raise SystemExit(f"images: docker cannot show a build {folder}, where pip looks; use podman")
        return ["--volume", f"{folder}:{folder}:ro"]


class Buildah(Engine):
    """Buildah with a storage of its own, so that nothing of the machine's is shared or changed.

    It takes nothing from registries: whether one can be reached would decide what the image is made of.
    """

    def __init__(self, store: Path) -> None:
        super().__init__("buildah")
        if not shutil.which("buildah"):
            raise SystemExit("images: no working docker or podman and no buildah; apt-get install buildah")
        if os.geteuid():
            raise SystemExit("images: without docker or podman the images are built by buildah, as root")
        self.environ = {"BUILDAH_ISOLATION": "chroot"}
        self.build_words = ["build", "--layers", "--network", "host", "--format", "oci"]
        storage = ["--root", str(store / "storage"), "--runroot", str(store / "run")]
        # vfs copies a whole image for every layer; it is for kernels and file systems without overlay.
        drivers = ("overlay", "vfs")
        for driver in drivers:
            # In a mount namespace of its own, so that no mount outlives it, however it ends.
            self.command = ["unshare", "--mount", "buildah", *storage, "--storage-driver", driver]
            if works(*self.command, "info", environ=self.environ):
                return
        raise SystemExit(f"images: buildah works with none of {', '.join(drivers)} under {store}")

    def has(self, image: str) -> bool:
        return works(*self.command, "inspect", "--type", "image", image, environ=self.environ)

    def pull(self, image: str) -> bool:
        return False

    def build(self, *words: str | Path) -> None:
        try:
            super().build(*words)
        finally:
            self.run("rm", "--all")  # what a failed step leaves

    def import_root(self, archive: Path, image: str) -> None:
        try:
            self.run("from", "--name", "import", "scratch")
            self.run("add", "import", archive, "/")
            self.run("commit", "import", image)
        finally:
            self.run("rm", "--all")

    def save(self, image: str, path: Path) -> None:
        self.run("push", image, f"oci-archive:{path}:{image}")


def engine(store: Path) -> Engine:
    chosen = os.environ.get("SEAWALL_BUILDER")
    if chosen not in (None, "docker", "podman", "buildah"):
        raise SystemExit(f"images: SEAWALL_BUILDER is {chosen!r}; it may be docker, podman or buildah")
    for program in ("docker", "podman"):
        if chosen == program or (chosen is None and works(program, "info", seconds=20)):
            return Engine(program)
    return Buildah(store)

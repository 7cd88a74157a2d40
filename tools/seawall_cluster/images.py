"""The one image that the node needs itself, made without a builder: a static busybox as an OCI archive.

It is the sandbox of every pod, and tests use it for whatever a shell, httpd or nc can play.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from .errors import ClusterError
from .node import PAUSE_IMAGE
from .obtain import architecture
from .state import Layout

BUSYBOX = Path("/bin/busybox")
APPLETS = (
    "cat",
    "echo",
    "env",
    "httpd",
    "id",
    "ls",
    "mkdir",
    "nc",
    "nslookup",
    "sh",
    "sleep",
    "test",
    "wget",
)
ENTRYPOINT = ["/bin/busybox", "sleep", "2147483647"]


def write_busybox_archive(path: Path) -> None:
    if not BUSYBOX.exists():
        raise ClusterError("busybox is missing: install the package busybox-static (tools/bootstrap does)")
    path.write_bytes(archive(BUSYBOX.read_bytes()))


def archive(busybox: bytes) -> bytes:
    layer = _tar(
        {"bin/busybox": (busybox, 0o755)},
        links=[f"bin/{name}" for name in APPLETS],
        folders=["bin", "tmp", "etc"],
    )
    packed = gzip.compress(layer, 1, mtime=0)
    config = {
        "architecture": architecture(),
        "os": platform.system().lower(),
        "config": {"Entrypoint": ENTRYPOINT, "Env": ["PATH=/bin"], "User": "65534"},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    blobs: dict[str, bytes] = {}
    kind = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": _blob(blobs, f"{kind}.config.v1+json", json.dumps(config).encode()),
        "layers": [_blob(blobs, f"{kind}.layer.v1.tar+gzip", packed)],
    }
    entry = _blob(blobs, f"{kind}.manifest.v1+json", json.dumps(manifest).encode())
    named = {**entry, "annotations": {"io.containerd.image.name": PAUSE_IMAGE}}
    index = {"schemaVersion": 2, "mediaType": f"{kind}.index.v1+json", "manifests": [named]}
    files = {
        f"blobs/sha256/{digest.removeprefix('sha256:')}": (blob, 0o644) for digest, blob in blobs.items()
    }
    files["index.json"] = (json.dumps(index).encode(), 0o644)
    files["oci-layout"] = (b'{"imageLayoutVersion":"1.0.0"}', 0o644)
    return _tar(files)


def load(layout: Layout, ctr: Path, archive_file: Path) -> list[str]:
    """Import an archive into the images that the kubelet sees; returns their names."""
    try:
        names = names_in(archive_file)
    except (OSError, tarfile.TarError, ValueError) as problem:
        reason = str(problem).partition(":\n")[0]
        raise ClusterError(f"{archive_file} is no image archive: {reason}") from None
    address = ["--address", str(layout.socket), "--namespace", "k8s.io"]
    done = subprocess.run(
        [str(ctr), *address, "images", "import", str(archive_file)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ClusterError(f"{archive_file} could not be imported: {done.stderr.strip()}")
    return names


def names_in(archive_file: Path) -> list[str]:
    """What the images of an OCI or Docker archive are called; no pod can use a nameless one."""
    with tarfile.open(archive_file) as tar:
        files = {member.name.removeprefix("./"): member for member in tar if member.name.endswith(".json")}
        for name in ("index.json", "manifest.json"):
            content = tar.extractfile(files[name]) if name in files else None
            if content and (names := _names(json.loads(content.read()))):
                return names
    raise ValueError("it names no image")


def _names(document: Any) -> list[str]:
    if isinstance(document, list):  # Docker's
        return [name for image in document for name in image.get("RepoTags") or []]
    named = [entry.get("annotations", {}) for entry in document.get("manifests", [])]
    keys = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
    found = (next((notes[key] for key in keys if key in notes), None) for notes in named)
    return [name for name in found if name]


def _blob(blobs: dict[str, bytes], kind: str, content: bytes) -> dict[str, Any]:
    digest = _digest(content)
    blobs[digest] = content
    return {"mediaType": kind, "digest": digest, "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _tar(
    files: dict[str, tuple[bytes, int]], links: list[str] | None = None, folders: list[str] | None = None
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in folders or []:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
        for name in links or []:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, "busybox", 0o777
            tar.addfile(entry)
    return buffer.getvalue()

"""The Debian that the images stand on: the official slim image, or its like made with debootstrap."""

import os
import shutil
import tempfile
from pathlib import Path

from builder.engines import Engine, call, say

SUITE = "bookworm"
PUBLIC_BASE = f"debian:{SUITE}-slim"
LOCAL_BASE = f"localhost/debian:{SUITE}-slim"
MIRROR = os.environ.get("SEAWALL_DEBIAN_MIRROR", "")  # empty: the one that debootstrap knows

SOURCES = """\
deb {mirror} {suite} main
deb {mirror} {suite}-updates main
deb {mirror}-security {suite}-security main
"""


def debootstrap(archive: Path) -> None:
    """The packages of the official slim image, from Debian itself."""
    if not shutil.which("debootstrap"):
        raise SystemExit("images: no registry for debian and no debootstrap; apt-get install debootstrap")
    with tempfile.TemporaryDirectory(prefix="root-", dir=archive.parent) as folder:
        root = Path(folder) / "root"
        call("debootstrap", "--variant=minbase", SUITE, root, *([MIRROR] if MIRROR else []))
        # debootstrap names the release alone; its updates and security fixes lie on the same mirror.
        listed = root / "etc/apt/sources.list"
        mirror = listed.read_text(encoding="utf-8").split()[1].rstrip("/")
        listed.write_text(SOURCES.format(mirror=mirror, suite=SUITE), encoding="utf-8")
        for name in (
            *(f"usr/share/{each}" for each in ("doc", "man", "locale", "info")),
            "var/lib/apt/lists",
        ):
            shutil.rmtree(root / name, ignore_errors=True)
            (root / name).mkdir(parents=True)
        for name in (*root.glob("var/cache/apt/**/*.deb"), *root.glob("var/cache/apt/*.bin")):
            name.unlink()
        # The host's own names and addresses, which debootstrap copies in.
        for name in ("etc/hostname", "etc/resolv.conf"):
            (root / name).unlink(missing_ok=True)
        call("tar", "-C", root, "--numeric-owner", "-cf", archive, ".")


def base(builder: Engine, store: Path) -> str:
    if builder.has(LOCAL_BASE):
        return LOCAL_BASE
    if builder.has(PUBLIC_BASE) or builder.pull(PUBLIC_BASE):
        return PUBLIC_BASE
    say(f"making {LOCAL_BASE} with debootstrap, once")
    with tempfile.TemporaryDirectory(prefix="base-", dir=store) as folder:
        archive = Path(folder) / "root.tar"
        debootstrap(archive)
        builder.import_root(archive, LOCAL_BASE)
    return LOCAL_BASE

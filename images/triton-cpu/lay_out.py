"""Lays Triton out as NVIDIA's image has it, from the wheel that carries the server.

The wheel hides the server inside a Python package, keeps the stub of the python backend for six Python
versions apart from the backend, and links by paths relative to site-packages. Triton itself wants one
folder per backend under /opt/tritonserver/backends with the stub beside it. Only the shared libraries
that something here really links are taken along: the rest (a whole Python 3.13 among them) is a third
of the wheel.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
BUNDLED = "nvidia_pytriton.libs"


def copy(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)
    return target


def linked(binary: Path, bundled: Path) -> set[str]:
    """The bundled libraries that the loader resolves for this file, those of its libraries included."""
    environ = {**os.environ, "LD_LIBRARY_PATH": str(bundled)}
    listing = subprocess.run(["ldd", binary], env=environ, check=True, capture_output=True, text=True).stdout
    missing = re.findall(r"(\S+) => not found", listing)
    if missing:
        raise SystemExit(f"{binary} needs {', '.join(missing)}, which this system lacks")
    return {Path(name).name for name in re.findall(r"=> (\S+)", listing) if Path(name).parent == bundled}


def lay_out(site: Path, root: Path) -> None:
    wheel, bundled = site / "pytriton" / "tritonserver", (site / BUNDLED).resolve()
    python = root / "backends" / "python"
    binaries = [
        copy(wheel / "bin" / "tritonserver", root / "bin" / "tritonserver"),
        copy(wheel / "backends" / "python" / "libtriton_python.so", python / "libtriton_python.so"),
        copy(
            wheel / "python_backend_stubs" / PYTHON / "triton_python_backend_stub",
            python / "triton_python_backend_stub",
        ),
        copy(
            wheel / "caches" / "local" / "libtritoncache_local.so",
            root / "caches" / "local" / "libtritoncache_local.so",
        ),
    ]
    shutil.copyfile(
        wheel / "backends" / "python" / "triton_python_backend_utils.py",
        python / "triton_python_backend_utils.py",
    )
    for name in sorted(set().union(*(linked(binary, bundled) for binary in binaries))):
        copy(bundled / name, root / "lib" / name)


if __name__ == "__main__":
    lay_out(*(Path(argument) for argument in sys.argv[1:3]))

"""The interpreters of the environments for GPUs and TPUs, and one job run by one of them."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seawall.optimize import outside
from seawall.optimize.types import Refused

GPU, TPU = "SEAWALL_GPU_PYTHON", "SEAWALL_TPU_PYTHON"
MODELOPT, TENSORRT_RTX, JAX = "modelopt", "tensorrt_rtx", "jax"


def interpreter(variable: str, module: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """What can import `module`: the interpreter that the variable names, else this one, else none."""
    named = environ.get(variable)
    if named:
        return Path(named)
    return Path(sys.executable) if importlib.util.find_spec(module) else None


def run_script(python: Path, script: Path, request: Mapping[str, Any], seconds: float) -> outside.Ended:
    """Runs a file with a request, apart from this process's packages (-I). Raises Refused where it cannot."""
    if not python.is_file():
        raise Refused("CompressionFailed", f"there is no interpreter {python}")
    with tempfile.TemporaryDirectory(prefix="seawall-") as scratch:
        asked = Path(scratch, "request.json")
        asked.write_text(json.dumps(dict(request)), encoding="utf-8")
        command = [str(python), "-I", str(script), str(asked)]
        ended = outside.run(command, {"JAX_PLATFORMS": "cpu"}, Path(scratch, "home"), seconds)
    if ended.code is None:
        raise Refused("CompressionFailed", f"{script.stem} took longer than {seconds:.0f} s")
    return ended


def last_line(text: str) -> str:
    """The line of a traceback that says what happened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:500] if lines else "nothing was said"

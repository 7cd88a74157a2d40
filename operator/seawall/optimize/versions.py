"""Releases of everything that touches a result: of this process, and of the interpreters that it asks."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from seawall.optimize import outside
from seawall.optimize.types import Refused

LIBRARIES = ("numpy", "onnx", "onnxruntime", "onnxslim", "seawall")
SECONDS = 60.0
_ASK = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@cache
def here() -> Mapping[str, str]:
    """Of this process."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def of(python: str, names: Sequence[str]) -> dict[str, str]:
    """Of another interpreter; what it has not, and what cannot be asked, is left out."""
    with tempfile.TemporaryDirectory(prefix="seawall-") as scratch, suppress(Refused, ValueError):
        ended = outside.run([python, "-I", "-c", _ASK, *names], {}, Path(scratch), SECONDS)
        if ended.code == 0:
            told: dict[str, str] = json.loads(ended.tail.splitlines()[-1])
            return told
    return {}

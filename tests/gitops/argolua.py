"""Argo CD's scripts in a real interpreter of the language's version 5.1, which is the one that Argo CD's own has."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SANDBOX = Path(__file__).resolve().parent / "sandbox.lua"


def interpreter() -> str:
    found = shutil.which("lua5.1")
    assert found is not None, "lua5.1 is missing: install the package lua5.1 (tools/bootstrap does)"
    return found


def answers(script: Path, objects: Sequence[dict[str, Any]]) -> list[Any]:
    """What the script returns for each object, all in one process."""
    program = [f"local sandbox = {literal(str(SANDBOX))}"]
    program += [
        f"assert(loadfile(sandbox))(assert(loadfile({literal(str(script))})), {literal(each)})"
        for each in objects
    ]
    done = subprocess.run(
        [interpreter(), "-"], input="\n".join(program), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def literal(value: Any) -> str:
    """The value in Lua's own words."""
    if isinstance(value, dict):
        inside = ", ".join(f"[{literal(key)}] = {literal(item)}" for key, item in value.items())
        return f"{{{inside}}}"
    if isinstance(value, list):
        return f"{{{', '.join(map(literal, value))}}}"
    if isinstance(value, str):
        return '"' + "".join(f"\\{byte:03d}" for byte in value.encode()) + '"'
    return json.dumps(value) if value is not None else "nil"

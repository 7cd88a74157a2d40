"""docs/tutorial.md, command by command: what it promises is what happens."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from demo_kube import Kube

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.blocks import shell_blocks  # noqa: E402

pytestmark = [pytest.mark.node, pytest.mark.asyncio(loop_scope="module")]


def typed(block: str, namespace: str) -> str:
    """What the reader types, in this test's namespace, and without entering a cluster that we are in already."""
    here = block.replace("-n demo", f"-n {namespace}").replace(".demo.svc", f".{namespace}.svc")
    return f'set -euo pipefail\nin_cluster() {{ "$@"; }}\n{here}'


def run(block: str, namespace: str) -> str:
    done = subprocess.run(
        ["bash", "-c", typed(block, namespace)],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=420,
        check=False,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    return done.stdout


async def test_every_command_of_the_tutorial_does_what_it_says(kube: Kube) -> None:
    blocks = shell_blocks(ROOT / "docs" / "tutorial.md")
    first, asked, broken, again, reverted, smaller = [
        await asyncio.to_thread(run, block, kube.namespace) for block in blocks
    ]
    assert "condition met" in first
    for answer in (asked, again):
        scores = json.loads(answer)["outputs"][0]["data"]
        assert scores.index(max(scores)) == 3
        assert max(scores) == pytest.approx(18.3, abs=0.1)
    assert "ModelNotFound" in broken
    assert "serves on" in broken
    assert "condition met" in reverted
    model = json.loads(smaller.splitlines()[-1])
    assert model["preset"] == "int8"
    assert model["compressedBytes"] * 3 < model["originalBytes"]

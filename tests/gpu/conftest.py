"""The environments of tools/venv gpu; what needs one is skipped in a sentence where it was not made."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _environment(kind: str) -> str:
    found = subprocess.run(
        [ROOT / "tools" / "venv", "--check", kind], capture_output=True, text=True, check=False
    )
    if found.returncode:
        pytest.skip(f"the environment is not there; `tools/venv {kind}` makes it")
    return found.stdout.strip()


@pytest.fixture(scope="session")
def gpu_environment() -> str:
    return os.environ.get("SEAWALL_GPU_PYTHON") or _environment("gpu")


@pytest.fixture(scope="session")
def tpu_environment() -> str:
    return os.environ.get("SEAWALL_TPU_PYTHON") or _environment("tpu")


@pytest.fixture
def with_gpu(gpu_environment: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SEAWALL_GPU_PYTHON", gpu_environment)
    return gpu_environment


@pytest.fixture
def with_tpu(tpu_environment: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SEAWALL_TPU_PYTHON", tpu_environment)
    return tpu_environment

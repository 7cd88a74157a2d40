"""These tests need PyTorch, or TensorFlow in its own environment; without them they skip with a sentence.

`"$(tools/training-env)" -m pytest tests/training` runs all of them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def tensorflow_python() -> str:
    """The interpreter that tools/convert-env has made before; nothing is downloaded from within a test."""
    found = subprocess.run(
        [str(ROOT / "tools/convert-env"), "--check"], capture_output=True, text=True, check=False
    )
    if found.returncode != 0:
        pytest.skip("TensorFlow's environment is not here: tools/convert-env makes it")
    return found.stdout.strip()

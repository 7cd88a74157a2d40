"""Golden sets as users make them, and ConfigMaps around them."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np


def npz(**arrays: Any) -> bytes:
    """What `numpy.savez_compressed` writes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def config_map(
    binary: Mapping[str, bytes],
    name: str = "golden",
    namespace: str = "ns",
    data: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """As `kubectl create configmap NAME --from-file=FILE` makes it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": dict(data or {}),
        "binaryData": {key: base64.b64encode(value).decode() for key, value in binary.items()},
    }


def digits(count: int, *, seed: int = 0, noise: float = 2.0) -> tuple[Any, Any]:
    """Pictures of 8x8 that a linear model can tell apart: ten prototypes with noise, and their labels."""
    prototypes = prototype()
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, count)
    pictures = prototypes[labels] + random.normal(0, noise, (count, 64))
    return np.clip(np.rint(pictures), 0, 255).astype(np.uint8).reshape(count, 1, 8, 8), labels


def prototype() -> Any:
    """One picture for each of ten classes, in grey values from 0 to 16."""
    return np.random.default_rng(7).integers(0, 17, (10, 64)).astype(np.float64)

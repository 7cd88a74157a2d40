"""Weight clipping: a few large weights set the scale of all the others, so the few are cut off.

Eight bits have 255 steps. Where one weight in ten thousand is ten times as large as the rest, the rest share
twenty-five of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from seawall.optimize import graph as graphs
from seawall.optimize.types import Array, Refused


def clip(model: Any, weights: Mapping[str, str], quantile: float) -> int:
    """Clips each weight named in `weights` in place; how many values changed. Raises Refused."""
    if not 0.5 < quantile <= 1:
        raise Refused(
            "CompressionFailed", f"weightClipping is a quantile above 0.5 and up to 1, not {quantile}"
        )
    constants = graphs.initialisers(model)
    changed = 0
    for name in sorted(set(weights.values())):
        before = onnx.numpy_helper.to_array(constants[name])
        after = clipped(before, quantile)
        changed += int((after != before).sum())
        constants[name].CopyFrom(onnx.numpy_helper.from_array(after, name))
    return changed


def clipped(weights: Array, quantile: float) -> Array:
    """Absolute values no larger than their quantile."""
    bound = np.quantile(np.abs(weights), quantile, method="lower")
    return np.clip(weights, -bound, bound).astype(weights.dtype)

"""Runs a StableHLO artefact on a CPU, at every batch size it will be served at.

Started as a script in jax's environment; it imports nothing of this project. The answer is a JSON file: what
the artefact takes and gives, and where it failed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export


def main(request: dict[str, Any]) -> None:
    answer: dict[str, Any] = {"jax": jax.__version__, "problem": None}
    try:
        made = export.deserialize(bytearray(Path(request["artefact"]).read_bytes()))
    except Exception as error:  # noqa: BLE001  # whatever jax says of a file that it cannot read
        answer["problem"] = f"jax {jax.__version__} cannot read it: {_first(error)}"
    else:
        answer |= _checked(made, request)
    Path(request["out"]).write_text(json.dumps(answer), encoding="utf-8")


def _checked(made: Any, request: dict[str, Any]) -> dict[str, Any]:
    inputs = [_spec(path, aval, "input") for path, aval in _leaves(made.in_tree, made.in_avals)]
    outputs = [_spec(path, aval, "output") for path, aval in _leaves(made.out_tree, made.out_avals)]
    answer = {"inputs": inputs, "outputs": outputs, "platforms": list(made.platforms)}
    data = dict(np.load(request["samples"])) if request["samples"] else {}
    kept = {}
    for size in request["batches"]:
        flat = [_batch(spec, size, data) for spec in inputs]
        try:
            args, kwargs = jax.tree_util.tree_unflatten(made.in_tree, flat)
            given = jax.tree_util.tree_leaves(made.call(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # a program may fail in any way
            return {**answer, "problem": f"it does not run at batch size {size}: {_first(error)}"}
        for spec, array in zip(outputs, given, strict=True):
            values = np.asarray(array, dtype=np.float64)
            if not np.isfinite(values).all():
                return {**answer, "problem": f"{spec['name']} is not finite at batch size {size}"}
            kept[f"{spec['name']}/{size}"] = np.asarray(array, dtype=np.float32)
    if request["outputs"]:
        np.savez(request["outputs"], **kept)  # type: ignore[arg-type]
    return answer


def _leaves(tree: Any, avals: Any) -> Any:
    whole = jax.tree_util.tree_unflatten(tree, avals)
    return jax.tree_util.tree_flatten_with_path(whole)[0]


def _spec(path: Any, aval: Any, role: str) -> dict[str, Any]:
    """Keys of dictionaries are names; whatever stands in tuples is numbered."""
    keys = [str(entry.key) for entry in path if hasattr(entry, "key") and isinstance(entry.key, str)]
    numbers = [str(entry.idx) for entry in path if hasattr(entry, "idx")]
    name = keys[-1] if keys else f"{role}_{numbers[-1] if numbers else 0}"
    shape = [size if isinstance(size, int) else None for size in aval.shape]
    return {"name": name, "dtype": str(np.dtype(aval.dtype)), "shape": shape}


def _batch(spec: dict[str, Any], size: int, data: dict[str, Any]) -> Any:
    """Real samples where there are any, repeated to fill the batch; else small numbers, always the same."""
    shape = [size if known is None else known for known in spec["shape"]]
    if spec["name"] in data:
        array = data[spec["name"]]
        return array[np.arange(size) % len(array)].astype(spec["dtype"]).reshape(shape)
    made = np.random.default_rng(0).uniform(0, 1, shape)
    return made.astype(spec["dtype"])


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))

"""A StableHLO artefact as a model of Triton's Python backend: the artefact, our model.py, what it takes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seawall.fetch.modelconfig import layered
from seawall.fetch.order import Order
from seawall.fetch.problem import invalid_config, invalid_model

ARTEFACT, LAYOUT, SCRIPT = "model.stablehlo", "layout.json", "model.py"
VERSION = "1"
OURS = Path(__file__).with_name("stablehlo_model.py")
TYPES = {
    "bool": "TYPE_BOOL", "uint8": "TYPE_UINT8", "uint16": "TYPE_UINT16", "uint32": "TYPE_UINT32",
    "uint64": "TYPE_UINT64", "int8": "TYPE_INT8", "int16": "TYPE_INT16", "int32": "TYPE_INT32",
    "int64": "TYPE_INT64", "float16": "TYPE_FP16", "float32": "TYPE_FP32", "float64": "TYPE_FP64",
}  # fmt: skip
"""No bfloat16: numpy has no such type, so inputs and outputs are cast inside the artefact."""


def lay_out_stablehlo(order: Order, fetched: Path, models: Path, layout: Mapping[str, Any]) -> dict[str, Any]:
    """Moves the artefact below `models`; returns its config. `layout` is the manifest's.
    Raises FetchProblem."""
    source = fetched / ARTEFACT
    if not source.is_file():
        raise invalid_model(f"there is no {ARTEFACT} in the artefact")
    try:
        own = _config(layout)
        told = {name: layout[name] for name in ("inputs", "outputs", "batches", "jax", "stablehlo")}
    except (KeyError, TypeError) as error:
        raise invalid_model(
            f"the manifest does not describe the StableHLO artefact in full: {error!r}"
        ) from error
    wanted = layered(order.config, order.override).get("max_batch_size")
    if wanted is not None and wanted > own["max_batch_size"]:
        raise invalid_config(
            f"max_batch_size {wanted} is more than the artefact is compiled for, {own['max_batch_size']}"
        )
    version = models / order.name / VERSION
    version.mkdir(parents=True)
    source.rename(version / ARTEFACT)
    (version / LAYOUT).write_text(json.dumps(told, indent=1, sort_keys=True), encoding="utf-8")
    shutil.copyfile(OURS, version / SCRIPT)
    return layered(own, order.config, {"backend": "python"})


def _config(layout: Mapping[str, Any]) -> dict[str, Any]:
    batched = bool(layout["batches"])
    return {
        "max_batch_size": max(layout["batches"], default=0),
        "input": [_end(spec, batched) for spec in layout["inputs"]],
        "output": [_end(spec, batched) for spec in layout["outputs"]],
    }


def _end(spec: Mapping[str, Any], batched: bool) -> dict[str, Any]:
    """Without a batch every dimension is the model's own; a scalar per sample is told as one of size 1."""
    if spec["dtype"] not in TYPES:
        raise invalid_model(
            f"{spec['name']} is of type {spec['dtype']}, which Triton cannot pass on to Python"
        )
    dims = [-1 if size is None else size for size in (spec["shape"][1:] if batched else spec["shape"])]
    end: dict[str, Any] = {"name": spec["name"], "data_type": TYPES[spec["dtype"]], "dims": dims or [1]}
    if not dims:
        end["reshape"] = {"shape": []}
    return end

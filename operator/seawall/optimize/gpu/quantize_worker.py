"""Runs nvidia-modelopt on one graph. Started as a script by the interpreter of the GPU environment.

It imports nothing of this project: the environment pins other versions of what the project uses. The request
is a JSON file; the result is the graph it names. What it cannot do ends as a traceback on standard error.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx

IR_VERSION = 10
"""What the onnx of that environment and TensorRT's parser read; nothing before opset 22 needs a newer one."""


def main(request: dict[str, Any]) -> None:
    source, target = Path(request["model"]), Path(request["out"])
    model = onnx.load(source)
    model.ir_version = min(model.ir_version, IR_VERSION)
    plain = target.with_name("input.onnx")
    _save(model, plain)
    data = dict(np.load(request["calibration"]))
    if request["precision"] in ("fp16", "bf16"):
        made = _cast(plain, request, data, target)
    else:
        made = _quantized(plain, request, data, target)
    _save(made, target)
    for scratch in (plain, plain.with_name("input.onnx.data"), target.with_name("cast.npz")):
        scratch.unlink(missing_ok=True)


def _cast(plain: Path, request: dict[str, Any], data: dict[str, Any], target: Path) -> onnx.ModelProto:
    from modelopt.onnx.autocast import convert_to_mixed_precision  # noqa: PLC0415

    calibration = target.with_name("cast.npz")
    np.savez(calibration, **data)
    return convert_to_mixed_precision(
        str(plain),
        low_precision_type=request["precision"],
        nodes_to_exclude=[_exactly(name) for name in request["exclude"]],
        keep_io_types=True,
        calibration_data=str(calibration),
        providers=["cpu"],
    )


def _quantized(plain: Path, request: dict[str, Any], data: dict[str, Any], target: Path) -> onnx.ModelProto:
    from modelopt.onnx.quantization import quantize  # noqa: PLC0415

    quantize(
        str(plain),
        quantize_mode=request["precision"],
        calibration_data=data,
        calibration_eps=["cpu"],
        nodes_to_exclude=[_exactly(name) for name in request["exclude"]],
        high_precision_dtype="fp16",
        use_external_data_format=plain.with_name("input.onnx.data").is_file(),
        output_path=str(target),
        log_level="WARNING",
    )
    return onnx.load(target)


def _exactly(name: str) -> str:
    """The library matches names as regular expressions."""
    return "^" + "".join(c if c.isalnum() or c in "_/" else "\\" + c for c in name) + "$"


def _save(model: onnx.ModelProto, path: Path) -> None:
    """Weights beside the file above the 2 GB that one protobuf can hold."""
    beside = model.ByteSize() > 1_900_000_000
    for stale in (path, path.with_name(path.name + ".data")):
        stale.unlink(missing_ok=True)
    onnx.save(model, path, save_as_external_data=beside, location=path.name + ".data")


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))

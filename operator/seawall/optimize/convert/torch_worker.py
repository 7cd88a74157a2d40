"""Exports one vetted program to ONNX. Started as a process of its own by the interpreter that has PyTorch.

`python -m seawall.optimize.convert.torch_worker PROGRAM FOLDER` writes model.onnx, inputs.npz and
outputs.npz: what the program was called with and what it answered, for the caller to compare.
"""

from __future__ import annotations

import io
import logging
import pickle
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seawall.optimize.convert.torch_archive import SAMPLES

UNSAFE = 3
"""exit code: the sample inputs are a pickle of more than tensors"""
OPSET = 18
ROWS = 3
"""samples in the comparison where the batch varies: another number than in most exports"""
INLINE_BYTES = 1_500_000_000


def main(program_path: Path, folder: Path) -> int:
    # PyTorch tries again without restrictions where this fails, so it has to be tried before.
    with zipfile.ZipFile(program_path) as archive:
        name = f"model/{SAMPLES}"
        if name in archive.namelist():
            try:
                torch.load(io.BytesIO(archive.read(name)), weights_only=True)
            except pickle.UnpicklingError:
                return UNSAFE
    torch.manual_seed(0)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    program = torch.export.load(str(program_path))
    exported = torch.onnx.export(program, dynamo=True, opset_version=OPSET, verbose=False)
    weights = sum(value.numel() * value.element_size() for value in program.state_dict.values())
    _name_batch(exported.model)
    exported.save(str(folder / "model.onnx"), external_data=weights > INLINE_BYTES)
    examples = program.example_inputs[0] if program.example_inputs else ()
    graph_inputs = exported.model.graph.inputs
    shapes = (
        [tuple(v.shape) for v in examples] if len(examples) == len(graph_inputs) else [()] * len(graph_inputs)
    )
    inputs = [_like(value, shape) for value, shape in zip(graph_inputs, shapes, strict=True)]
    with torch.no_grad():
        answer = program.module()(*inputs)
    answers = list(answer) if isinstance(answer, (tuple, list)) else [answer]
    names = [value.name for value in graph_inputs]
    np.savez(folder / "inputs.npz", **{n: v.numpy() for n, v in zip(names, inputs, strict=True)})
    outputs = [value.name for value in exported.model.graph.outputs]
    np.savez(folder / "outputs.npz", **{n: v.numpy() for n, v in zip(outputs, answers, strict=True)})
    return 0


def _name_batch(model: Any) -> None:
    """PyTorch calls it s77; where it is the first dimension of every input, it is the batch."""
    firsts = {str(value.shape[0]) if value.shape else "" for value in model.graph.inputs}
    if len(firsts) != 1 or (symbol := firsts.pop()).isdigit() or not symbol:
        return
    import onnx_ir  # noqa: PLC0415

    for value in (*model.graph.inputs, *model.graph.outputs):
        value.shape = onnx_ir.Shape(["batch" if str(size) == symbol else size for size in value.shape or ()])


def _like(value: Any, example: tuple[int, ...]) -> Any:
    """Random values; dimensions that vary as the program's own example has them, but for the batch."""
    shape = [
        size if isinstance(size, int) else example[axis] if axis and example else ROWS
        for axis, size in enumerate(value.shape)
    ]
    dtype = getattr(torch, str(value.dtype.numpy()))
    if dtype.is_floating_point:
        return torch.randn(shape).to(dtype)
    return torch.ones(shape, dtype=dtype) if dtype == torch.bool else torch.randint(0, 2, shape, dtype=dtype)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))

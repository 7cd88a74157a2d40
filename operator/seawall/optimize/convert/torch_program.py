"""PyTorch models: exported programs (`.pt2`), vetted, exported to ONNX, and held against their own answers.

A `.pt` or `.pth` file is a pickle, which runs whatever it likes when it is read: it is refused, never opened.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from seawall.optimize import outside
from seawall.optimize.convert import compared, onnx_model
from seawall.optimize.convert.torch_archive import HOW, unsafe, vetted
from seawall.optimize.train import interpreter, without_torch
from seawall.optimize.types import Fetched, Graph, Refused

WORKER = "seawall.optimize.convert.torch_worker"
SECONDS = 1800.0
_UNSAFE_SAMPLES = 3
_PICKLES = (".pt", ".pth", ".bin", ".pkl", ".ckpt")


def convert(fetched: Fetched, folder: Path) -> Graph:
    """Raises Refused: UnsafeModel, InvalidModel, or ConversionFailed with what PyTorch said."""
    program = _program(fetched.path)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        scratch = Path(place)
        fresh = vetted(program, scratch / "program.pt2")
        made = scratch / "made"
        made.mkdir()
        python = interpreter()
        ended = outside.run((python, "-m", WORKER, str(fresh), str(made)), {}, scratch / "home", SECONDS)
        if ended.code == _UNSAFE_SAMPLES:
            raise unsafe(
                "its sample inputs are a pickle of more than tensors, which runs code when it is read"
            )
        if ended.code is None:
            raise Refused("ConversionFailed", f"the export to ONNX was ended after {SECONDS:.0f} s")
        if ended.code and "No module named 'torch'" in ended.tail:
            raise Refused("ConversionFailed", without_torch(python))
        if ended.code:
            raise Refused("ConversionFailed", f"PyTorch cannot export the program: {ended.tail[-1500:]}")
        return onnx_model.improve(compared.judged(made, scratch / "judged"), folder)


def _program(path: Path) -> Path:
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    programs = [file for file in files if file.suffix == ".pt2"] if len(files) > 1 else files
    if not programs and any(file.suffix in _PICKLES for file in files):
        raise unsafe("its files are pickles, which run code when they are read")
    if len(programs) != 1:
        raise Refused(
            "InvalidModel", f"{len(programs)} exported programs (.pt2) were found, one is needed; {HOW}"
        )
    with programs[0].open("rb") as source:
        head = source.read(2)
    if head[:1] == b"\x80":
        raise unsafe("it is a pickle, which runs code when it is read")
    return programs[0]

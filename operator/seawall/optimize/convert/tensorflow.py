"""TensorFlow's SavedModels, through the converter that ONNX's own project maintains (tf2onnx).

TensorFlow is gigabytes and at odds with what the rest needs, so it lives in an environment of its own
(tools/convert-env makes it) and works in a process that sees no credentials. A SavedModel is a program of
TensorFlow's operators; those that read files or call Python are refused before anything of it is loaded.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from seawall.optimize import outside
from seawall.optimize.convert import compared, onnx_model
from seawall.optimize.types import Fetched, Graph, Refused

PYTHON_VARIABLE = "SEAWALL_CONVERT_PYTHON"
WORKER = Path(__file__).with_name("tensorflow_worker.py")
SECONDS = 1800.0
_UNSAFE = 3
_HOW = "`python -m tf2onnx.convert` makes an ONNX model of it by hand, where the model was made"


def convert(fetched: Fetched, folder: Path) -> Graph:
    """Raises Refused: InvalidModel, UnsafeModel, or ConversionFailed with what the converter said."""
    return converted("tensorflow", _saved_model(fetched.path), folder)


def converted(kind: str, source: Path, folder: Path) -> Graph:
    """Also TFLite's way: one worker for both."""
    python = os.environ.get(PYTHON_VARIABLE)
    if not python:
        raise Refused(
            "ConversionFailed",
            f"models of the format {kind} need TensorFlow, in an environment of its own that"
            f" {PYTHON_VARIABLE} names (tools/convert-env makes one); or {_HOW}",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        scratch = Path(place)
        made = scratch / "made"
        made.mkdir()
        ended = outside.run(
            (python, "-I", str(WORKER), kind, str(source.resolve()), str(made.resolve())),
            {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "OMP_WAIT_POLICY": "PASSIVE"},
            scratch / "home",
            SECONDS,
        )
        if ended.code == _UNSAFE:
            raise Refused(
                "UnsafeModel",
                f"the model holds operators that read, write or call what no model needs:"
                f" {ended.tail.splitlines()[-1]}",
            )
        if ended.code is None:
            raise Refused("ConversionFailed", f"the converter was ended after {SECONDS:.0f} s; {_HOW}")
        if ended.code or not (made / compared.OUTPUTS).is_file():
            raise Refused("ConversionFailed", f"the converter failed: {ended.tail[-1200:]}; {_HOW}")
        return onnx_model.improve(compared.judged(made, scratch / "judged"), folder)


def _saved_model(path: Path) -> Path:
    found = sorted(file.parent for file in path.rglob("saved_model.pb")) if path.is_dir() else []
    if len(found) != 1:
        raise Refused(
            "InvalidModel",
            f"a SavedModel is a folder with one saved_model.pb; {len(found)} were found in {path.name}",
        )
    return found[0]

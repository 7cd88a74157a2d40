"""Turns one SavedModel or TFLite file into ONNX. Started as a script by the interpreter that has TensorFlow.

It imports nothing of this project: TensorFlow's environment pins other versions of what the project uses.
`python -I tensorflow_worker.py KIND SOURCE FOLDER` writes model.onnx, and as inputs.npz and outputs.npz what
it asked the original and what that answered, for the caller to compare.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

OPSET = 18
UNSAFE = 3
"""exit code: the model would read, write or call what a model has no business with"""
ROWS = 3
SIGNATURE = "serving_default"
_UNSAFE_OPS = re.compile(
    r".*PyFunc.*|ReadFile|WriteFile|MatchingFiles|Print(V2)?|.*Dataset.*|.*Reader.*|.*Summary.*|.*Rpc.*|Debug.*"
    r"|.*Sql.*|.*FromTextFile.*|Audio.*|ImageSummary|Copy(Host)?|XlaLaunch.*|TPU.*|Collective.*|Send|Recv"
)
Arrays = dict[str, Any]


def main(kind: str, source: Path, folder: Path) -> int:
    if kind == "tensorflow":
        bad = _unsafe_ops(source)
        if bad:
            print(", ".join(bad))  # noqa: T201
            return UNSAFE
        asked, answered = _saved_model(source, folder / "model.onnx")
    else:
        asked, answered = _tflite(source, folder / "model.onnx")
    np.savez(folder / "inputs.npz", **asked)
    np.savez(folder / "outputs.npz", **answered)
    return 0


def _unsafe_ops(source: Path) -> list[str]:
    """Read from the file, before anything of it is loaded."""
    from tensorflow.core.protobuf import saved_model_pb2  # noqa: PLC0415

    parsed = saved_model_pb2.SavedModel()
    parsed.ParseFromString((source / "saved_model.pb").read_bytes())
    found: set[str] = set()
    for graph in (meta.graph_def for meta in parsed.meta_graphs):
        found |= {node.op for node in graph.node}
        found |= {node.op for function in graph.library.function for node in function.node_def}
    return sorted(op for op in found if _UNSAFE_OPS.fullmatch(op))


def _converted(*arguments: str) -> None:
    from tf2onnx import convert  # noqa: PLC0415

    sys.argv = ["tf2onnx", *arguments, "--opset", str(OPSET)]
    convert.main()


def _saved_model(source: Path, target: Path) -> tuple[Arrays, Arrays]:
    import tensorflow  # noqa: PLC0415

    _converted(
        "--saved-model", str(source), "--signature_def", SIGNATURE, "--tag", "serve", "--output", str(target)
    )
    loaded = tensorflow.saved_model.load(str(source), tags=["serve"])
    function = loaded.signatures[SIGNATURE]
    _, specs = function.structured_input_signature
    asked = {name: _values(spec.shape.as_list(), spec.dtype.as_numpy_dtype) for name, spec in specs.items()}
    answer = function(**{name: tensorflow.constant(value) for name, value in asked.items()})
    return asked, {name: value.numpy() for name, value in answer.items()}


def _tflite(source: Path, target: Path) -> tuple[Arrays, Arrays]:
    from ai_edge_litert.interpreter import (  # noqa: PLC0415
        Interpreter,
    )

    running = Interpreter(model_path=str(source), num_threads=1)
    running.allocate_tensors()
    inputs, outputs = _named(running)
    _converted(
        "--tflite", str(source), "--output", str(target),
        "--inputs", ",".join(d["name"] for d in inputs.values()),
        "--outputs", ",".join(d["name"] for d in outputs.values()),
        "--rename-inputs", ",".join(inputs), "--rename-outputs", ",".join(outputs),
    )  # fmt: skip
    asked = {name: _values(list(detail["shape"]), detail["dtype"]) for name, detail in inputs.items()}
    for name, detail in inputs.items():
        running.set_tensor(detail["index"], asked[name])
    running.invoke()
    return asked, {name: running.get_tensor(detail["index"]) for name, detail in outputs.items()}


def _named(running: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and outputs by the names that the author gave, where the file has them."""
    if SIGNATURE in running.get_signature_list():
        runner = running.get_signature_runner(SIGNATURE)
        return dict(runner.get_input_details()), dict(runner.get_output_details())
    return (
        {_plain(detail["name"]): detail for detail in running.get_input_details()},
        {_plain(detail["name"]): detail for detail in running.get_output_details()},
    )


def _plain(name: str) -> str:
    return re.sub(r"\W+", "_", name.removeprefix("serving_default_").removesuffix(":0"))


def _values(shape: list[int | None], dtype: Any) -> Any:
    random = np.random.default_rng(0)
    sizes = [ROWS if size is None or size < 0 else int(size) for size in shape]
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return random.standard_normal(sizes).astype(kind)
    return random.integers(0, 2, sizes).astype(kind)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))

"""What came of compile.sh: the engine with its proof and times, or the sentence that decided against it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seawall.optimize.gpu.compile import EXPECTED, relative_error
from seawall.optimize.types import Array, BatchTiming, Refused

PLAN = "model.plan"
TOLERANCES = {"none": 0.01, "fp16": 0.02, "bf16": 0.05}
"""Relative error of the engine against the same graph on a CPU. TensorRT computes float in TF32, whose ten
bits of mantissa are fp16's; bf16 has seven."""
QUANTISED_TOLERANCE = 0.1
"""A value beside the edge between two steps of 8 or 4 bits may fall on either side of it."""
_ERROR = re.compile(r"^\[[^\]]*\]\s*\[E\]\s*(?:\[TRT\]\s*)?(.*)$")
_NO_DEVICE = re.compile(
    r"CUDA initialization failure with error:? (\d+)|no CUDA-capable device", re.IGNORECASE
)
_NO_MEMORY = re.compile(r"out of memory|insufficient memory|failure with error:? 2\b", re.IGNORECASE)
_NODE = re.compile(r"While parsing node number \d+ \[(.+?)\]")
_PARSER = re.compile(r"In function \w+:\s*\n\s*\[\d+\]\s*(.+)")
_CONSEQUENCES = re.compile(
    r"Engine (could not be created|set up failed)|Building engine failed|Failed to (create engine|parse onnx)"
    r"|Network And Config setup failed|Parsing model failed|Inference set up failed|ModelImporter\.cpp"
    r"|Error occurred during inference"
)


@dataclass(frozen=True, slots=True)
class Engine:
    path: Path
    bytes: int
    tensorrt: str
    gpu: str
    """name, driver, compute capability, as nvidia-smi told them; empty where it was not there"""
    build_seconds: float | None
    relative_error: float
    times: tuple[BatchTiming, ...]
    """of the engine alone, on the GPU: what Triton adds is not in them"""

    def to_json(self) -> dict[str, Any]:
        times = [{"batch": t.size, "p50Ms": t.p50_ms, "p99Ms": t.p99_ms} for t in self.times]
        raw: dict[str, Any] = {"tensorrt": self.tensorrt, "gpu": self.gpu, "bytes": self.bytes}
        return {
            **raw,
            "buildSeconds": self.build_seconds,
            "relativeError": self.relative_error,
            "times": times,
        }


def read(folder: Path, precision: str) -> Engine:
    """Raises Refused (CompileFailed, OutOfMemory) with the line of the log that decided."""
    results = folder / "results"
    status = _text(results / "status")
    version = _text(results / "tensorrt")
    if status != "done":
        raise _failure(status, version, results)
    times, worst = [], 0.0
    for file in sorted(folder.glob(f"{EXPECTED}-*.npz"), key=_size):
        size = _size(file)
        found = outputs(_text(results / f"output-{size}.json"))
        worst = max(worst, _compared(expected(file), found, precision, size))
        times.append(timing(size, _text(results / f"times-{size}.json")))
    if not times:
        raise Refused("CompileFailed", "the engine was compared with nothing, so it does not count")
    plan = folder / PLAN
    log = _text(results / "build.log")
    return Engine(
        plan, plan.stat().st_size, version, _text(results / "gpu"), built_in(log), worst, tuple(times)
    )


def _size(file: Path) -> int:
    return int(file.stem.rpartition("-")[2])


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""


def _failure(status: str, version: str, results: Path) -> Refused:
    said = {
        "": "compile.sh left no result: it was ended from outside",
        "no-trtexec": "the runtime image has no trtexec; TensorRT engines need NVIDIA's image of Triton",
        "version-unknown": "the runtime image tells no TensorRT version",
        "too-old": f"the runtime image has TensorRT {version}; graphs with explicit precision need 10",
    }.get(status)
    if said:
        return Refused("CompileFailed", said)
    log = _text(results / f"{status}.log")
    line = decisive(log)
    if _NO_MEMORY.search(log):
        return Refused("OutOfMemory", f"TensorRT {version} ran out of memory: {line}")
    step = "did not build the engine" if status == "build" else "could not run the engine"
    return Refused("CompileFailed", f"TensorRT {version} {step}: {line}")


def decisive(log: str) -> str:
    """The first error that is no mere consequence of another; trtexec ends with a pile of those."""
    no_device = _NO_DEVICE.search(log)
    if no_device:
        return no_device[0]
    errors = [match[1].strip() for match in map(_ERROR.match, log.splitlines()) if match and match[1].strip()]
    causes = [line for line in errors if not _CONSEQUENCES.match(line)]
    parser, node = _PARSER.search(log), _NODE.search(log)
    causes += [parser[1]] if parser else []
    last = [line.strip() for line in log.splitlines() if line.strip()][-1:]
    cause = next(iter([*causes, *errors, *last]), "trtexec said nothing")
    return f"{cause[:400]} (node {node[1][:100]})" if node else cause[:400]


def built_in(log: str) -> float | None:
    found = re.search(r"Engine built in ([0-9.]+) sec", log)
    return float(found[1]) if found else None


def expected(file: Path) -> dict[str, Array]:
    with np.load(file, allow_pickle=False) as stored:
        names = [str(name) for name in stored["names"]]
        return {name: stored[f"arr_{index}"] for index, name in enumerate(names)}


def outputs(text: str) -> dict[str, Array]:
    """--exportOutput: a list of {"name", "dimensions": "8x10", "values": [...]}, with bare nan and inf."""
    if re.search(r"[\[,\s]-?(nan|inf)\b", text, re.IGNORECASE):
        raise Refused("CompileFailed", "the engine answers with values that are not finite")
    return {entry["name"]: _array(entry) for entry in _json(text, "outputs")}


def _array(entry: Mapping[str, Any]) -> Array:
    shape = [int(size) for size in re.findall(r"\d+", entry["dimensions"])]
    values = np.asarray(entry["values"])
    return values.reshape(shape) if math.prod(shape) == values.size else values


def _json(text: str, what: str) -> list[dict[str, Any]]:
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise Refused("CompileFailed", f"trtexec left {what} that are no JSON: {error}") from error
    if not isinstance(raw, list):
        raise Refused("CompileFailed", f"trtexec left {what} of a form that is not known")
    return raw


def _compared(wanted: Mapping[str, Array], found: Mapping[str, Array], precision: str, size: int) -> float:
    missing = set(wanted) - set(found)
    if missing:
        raise Refused("CompileFailed", f"the engine has no output {', '.join(sorted(missing))}")
    worst = 0.0
    for name, array in wanted.items():
        if found[name].size != array.size:
            raise Refused(
                "CompileFailed",
                f"the engine's output {name} has {found[name].size} values, the graph's {array.size}",
            )
        worst = max(worst, relative_error(array, found[name]))
    allowed = TOLERANCES.get(precision.rpartition("+")[2], QUANTISED_TOLERANCE)
    if not worst <= allowed:
        raise Refused(
            "CompileFailed",
            f"the engine answers otherwise than its graph: relative error {worst:.4f} at batch {size},"
            f" at most {allowed} is rounding",
        )
    return worst


def timing(size: int, text: str) -> BatchTiming:
    """--exportTimes: a list of traces, of which the GPU's own time and both copies make the latency."""
    values = np.array([entry["latencyMs"] for entry in _json(text, "times")], dtype=np.float64)
    if not values.size:
        raise Refused("CompileFailed", f"trtexec timed nothing at batch {size}")
    middle, late = np.percentile(values, [50, 99])
    return BatchTiming(
        size, float(values.mean()), float(values.std()), float(middle), float(late), values.size
    )

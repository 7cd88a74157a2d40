"""The host's half of gpu-report: makes the graphs of every preset, has them measured, prints the rows."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seawall.optimize import graph as graphs
from seawall.optimize.gpu.compile import batch_sizes
from seawall.optimize.gpu.profile import profiles
from seawall.optimize.gpu.quantize import compress, save_arrays
from seawall.optimize.types import (
    BuildOrder,
    Context,
    Graph,
    Proof,
    Refused,
    Samples,
    Target,
)

MODELS = {"digits-v1": "digits-test.npz", "minilm": "minilm-test.npz"}
PRESETS = ("none", "fp16", "bf16", "int8", "fp8", "int4")
RUNTIMES = ("onnxruntime-gpu", "tensorrt-rtx")
WORKER = Path(__file__).with_name("gpu_report_worker.py")
COLUMNS = (
    "model",
    "preset",
    "runtime",
    "bytes",
    "engine",
    "cosine",
    "p50 ms b1",
    "p50 ms b8",
    "J per 1k",
    "W",
)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="gpu-report", description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="folder of the example models")
    parser.add_argument("--python", type=Path, required=True, help="interpreter with the GPU runtimes")
    parser.add_argument("--model", action="append", choices=sorted(MODELS))
    parser.add_argument("--preset", action="append", choices=PRESETS)
    parser.add_argument("--max-batch", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5.0, help="per runtime and batch size")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.model or sorted(MODELS):
            rows += model_rows(name, options, Path(scratch) / name)
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    return 0 if any(row["error"] is None for row in rows) else 1


def model_rows(name: str, options: argparse.Namespace, folder: Path) -> Iterable[dict[str, Any]]:
    original = graphs.copy(options.models / f"{name}.onnx", folder / "none")
    signature = graphs.signature(original)
    stored = dict(np.load(options.models / MODELS[name], allow_pickle=False))
    samples = Samples({spec.name: stored[spec.name] for spec in signature.inputs})
    save_arrays(folder / "samples.npz", samples.inputs)
    shapes = profiles(signature, samples, options.max_batch)
    for preset in options.preset or PRESETS:
        say(f"{name} {preset}")
        base = {"model": name, "preset": preset}
        try:
            made = original if preset == "none" else quantised(preset, original, signature, samples, folder)
        except Refused as refused:
            yield {**base, "runtime": "", "error": str(refused)}
            continue
        for runtime in RUNTIMES:
            request = {
                "runtime": runtime,
                "model": str(made.path),
                "original": str(original.path),
                "samples": str(folder / "samples.npz"),
                "profile": {key: [list(shape) for shape in three] for key, three in shapes.items()},
                "batches": list(batch_sizes(options.max_batch)),
                "seconds": options.seconds,
                "providers": ["CUDAExecutionProvider"],
            }
            yield {**base, "runtime": runtime, "bytes": made.bytes, **measured(options.python, request)}


def quantised(preset: str, original: Graph, signature: Any, samples: Samples, folder: Path) -> Graph:
    """Without a floor: the report shows what each preset costs in accuracy, also below the floor."""
    order = BuildOrder(str(original.path), "onnx", Target("this machine", "gpu"), preset)
    free: Callable[[Graph], Proof] = lambda made: Proof("cosine", 1, 1, 1, 0, 1, "none", passed=True)  # noqa: E731
    context = Context(order, signature, samples, samples, free, lambda *told: None)
    return compress(preset, original, context, folder / preset).graph


def measured(python: Path, request: dict[str, Any]) -> dict[str, Any]:
    """A runtime that crashes takes only its own row with it."""
    with tempfile.TemporaryDirectory() as scratch:
        asked, out = Path(scratch, "request.json"), Path(scratch, "answer.json")
        asked.write_text(json.dumps({**request, "out": str(out)}), encoding="utf-8")
        ended = subprocess.run([python, WORKER, asked], capture_output=True, text=True, check=False)
        if out.is_file():
            answer: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
            return {**answer, "error": None}
    lines = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
    return {"error": lines[-1][:300] if lines else f"it ended with {ended.returncode}"}


def table(rows: Sequence[dict[str, Any]]) -> str:
    cells = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in cells if len(line) == len(COLUMNS)) for i in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip()
        for line in cells
    )


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    head = (row["model"], row["preset"], row["runtime"])
    if row["error"] is not None:
        return (*head, row["error"])
    times = {timing["size"]: timing for timing in row["batches"]}
    largest = max(times)
    energy = times[largest].get("joulesPer1k")
    return (
        *head,
        str(row["bytes"]),
        str(row["engineBytes"] or "-"),
        f"{row['cosine']:.4f}",
        f"{times[1]['p50Ms']:.3f}",
        f"{times.get(8, times[largest])['p50Ms']:.3f}",
        "-" if energy is None else f"{energy:.3f}",
        "-" if energy is None else f"{times[largest]['watts']:.0f}",
    )


def say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"gpu-report: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

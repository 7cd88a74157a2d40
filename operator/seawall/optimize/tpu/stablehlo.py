"""A StableHLO artefact for serving: taken as it came, or exported from a proven ONNX graph; then verified."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seawall.optimize.gpu.compile import batch_sizes, relative_error
from seawall.optimize.gpu.environment import JAX, TPU, interpreter, last_line, run_script
from seawall.optimize.gpu.quantize import save_arrays
from seawall.optimize.tpu.versions import made_with, newer_than_server
from seawall.optimize.types import Array, Fetched, Graph, Refused, Samples, Signature, TensorSpec

MODEL = "model.stablehlo"
SUFFIXES = (".stablehlo", ".mlir", ".bin")
PLATFORMS = ("cpu", "tpu")
CARRIED = {
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
    "float16", "float32", "float64",
}  # fmt: skip
"""types of inputs and outputs; those of fetch/stablehlo.py"""
TOLERANCE = 0.02
"""Relative error of the program against its graph, both on a CPU; bf16 sums in another order"""
HERE = Path(__file__).parent
Reference = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""The outputs of the graph for a batch, by onnxruntime on a CPU"""


@dataclass(frozen=True, slots=True)
class Verified:
    path: Path
    inputs: tuple[Mapping[str, Any], ...]
    outputs: tuple[Mapping[str, Any], ...]
    """name, dtype and shape, None where it varies"""
    batches: tuple[int, ...]
    """sizes that are compiled before the server is ready; empty: the program has no batch dimension"""
    jax: str
    """release that exported it, or that it was verified with where the exporter is not known"""
    stablehlo: str

    def layout(self) -> dict[str, Any]:
        """What the manifest tells the server about it; see fetch/stablehlo.py."""
        raw = {"kind": "stablehlo", "inputs": list(self.inputs), "outputs": list(self.outputs)}
        return {**raw, "batches": list(self.batches), "jax": self.jax, "stablehlo": self.stablehlo}


def signature_of(layout: Mapping[str, Any]) -> Signature:
    """Of a program that was verified, from its layout. Raises Refused for types that no request carries."""
    for spec in (*layout["inputs"], *layout["outputs"]):
        if spec["dtype"] not in CARRIED:
            raise Refused(
                "InvalidModel",
                f"{spec['name']} is {spec['dtype']}, which no request can carry: cast inside the program",
            )
    inputs, outputs = (
        tuple(TensorSpec(spec["name"], spec["dtype"], tuple(spec["shape"])) for spec in layout[role])
        for role in ("inputs", "outputs")
    )
    return Signature(inputs, outputs, batched=bool(layout["batches"]))


def accept(
    fetched: Fetched, samples: Samples | None, max_batch: int, server: str | None, folder: Path
) -> Verified:
    """An artefact that somebody exported. Raises Refused where it cannot be served."""
    source = fetched.path
    exporter = None
    if source.is_dir():
        source, exporter = _in_folder(source)
    made_with(source.read_bytes())
    problem = newer_than_server(exporter, server)
    if problem:
        raise problem
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, folder / MODEL)
    return verify(folder / MODEL, samples, max_batch, server=server, exporter=exporter)


def _in_folder(folder: Path) -> tuple[Path, str | None]:
    """One artefact, and beside it `metadata.json` with {"jax": "<release that exported it>"} if known."""
    found = sorted(p for p in folder.rglob("*") if p.suffix in SUFFIXES and p.is_file())
    if len(found) != 1:
        raise Refused("InvalidModel", f"one .stablehlo file is needed, {len(found)} are there")
    beside = found[0].with_name("metadata.json")
    if not beside.is_file():
        return found[0], None
    try:
        told = json.loads(beside.read_text(encoding="utf-8"))["jax"]
    except (ValueError, KeyError, TypeError) as error:
        raise Refused("InvalidModel", "metadata.json does not tell the release of jax as `jax`") from error
    return found[0], str(told)


def translate(
    graph: Graph,
    samples: Samples,
    folder: Path,
    *,
    max_batch: int,
    server: str | None,
    reference: Reference,
) -> Verified:
    """ONNX by a small translator of our own: convolutions and dense layers. Raises Refused beyond that."""
    folder.mkdir(parents=True, exist_ok=True)
    request = {"model": str(graph.path), "out": str(folder / MODEL), "platforms": list(PLATFORMS)}
    ended = run_script(_python(), HERE / "translate_worker.py", request, seconds=900)
    if ended.code or not (folder / MODEL).is_file():
        said = last_line(ended.tail).rpartition("Untranslatable: ")[2]
        raise Refused(
            "ConversionFailed",
            f"the graph cannot become StableHLO here: {said}; export it with jax.export where it was made",
        )
    # What exported it is what verifies it, so its release is known and held against the server's below.
    made = verify(folder / MODEL, samples, max_batch, server=None, exporter=None, reference=reference)
    problem = newer_than_server(made.jax, server)
    if problem:
        raise problem
    return made


def verify(
    path: Path,
    samples: Samples | None,
    max_batch: int,
    *,
    server: str | None,
    exporter: str | None,
    reference: Reference | None = None,
) -> Verified:
    """Runs it on a CPU at every batch size: its outputs are finite, and the reference's if there is one."""
    sizes = batch_sizes(max_batch)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        answer, outputs = _asked(path, samples, sizes, place)
    if answer["problem"]:
        raise Refused("InvalidModel", f"the StableHLO artefact cannot be served: {answer['problem']}")
    problem = newer_than_server(exporter, answer["jax"]) or newer_than_server(answer["jax"], server)
    if problem and exporter is None and server is not None:
        raise Refused(
            "PresetUnsupported",
            f"the artefact does not tell its exporter, and it was read here by jax {answer['jax']}, newer"
            f" than the server's {server}: put metadata.json with its release beside it",
        )
    if not set(PLATFORMS) <= set(answer["platforms"]):
        told = ", ".join(answer["platforms"])
        raise Refused("InvalidModel", f"the artefact was exported for {told}; cpu and tpu are needed")
    if reference is not None and samples is not None:
        _compared(outputs, samples, sizes, reference)
    batched = all(spec["shape"][:1] == [None] for spec in [*answer["inputs"], *answer["outputs"]])
    version = ".".join(map(str, made_with(path.read_bytes()).stablehlo))
    ends = tuple(answer["inputs"]), tuple(answer["outputs"])
    return Verified(path, *ends, sizes if batched else (), exporter or answer["jax"], version)


def _asked(
    path: Path, samples: Samples | None, sizes: Sequence[int], place: Path
) -> tuple[dict[str, Any], dict[str, Array]]:
    data = place / "samples.npz"
    if samples is not None:
        save_arrays(data, samples.inputs)
    request = {
        "artefact": str(path),
        "batches": list(sizes),
        "samples": str(data) if samples is not None else None,
        "outputs": str(place / "outputs.npz"),
        "out": str(place / "answer.json"),
    }
    ended = run_script(_python(), HERE / "verify_worker.py", request, seconds=900)
    if ended.code or not (place / "answer.json").is_file():
        raise Refused("InvalidModel", f"the StableHLO artefact could not be run: {last_line(ended.tail)}")
    answer: dict[str, Any] = json.loads((place / "answer.json").read_text(encoding="utf-8"))
    if answer["problem"]:
        return answer, {}
    with np.load(place / "outputs.npz", allow_pickle=False) as stored:
        return answer, {name: stored[name] for name in stored.files}


def _compared(
    outputs: Mapping[str, Array], samples: Samples, sizes: Sequence[int], reference: Reference
) -> None:
    for size in sizes:
        batch = {name: array[np.arange(size) % len(array)] for name, array in samples.inputs.items()}
        for name, wanted in reference(batch).items():
            error = relative_error(wanted, outputs[f"{name}/{size}"])
            if not error <= TOLERANCE:
                raise Refused(
                    "ConversionFailed",
                    f"the StableHLO program answers otherwise than its graph: relative error {error:.4f} in"
                    f" {name} at batch size {size}, at most {TOLERANCE} is rounding",
                )


def _python() -> Path:
    python = interpreter(TPU, JAX)
    if python is None:
        raise Refused(
            "ConversionFailed",
            f"StableHLO needs jax: install it, or name its interpreter in {TPU} (tools/venv tpu makes one)",
        )
    return python

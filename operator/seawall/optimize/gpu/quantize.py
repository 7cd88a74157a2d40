"""fp16, bf16, int8, fp8, int4 and 2:4 graphs as TensorRT reads them: every precision is written in the graph.

TensorRT 11 has no switches for precision any more, and a graph made for onnxruntime on a CPU is refused by
its parser, so nothing here is shared with the presets of a CPU.
"""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from seawall.optimize import graph as graphs
from seawall.optimize.gpu.environment import GPU, MODELOPT, interpreter, last_line, run_script
from seawall.optimize.gpu.exclude import Attempt, fewest_excluded
from seawall.optimize.gpu.rewrite import gemm_to_matmul
from seawall.optimize.gpu.sensitivity import by_outliers
from seawall.optimize.gpu.simulate import runnable
from seawall.optimize.gpu.stored import store_quantised
from seawall.optimize.gpu.tables import cast_tables
from seawall.optimize.types import MODEL_FILE, Array, Compressed, Context, Graph, Proof, Refused, Samples

PRECISIONS = {"fp16": "fp16", "bf16": "bf16", "int8": "int8", "fp8": "fp8", "int4": "int4"}
CALIBRATION_SAMPLES = 128
WORKER = Path(__file__).with_name("quantize_worker.py")
HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Where precision costs accuracy, and what the search may leave alone"""
Rank = Callable[[Graph, Samples], Sequence[str]]
"""names of nodes, the one that suffers most first"""


def compress(
    step: str, graph: Graph, context: Context, folder: Path, *, rank: Rank | None = None
) -> Compressed:
    """The graph in the precision of `step`. Raises Refused where it cannot be done or is not right enough."""
    if step == "sparse24":
        from seawall.optimize.gpu.sparsity import compress as sparse  # noqa: PLC0415 - it imports this

        return sparse(graph, context, folder)
    if step not in PRECISIONS:
        raise Refused("PresetUnsupported", f"{step} is no precision of a GPU")
    return _quantised(step, graph, context, folder, rank or _by_outliers)


def _quantised(step: str, graph: Graph, context: Context, folder: Path, rank: Rank) -> Compressed:
    folder.mkdir(parents=True, exist_ok=True)
    source, rewritten = _prepared(step, graph, folder)
    candidates = tuple(n.name for n in graphs.load(source, weights=False).graph.node
                       if n.op_type in HEAVY and n.name)  # fmt: skip
    made: dict[tuple[str, ...], Graph] = {}

    def attempt(excluded: tuple[str, ...]) -> Attempt:
        context.say("compress", None, f"{step} with {len(excluded)} of {len(candidates)} layers left alone")
        made[excluded] = modelopt(step, source, context.calibration, excluded, folder / f"try-{len(made)}")
        _require_quantised(step, made[excluded])
        return Attempt(excluded, measured(made[excluded], context, folder))

    def ranked() -> Sequence[str]:
        order = [name for name in rank(source, _few(context.calibration)) if name in candidates]
        return [*order, *(name for name in candidates if name not in order)]

    best = fewest_excluded(attempt, ranked, len(candidates), context.seconds, time.monotonic)
    if not best.proof.passed:
        raise below_floor(step, best.proof, len(best.excluded), len(candidates))
    result = settled(made[best.excluded], folder)
    layers = f"{quantised_layers(result)} of {len(candidates)} layers"
    return Compressed(result, _method(step, context, rewritten, layers), excluded=best.excluded)


def quantised_layers(graph: Graph) -> int:
    """Layers with a dequantised input; the quantiser passes over what it holds too small to gain."""
    nodes = graphs.load(graph, weights=False).graph.node
    made = {name for node in nodes if node.op_type.endswith("DequantizeLinear") for name in node.output}
    return sum(node.op_type in HEAVY and not made.isdisjoint(node.input) for node in nodes)


def measured(candidate: Graph, context: Context, folder: Path) -> Proof:
    """The proof of what a CPU can run of it: the graph, or its simulation in bf16 and fp8."""
    return context.measure(runnable(candidate, folder / "simulated"))


def below_floor(step: str, proof: Proof, excluded: int, of: int) -> Refused:
    tried = f" with {excluded} of {of} layers left in higher precision" if excluded else ""
    return Refused(
        "AccuracyBelowFloor",
        f"{step}{tried} reaches {proof.metric} {proof.value:.4f} on {proof.samples} samples,"
        f" the floor is {proof.floor:.4f}",
    )


def _by_outliers(graph: Graph, samples: Samples) -> Sequence[str]:
    return by_outliers(graph, samples, HEAVY)


def _require_quantised(step: str, made: Graph) -> None:
    if step in ("int8", "fp8", "int4") and not quantised_layers(made):
        raise Refused(
            "PresetUnsupported",
            f"no layer of this model is large enough for nvidia-modelopt to put it in {step}: ask for fp16",
        )


def _prepared(step: str, graph: Graph, folder: Path) -> tuple[Graph, int]:
    """4 bits: no Gemm may be left."""
    if step != "int4":
        return graph, 0
    model = graphs.load(graph)
    count = gemm_to_matmul(model)
    return graphs.save(model, folder / "rewritten"), count


def modelopt(step: str, source: Graph, samples: Samples, excluded: Sequence[str], folder: Path) -> Graph:
    python = interpreter(GPU, MODELOPT)
    if python is None:
        raise Refused(
            "CompressionFailed", f"{step} for a GPU needs nvidia-modelopt: install it, or name its"
            f" interpreter in {GPU} (tools/venv gpu makes one)"
        )  # fmt: skip
    folder.mkdir(parents=True)
    calibration = folder.with_name(f"{folder.name}.npz")
    save_arrays(calibration, {k: v[:CALIBRATION_SAMPLES] for k, v in samples.inputs.items()})
    request = {
        "model": str(source.path),
        "out": str(folder / MODEL_FILE),
        "calibration": str(calibration),
        "precision": PRECISIONS[step],
        "exclude": list(excluded),
    }
    ended = run_script(python, WORKER, request, seconds=1800)
    calibration.unlink()
    if ended.code or not (folder / MODEL_FILE).is_file():
        raise Refused("CompressionFailed", f"nvidia-modelopt made no {step} graph: {last_line(ended.tail)}")
    return _shrunk(Graph(folder))


def _shrunk(made: Graph) -> Graph:
    """The same numbers in fewer bytes."""
    model = graphs.load(made)
    if not cast_tables(model) + store_quantised(model):
        return made
    shutil.rmtree(made.folder)
    return graphs.save(model, made.folder)


def save_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """As np.savez does, for inputs of any name: its keyword arguments cannot be called `file`."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)


def settled(made: Graph, folder: Path) -> Graph:
    """Only the chosen graph stays in `folder`."""
    for entry in made.folder.iterdir():
        entry.rename(folder / entry.name)
    for entry in list(folder.iterdir()):
        if entry.is_dir():
            shutil.rmtree(entry)
    return Graph(folder)


def _few(samples: Samples, count: int = 16) -> Samples:
    labels = None if samples.labels is None else samples.labels[:count]
    return Samples({k: v[:count] for k, v in samples.inputs.items()}, labels, samples.source)


def _method(step: str, context: Context, rewritten: int, layers: str) -> str:
    count = min(context.calibration.count, CALIBRATION_SAMPLES)
    if step in ("fp16", "bf16"):
        return f"{step} by nvidia-modelopt AutoCast, ranges from {count} samples, inputs and outputs kept"
    rest = "float" if step == "int4" else "fp16"
    text = f"{step} of {layers} by nvidia-modelopt, {count} calibration samples, the rest in {rest}"
    return f"{text}, {rewritten} Gemm as MatMul" if rewritten else text

"""An engine, built by the image that will serve it, on the GPU that will run it.

The build itself is a shell script, because that image has TensorRT and no Python of ours. The script only
runs and records: what its files mean is read by engine.py, once, in the phase that comes after it.
"""

from __future__ import annotations

import math
import re
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seawall.optimize.gpu.profile import Profiles, profiles, shape_of
from seawall.optimize.gpu.script import SCRIPT
from seawall.optimize.types import Array, Graph, Refused, Samples, Signature, Target

SCRIPT_FILE = "compile.sh"
EXPECTED = "expected"
INPUTS = "inputs"
HARDWARE = ("none", "sameComputeCapability", "ampere+")
LEVELS = range(6)
Answer = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""The outputs of the graph for a batch, from a runtime that is trusted: onnxruntime on a CPU"""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    workspace_mib: int = 4096
    level: int = 3
    """TensorRT's builder optimisation level: how long it looks for tactics"""
    sparsity: bool = False
    hardware: str = "none"
    """none: this GPU product alone, and fastest; the others trade speed for fewer builds"""
    timing_seconds: int = 6

    def __post_init__(self) -> None:
        if self.hardware not in HARDWARE or self.level not in LEVELS:
            raise Refused(
                "CompileFailed",
                f"hardware compatibility is one of {', '.join(HARDWARE)}, the level 0 to 5;"
                f" asked for were {self.hardware} and {self.level}",
            )


def prepare(
    graph: Graph,
    signature: Signature,
    samples: Samples,
    target: Target,
    folder: Path,
    *,
    max_batch: int,
    answer: Answer,
    options: EngineOptions = EngineOptions(),
) -> Profiles:
    """Fills `folder` with all that compile.sh needs; returns the profile it builds for."""
    shapes = profiles(signature, samples, max_batch)
    folder.mkdir(parents=True, exist_ok=True)
    for file in graph.folder.iterdir():
        shutil.copyfile(file, folder / file.name)
    sizes = batch_sizes(max_batch) if signature.batched else (1,)
    runs = {size: _inputs(signature, samples, size, answer, folder, shapes) for size in sizes}
    text = compile_script(shapes, runs, target.product or "", options)
    (folder / SCRIPT_FILE).write_text(text, encoding="utf-8")
    return shapes


def batch_sizes(most: int) -> tuple[int, ...]:
    """1, 2, 4 … and the largest: what is timed and compared."""
    return tuple(sorted({2**power for power in range(most.bit_length()) if 2**power <= most} | {most}))


def _inputs(
    signature: Signature,
    samples: Samples,
    size: int,
    answer: Answer,
    folder: Path,
    shapes: Profiles,
) -> Mapping[str, tuple[int, ...]]:
    """Writes one batch as raw bytes, and what it should give; returns the shapes that vary."""
    batch: dict[str, Array] = {}
    place = folder / INPUTS / str(size)
    place.mkdir(parents=True, exist_ok=True)
    for index, spec in enumerate(signature.inputs):
        array = samples.inputs[spec.name]
        rows = array[np.arange(size) % len(array)] if signature.batched else array[0]
        shape = shape_of(spec, signature, samples, size)
        batch[spec.name] = np.ascontiguousarray(rows.astype(spec.dtype)).reshape(shape)
        (place / f"{index}.bin").write_bytes(batch[spec.name].tobytes())
    expected = answer(batch)
    with (folder / f"{EXPECTED}-{size}.npz").open("wb") as out:
        np.savez(out, *expected.values(), names=np.array(list(expected)))
    names = [spec.name for spec in signature.inputs]
    (place / "list").write_text(load_inputs(names, f"{INPUTS}/{size}"), encoding="utf-8")
    return {name: batch[name].shape for name in names if name in shapes}


def load_inputs(names: Sequence[str], folder: str) -> str:
    return ",".join(f"{quoted(name)}:{folder}/{index}.bin" for index, name in enumerate(names))


def quoted(name: str) -> str:
    """trtexec splits its lists at colons and commas; a name that holds one stands in single quotes."""
    return f"'{name}'" if set(name) & set(":,") else name


def spelled(shapes: Mapping[str, Sequence[int]]) -> str:
    return ",".join(f"{quoted(name)}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())


def compile_script(
    shapes: Profiles,
    runs: Mapping[int, Mapping[str, Sequence[int]]],
    product: str,
    options: EngineOptions,
) -> str:
    """compile.sh. A pure function of its arguments: tests/gpu/golden holds what it gives."""
    build = [
        f"--memPoolSize=workspace:{options.workspace_mib}",
        f"--builderOptimizationLevel={options.level}",
    ]
    for flag, place in (("min", 0), ("opt", 1), ("max", 2)) if shapes else ():
        spec = spelled({name: three[place] for name, three in shapes.items()})
        build.append(f"--{flag}Shapes={spec}")
    if options.sparsity:
        build.append("--sparsity=enable")
    if options.hardware != "none":
        build.append(f"--hardwareCompatibilityLevel={options.hardware}")
    lines = []
    for size, given in runs.items():
        flags = [f"--shapes={spelled(given)}"] if given else []
        flags += [f"--duration={options.timing_seconds}", "--warmUp=500", "--avgRuns=50", "--percentile=99"]
        lines.append(f"run {size} {' '.join(shlex.quote(flag) for flag in flags)}")
    return SCRIPT.format(
        build=" \\\n    ".join(shlex.quote(flag) for flag in build),
        runs="\n".join(lines),
        product=shlex.quote(slug(product)),
    )


def slug(product: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", product).strip("-")


def relative_error(expected: Array, found: Array) -> float:
    """Of the L2 norms, as prove's metric has it."""
    wanted, got = expected.astype(np.float64).ravel(), found.astype(np.float64).ravel()
    norm = float(np.linalg.norm(wanted))
    difference = float(np.linalg.norm(wanted - got))
    if norm == 0:
        return 0.0 if difference == 0 else math.inf
    return difference / norm

"""What is served, from a graph that is right: the graph, an engine, a StableHLO program, or its parts."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seawall.optimize.bench import Bench, Candidate, Prepared
from seawall.optimize.graph import session
from seawall.optimize.pipeline import runnable
from seawall.optimize.sessions import answer
from seawall.optimize.types import Array, Graph, Refused, Stage

if TYPE_CHECKING:
    from seawall.optimize.gpu.engine import Engine

SPLIT_BATCH = 8
"""largest batch that the compute of stages is measured at: shares change little beyond it"""
NO_SERVER = (
    "nothing tells which release of jax the server has (SEAWALL_SERVER_JAX can), so this program, of jax"
    " {jax}, was not held against it; an older server refuses the program when it loads it"
)
COMPILE = "compile"
COMPILE_ALL = """\
#!/bin/sh
# One engine per preset that came about; whatever each comes to is read afterwards.
set -eu
for script in "$(dirname "$0")"/*/compile.sh; do
    [ ! -f "$script" ] || /bin/sh "$script"
done
"""


@dataclass(frozen=True, slots=True)
class Formed:
    """The files that are served, in a folder of their own."""

    folder: Path
    layout: Mapping[str, Any]
    engine: Engine | None = None
    stages: tuple[Stage, ...] = ()
    notes: tuple[str, ...] = ()
    """what could not be done or checked here"""


def formed(bench: Bench, prepared: Prepared, made: Candidate) -> Formed:
    """Raises Refused where the form cannot be had."""
    folder = bench.work / "artifact" / made.preset
    shutil.rmtree(folder, ignore_errors=True)
    order = bench.order
    if order.pipeline > 1:
        return _split(bench, prepared, made, folder)
    if prepared.program is not None or order.target.type == "tpu":
        return _program(bench, prepared, made, folder)
    engine = engine_of(bench, made)
    if engine is not None:
        folder.mkdir(parents=True)
        shutil.copyfile(engine.path, folder / engine.path.name)
        built = Stage("compile", engine.build_seconds or 0.0, engine.to_json())
        return Formed(folder, {"kind": "tensorrt"}, engine, (built,))
    shutil.copytree(made.graph.folder, folder)
    return Formed(folder, {"kind": "onnx"}, notes=_no_engine(bench))


def _no_engine(bench: Bench) -> tuple[str, ...]:
    if bench.order.target.type != "gpu":
        return ()
    return ("no engine was built here: that takes the GPU and its image; this is the graph for one",)


def _split(bench: Bench, prepared: Prepared, made: Candidate, folder: Path) -> Formed:
    from seawall.optimize.split import split  # noqa: PLC0415

    order = bench.order
    if prepared.program is not None or order.target.type == "tpu":
        raise Refused("CannotSplit", "StableHLO programs, which TPUs serve, cannot be cut into stages")
    began = time.monotonic()
    cut = split(
        made.graph,
        order.pipeline,
        prepared.evaluation,
        folder,
        batch=max(1, min(order.max_batch_size, SPLIT_BATCH)),
        memory_bytes=order.target.memory_bytes,
        threads=max(1, order.threads),
        say=bench.say,
    )
    told = {
        "shares": list(cut.shares),
        "crossingBytes": cut.crossing_bytes,
        "maxDifference": cut.max_difference,
        "divided": list(cut.divided),
    }
    done = Stage("split", round(time.monotonic() - began, 3), told)
    return Formed(folder, cut.layout, stages=(done,))


def _program(bench: Bench, prepared: Prepared, made: Candidate, folder: Path) -> Formed:
    """Either way it has run on a CPU at every batch size, on the samples at hand, before it counts."""
    from seawall.optimize.tpu.stablehlo import MODEL, translate, verify  # noqa: PLC0415

    order = bench.order
    most, server = max(1, order.max_batch_size), order.target.jax_version
    if prepared.program is not None:
        shutil.copytree(made.graph.folder, folder)
        # Its release was held against the server's when it was accepted.
        told = str(prepared.program["jax"])
        program = verify(folder / MODEL, prepared.evaluation, most, server=None, exporter=told)
    else:
        program = translate(
            made.graph,
            prepared.evaluation,
            folder,
            max_batch=most,
            server=server,
            reference=_answers(runnable(bench, made.graph)),
        )
    unknown = () if server else (NO_SERVER.format(jax=program.jax),)
    return Formed(folder, program.layout(), notes=unknown)


def ready_to_compile(bench: Bench, prepared: Prepared, made: Candidate) -> None:
    """All that the runtime image needs to build the engine, in a folder of the preset's own."""
    from seawall.optimize.gpu.compile import EngineOptions, prepare  # noqa: PLC0415

    prepare(
        made.graph,
        prepared.signature,
        prepared.evaluation,
        bench.order.target,
        bench.work / COMPILE / made.preset,
        max_batch=max(1, bench.order.max_batch_size),
        answer=_answers(runnable(bench, made.graph)),
        options=EngineOptions(sparsity="sparse24" in made.preset),
    )


def engine_of(bench: Bench, made: Candidate) -> Engine | None:
    """The engine that was built from this candidate, judged; None where nothing was to be built.
    Raises Refused where it was, and did not come about."""
    folder = bench.work / COMPILE / made.preset
    if not (folder / "compile.sh").is_file():
        return None
    from seawall.optimize.gpu.engine import read  # noqa: PLC0415

    return read(folder, made.preset.rpartition("+")[2])


def _answers(graph: Graph) -> Callable[[Mapping[str, Array]], Mapping[str, Array]]:
    running = session(graph, 0)
    names = [output.name for output in running.get_outputs()]
    return lambda feed: dict(zip(names, answer(running, dict(feed), names), strict=True))

"""One ONNX graph cut into stages that run on devices of their own.

Where to cut is measured, not guessed: operators alone first, which ranks the places to cut, then whole stages
as they will run, fused by the runtime. An operator that outweighs everything else is divided by its output
channels. What the stages answer together is compared with the whole before it counts.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seawall.optimize import graph as graphs
from seawall.optimize.types import Graph, Refused, Samples, Say

TOLERANCE = 1e-5
"""the most that the stages together may differ from the whole, absolute and relative"""
BATCH = 8


@dataclass(frozen=True, slots=True)
class SplitStage:
    graph: Graph
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    share: float
    """of the compute, measured on stages as they run"""
    milliseconds: float
    weight_bytes: int
    sample: Mapping[str, tuple[int, ...]]
    """dimensions of every input in a real request, without the batch: what a warm-up may use"""


@dataclass(frozen=True, slots=True)
class SplitModel:
    stages: tuple[SplitStage, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    crossing_bytes: int
    """that one sample carries from stage to stage"""
    max_difference: float
    """of the stages' answers from the whole's, on the samples"""
    divided: tuple[str, ...] = ()
    """operators shared out over stages by their output channels"""

    @property
    def shares(self) -> tuple[float, ...]:
        return tuple(stage.share for stage in self.stages)

    @property
    def layout(self) -> dict[str, Any]:
        """As the artefact's manifest tells it; the folders are relative to the artefact."""
        return {
            "kind": "pipeline",
            "stages": [
                {
                    "folder": stage.graph.folder.name,
                    "inputs": list(stage.inputs),
                    "outputs": list(stage.outputs),
                    "sample": {name: list(dims) for name, dims in stage.sample.items()},
                }
                for stage in self.stages
            ],
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
        }


def split(
    graph: Graph,
    parts: int,
    samples: Samples,
    folder: Path,
    *,
    batch: int = BATCH,
    memory_bytes: int | None = None,
    threads: int = 1,
    say: Say | None = None,
) -> SplitModel:
    """`folder`/stage-1 … stage-N, each a model of its own. Raises Refused("CannotSplit").

    `batch` is the size that compute is measured at, `memory_bytes` what the device of one stage has.
    """
    from seawall.optimize.split.plan import Task, planned  # noqa: PLC0415 - it imports this

    model = graphs.load(graph, weights=False)
    if parts < 2:
        raise Refused("CannotSplit", "a pipeline has two stages at least")
    if parts > len(model.graph.node):
        raise Refused(
            "CannotSplit", f"{parts} stages are asked for and the model has {len(model.graph.node)} operators"
        )
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / ".split"
    scratch.mkdir()
    try:
        return planned(Task(graph, parts, samples, scratch, batch, memory_bytes, threads), folder, say)
    finally:
        shutil.rmtree(scratch)

"""What a build works with, and what its stages hand on: the order's shared part, and one preset's result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seawall.optimize.stages import Done, Elsewhere, Stages
from seawall.optimize.types import (
    BuildOrder,
    Compressed,
    Fetched,
    Graph,
    Proof,
    Samples,
    Say,
    Signature,
    Stage,
)

STABLEHLO = "stablehlo"


SERVER_JAX = "SEAWALL_SERVER_JAX"
"""release of jax in the image that serves StableHLO, where the order does not tell it"""


def with_server(order: BuildOrder, environment: Mapping[str, str]) -> BuildOrder:
    """The order with the server's jax, if it is for a program at all: no other artefact depends on it."""
    told = environment.get(SERVER_JAX)
    program = order.target.type == "tpu" or order.format == STABLEHLO
    if not program or not told or order.target.jax_version:
        return order
    return replace(order, target=replace(order.target, jax_version=told))


@dataclass(frozen=True, slots=True)
class Bench:
    """What a build works with, beside its order."""

    order: BuildOrder
    work: Path
    environment: Mapping[str, str]
    say: Say
    elsewhere: Elsewhere | None = None
    one_build: bool = False
    """the work folder lives as long as this build: what its addresses gave once, they gave for all of it"""
    sleep: Callable[[float], None] = time.sleep
    search_seconds: float = 600.0
    made_by: Mapping[str, str] | None = None
    """releases that the results of stages are kept under; None: those of this process"""
    recipe: Path | None = None
    """where a training image of the user's own is handed its work, and leaves it"""

    def stages(self) -> Stages:
        return Stages(self.work / "stages", self.elsewhere, self.made_by)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What all presets of one request share."""

    fetched: Fetched
    original: Graph
    signature: Signature
    evaluation: Samples
    calibration: Samples
    training: Path | None
    digests: Mapping[str, str]
    stages: tuple[Stage, ...] = ()
    """what led here, for every manifest"""
    program: Mapping[str, Any] | None = None
    """layout of a StableHLO program: served as it was exported, and no graph that a preset could work on"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A preset's result that is right; not measured yet."""

    preset: str
    graph: Graph
    compressed: Compressed | None = None
    proof: Proof | None = None
    precheck: Mapping[str, Any] | None = None
    """whether TensorRT's parser takes it, for a GPU only; see gpu/precheck.py"""


def graph_told(graph: Graph, folder: Path) -> dict[str, Any]:
    return {"graph": graph.folder.relative_to(folder).as_posix(), "bytes": graph.bytes}


def graph_of(done: Done) -> Graph:
    return Graph(done.folder / done.detail["graph"])

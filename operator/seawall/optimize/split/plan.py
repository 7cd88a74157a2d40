"""The search for the cuts: estimate, cut, measure the stages, correct the estimate, until they are even."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from seawall.optimize import graph as graphs
from seawall.optimize.sessions import batch_of
from seawall.optimize.split import TOLERANCE, SplitModel, SplitStage, cuts, divide, measure
from seawall.optimize.split.blocks import Blocks, positions
from seawall.optimize.split.chain import Chain, difference
from seawall.optimize.split.extract import Piece, extract
from seawall.optimize.types import Graph, Refused, Samples, Say

ROUNDS = 4
EVEN = 1.04
"""the slowest stage over the mean at which more rounds would tell little"""
UNEVEN = {2: 1.2}
"""the slowest stage over the mean that is a pipeline still: of two, each has 40 % of the compute at least"""
UNEVEN_MANY = 1.5
MOST_AGAIN = 0.02
"""of the compute that may run twice for one cut"""
WORTH = 0.98
"""the slowest stage after a division over that before it, above which it is not worth the joining"""
HALF_TOLERANCE = 2.0**-10
"""of a model that computes in halves: here they are kept in full precision inside a stage, and rounded where
they leave it; a GPU rounds everywhere"""
_HALVES = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)


@dataclass(frozen=True, slots=True)
class Task:
    graph: Graph
    parts: int
    samples: Samples
    scratch: Path
    batch: int
    memory_bytes: int | None
    threads: int

    @property
    def worst(self) -> float:
        """The largest share that a stage may have."""
        return UNEVEN.get(self.parts, UNEVEN_MANY) / self.parts


@dataclass(frozen=True, slots=True)
class Attempt:
    blocks: Blocks
    cuts: tuple[int, ...]
    pieces: tuple[Piece, ...]
    milliseconds: tuple[float, ...]

    @property
    def shares(self) -> tuple[float, ...]:
        return tuple(one / sum(self.milliseconds) for one in self.milliseconds)


def planned(task: Task, folder: Path, say: Say | None) -> SplitModel:
    """Raises Refused."""
    attempts = sorted(_attempts(task, say), key=lambda attempt: max(attempt.milliseconds))
    even = [attempt for attempt in attempts if max(attempt.shares) <= task.worst]
    if not even:
        raise _uneven(task, attempts[0])
    problem: Refused | None = None
    for attempt in even:
        try:
            return _proven(task, attempt, folder)
        except Refused as refused:
            problem = problem or refused
    raise problem or AssertionError


def _attempts(task: Task, say: Say | None) -> list[Attempt]:
    blocks = _blocks(task)
    attempts: list[Attempt] = []
    for number in range(ROUNDS):
        candidate, chosen = _chosen(task, blocks)
        if any(a.cuts == chosen and _names(a.blocks) == _names(candidate) for a in attempts):
            break
        if say:
            say("split", None, f"cut {number + 1}: after {_told(candidate, chosen)}")
        pieces = extract(task.graph, candidate, chosen, task.scratch / f"cut-{number}")
        chain = Chain(pieces, task.threads)
        times = chain.milliseconds(batch_of(graphs.session(task.graph), task.samples, task.batch))
        attempts.append(Attempt(candidate, chosen, tuple(pieces), tuple(times)))
        if max(times) * task.parts <= EVEN * sum(times):
            break
        blocks = _corrected(blocks, attempts[-1])
    return attempts


def _blocks(task: Task) -> Blocks:
    model = graphs.load(task.graph, weights=False)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    batched = graphs.signature_of(model).batched
    values = measure.values(task.graph, model, task.samples, batched, task.scratch)
    costs = measure.node_costs(task.graph, model, task.samples, task.batch, task.scratch)
    kept = measure.kept(task.graph, task.threads, task.scratch)
    return Blocks(model, values, batched, costs, tuple(range(len(costs))), kept)


def _chosen(task: Task, blocks: Blocks) -> tuple[Blocks, tuple[int, ...]]:
    """The cuts: clean ones if they make the stages even, then with heavy operators divided, then any."""
    found: list[tuple[float, Blocks, tuple[int, ...]]] = []
    problem: Refused | None = None
    for clean in (True, False):
        try:
            found.append(_searched(task, blocks, clean))
        except Refused as refused:
            problem = refused
            continue
        if found[-1][0] <= task.worst * sum(blocks.costs):
            break
    if not found:
        raise problem or AssertionError
    _, best, chosen = min(found, key=lambda one: one[0])
    return best, chosen


def _searched(task: Task, blocks: Blocks, clean: bool) -> tuple[float, Blocks, tuple[int, ...]]:
    chosen, slowest = _cut(task, blocks, clean)
    ideal = [number / task.parts for number in range(1, task.parts)]
    while slowest > task.worst * sum(blocks.costs):
        heavy = divide.heaviest(blocks, ideal)
        narrower = divide.divided(task.graph, blocks, *heavy) if heavy else None
        if narrower is None:
            break
        again, time = _cut(task, narrower, clean)
        if time > WORTH * slowest:
            break
        blocks, chosen, slowest = narrower, again, time
    return slowest, blocks, chosen


def _cut(task: Task, blocks: Blocks, clean: bool) -> tuple[tuple[int, ...], float]:
    places = {
        place: blocks.crossing_bytes(crossing) for place, crossing in positions(blocks, MOST_AGAIN, clean)
    }
    chosen = cuts.choose(blocks.costs, places, task.parts, _holds(task, blocks))
    bounds = zip([0, *chosen], [*chosen, len(blocks.nodes)], strict=True)
    return chosen, max(sum(blocks.costs[start:end]) for start, end in bounds)


def _holds(task: Task, blocks: Blocks) -> cuts.Holds:
    """Weights alone, as a device must have room for them at least."""
    limit = task.memory_bytes
    if limit is None:
        return lambda _start, _end: True
    sizes = {tensor.name: graphs.tensor_bytes(tensor) for tensor in blocks.model.graph.initializer}
    return lambda start, end: sum(sizes.get(n, 0) for n in blocks.weights_of(start, end)) <= limit


def _corrected(blocks: Blocks, attempt: Attempt) -> Blocks:
    """Costs scaled so that each measured stage costs what it took."""
    costs: Mapping[int, float] = defaultdict(float)
    tried = attempt.blocks
    bounds = zip([0, *attempt.cuts], [*attempt.cuts, len(tried.nodes)], strict=True)
    for (start, end), took in zip(bounds, attempt.milliseconds, strict=True):
        estimated = sum(tried.costs[start:end])
        for index in range(start, end):
            share = tried.costs[index] / estimated if estimated else 1.0 / (end - start)
            costs[tried.origins[index]] += share * took  # type: ignore[index]
    return replace(blocks, costs=tuple(costs[origin] for origin in blocks.origins))


def _proven(task: Task, attempt: Attempt, folder: Path) -> SplitModel:
    chain = Chain(attempt.pieces)
    gap = difference(task.graph, chain, task.samples, task.batch)
    allowed = HALF_TOLERANCE if _half(attempt.blocks) else TOLERANCE
    if gap > allowed:
        raise Refused(
            "CannotSplit",
            f"the stages together answer {gap:.2g} off the whole model; {allowed:.0e} is allowed",
            {"difference": gap},
        )
    samples = chain.sample(task.samples, attempt.blocks.batched)
    weights = [graphs.weight_bytes(graphs.load(piece.graph, weights=False)) for piece in attempt.pieces]
    stages = [
        SplitStage(
            graph=_moved(piece, folder),
            inputs=piece.inputs,
            outputs=piece.outputs,
            share=share,
            milliseconds=time,
            weight_bytes=weight,
            sample=sample,
        )
        for piece, share, time, sample, weight in zip(
            attempt.pieces, attempt.shares, attempt.milliseconds, samples, weights, strict=True
        )
    ]
    crossing = sum(piece.crossing_bytes for piece in attempt.pieces)
    blocks = attempt.blocks
    return SplitModel(tuple(stages), blocks.inputs, blocks.outputs, crossing, gap, _divided(blocks))


def _moved(piece: Piece, folder: Path) -> Graph:
    target = folder / piece.graph.folder.name
    shutil.copytree(piece.graph.folder, target, copy_function=shutil.move)
    return Graph(target)


def _half(blocks: Blocks) -> bool:
    return any(value.elem_type in _HALVES for value in blocks.values.values())


def _divided(blocks: Blocks) -> tuple[str, ...]:
    names: dict[int, Any] = {}
    for index, origin in enumerate(blocks.origins):
        if blocks.origins.count(origin) > 1:
            names.setdefault(origin, blocks.nodes[index].name.rpartition("/part-")[0])
    return tuple(names.values())


def _names(blocks: Blocks) -> list[tuple[str, int]]:
    """Tells two divisions of one operator apart."""
    return [(name, blocks.values[name].bytes) for name in blocks.maker if name in blocks.values]


def _told(blocks: Blocks, chosen: tuple[int, ...]) -> str:
    return ", ".join(f"{blocks.nodes[i - 1].op_type} {blocks.nodes[i - 1].name}".strip() for i in chosen)


def _uneven(task: Task, attempt: Attempt) -> Refused:
    blocks = attempt.blocks
    heavy = max(range(len(blocks.costs)), key=blocks.costs.__getitem__)
    node, share = blocks.nodes[heavy], blocks.costs[heavy] / (sum(blocks.costs) or 1.0)
    shares = ", ".join(f"{100 * one:.0f} %" for one in attempt.shares)
    return Refused(
        "CannotSplit",
        f"the best cut into {task.parts} stages shares the compute out as {shares}, and none may have more"
        f" than {100 * task.worst:.0f} %; the heaviest operator, {node.op_type}"
        f" {node.name or node.output[0]}, takes {100 * share:.0f} %",
        {"shares": list(attempt.shares)},
    )

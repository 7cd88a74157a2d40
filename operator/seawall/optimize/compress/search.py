"""Candidates compared, and the fewest nodes left in float that bring one above the floor.

A candidate is a whole graph on disk with its proof, so what is chosen here is what is served.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from seawall.optimize import timing
from seawall.optimize.types import Compressed, Context, Graph, LayerError, Proof, Refused

Build = Callable[[frozenset[str], Path], Graph]
"""(names of the nodes left as they are, folder) -> the quantised graph. Raises whatever its library does"""
RATING_SECONDS = 3.0
ALIKE = 1.1
"""Times closer than this are noise on a busy machine; the smaller model wins"""
WORTHWHILE = 0.95
"""Of the original's bytes: a result above is no compression"""
RESTORED = 12
"""Nodes that the search tries to quantise again, once it has found a set that is large enough"""


@dataclass(frozen=True, slots=True)
class Method:
    name: str
    build: Build
    ranked: Callable[[], Sequence[LayerError]]
    """nodes that it quantises, the most harmful first; asked for only when there is a search"""


@dataclass(frozen=True, slots=True)
class Candidate:
    method: Method
    graph: Graph
    proof: Proof
    excluded: tuple[str, ...] = ()


def best(
    tiers: Sequence[Sequence[Method]], original: Graph, context: Context, scratch: Path, folder: Path
) -> Compressed:
    """The cheapest that passes. Later tiers are tried where none of an earlier one does, then the search.

    Where nothing passes, the nearest: its proof tells why it is refused. Raises Refused where no method
    gives a smaller model.
    """
    end = time.monotonic() + context.seconds
    tried: list[str] = []
    all_built: list[Candidate] = []
    for tier in tiers:
        built = [c for method in tier if (c := _attempt(method, original, context, scratch, tried))]
        all_built += built
        if passed := [c for c in built if c.proof.passed]:
            return _written(_cheapest(passed, original, context, tried), tried, folder)
        if time.monotonic() > end:
            break
    if not all_built:
        raise Refused("CompressionFailed", "; ".join(tried) or "the model has nothing to compress")
    for candidate in sorted(all_built, key=_closeness, reverse=True):
        found = mixed(candidate, original, context, scratch, end, tried)
        if found:
            return _written(found, tried, folder)
    nearest = max(all_built, key=_closeness)
    return _written(nearest, tried, folder)


def _attempt(
    method: Method, original: Graph, context: Context, scratch: Path, tried: list[str]
) -> Candidate | None:
    context.say("compress", None, method.name)
    try:
        graph = method.build(frozenset(), scratch / f"{len(list(scratch.iterdir()))}")
        proof = context.measure(graph)
    except Refused as problem:
        tried.append(f"{method.name}: {problem.message}")
        return None
    except Exception as error:  # noqa: BLE001 the quantisers raise whatever their assertions meet
        tried.append(f"{method.name}: {_line(error)}")
        return None
    share = graph.bytes / original.bytes
    if share > WORTHWHILE:
        tried.append(f"{method.name}: the model stays at {share:.0%} of its size")
        return None
    if not proof.passed:
        tried.append(f"{method.name}: {_verdict(proof)}")
    return Candidate(method, graph, proof)


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _verdict(proof: Proof) -> str:
    return f"{proof.metric} {proof.value:.4f}, floor {proof.floor:g}"


def _closeness(candidate: Candidate) -> float:
    return -candidate.proof.value if candidate.proof.metric == "relative-error" else candidate.proof.value


def _cheapest(passed: Sequence[Candidate], original: Graph, context: Context, tried: list[str]) -> Candidate:
    if len(passed) == 1:
        return passed[0]
    times = paces({c.method.name: c.graph for c in passed}, original, context)
    fastest = min(times.values())
    near = [c for c in passed if times[c.method.name] <= fastest * ALIKE]
    chosen = min(near, key=lambda c: c.graph.bytes)
    for name, graph in ((c.method.name, c.graph) for c in passed if c is not chosen):
        lost = f"{times[name]:.2f} of the original's time, {graph.bytes / original.bytes:.2f} of its size"
        won = f"{times[chosen.method.name]:.2f} and {chosen.graph.bytes / original.bytes:.2f}"
        tried.append(f"{name}: {lost}; the chosen one has {won}")
    return chosen


def paces(graphs: dict[str, Graph], original: Graph, context: Context) -> dict[str, float]:
    """p50 over the original's, interleaved in one run, at the batch that a busy service sees."""
    size = max(1, min(8, context.order.max_batch_size)) if context.signature.batched else 1
    profiles = timing.interleaved(
        {timing.ORIGINAL: original, **graphs},
        context.signature,
        context.evaluation,
        [size],
        context.order.threads,
        RATING_SECONDS,
    )
    return {name: profiles[name].batches[0].ratio_to_original or 1.0 for name in graphs}


def mixed(
    candidate: Candidate, original: Graph, context: Context, scratch: Path, end: float, tried: list[str]
) -> Candidate | None:
    """Leaves the worst nodes out, twice as many each time until it passes, then as few as still pass."""
    order = [layer.node for layer in candidate.method.ranked()]
    attempts = 0

    def attempt(excluded: Sequence[str]) -> Candidate | None:
        nonlocal attempts
        attempts += 1
        context.say("compress", None, f"{candidate.method.name}, {len(excluded)} nodes left in float")
        folder = scratch / f"search-{attempts}"
        try:
            graph = candidate.method.build(frozenset(excluded), folder)
            proof = context.measure(graph)
        except Exception as error:  # noqa: BLE001 the quantisers raise whatever their assertions meet
            tried.append(f"{candidate.method.name} without {', '.join(excluded)}: {_line(error)}")
            return None
        if proof.passed and graph.bytes / original.bytes <= WORTHWHILE:
            return Candidate(candidate.method, graph, proof, tuple(sorted(excluded)))
        shutil.rmtree(folder)
        return None

    failed, count, found = 0, 1, None
    while count < len(order) and time.monotonic() < end:
        if found := attempt(order[:count]):
            break
        failed, count = count, count * 2
    if not found:
        tried.append(f"{candidate.method.name}: still below the floor without its {failed} worst nodes")
        return None
    while count - failed > 1 and time.monotonic() < end:
        middle = (failed + count) // 2
        if fewer := attempt(order[:middle]):
            found, count = fewer, middle
        else:
            failed = middle
    return _restored(found, order[: count - 1], attempt, end)


def _restored(
    found: Candidate, order: Sequence[str], attempt: Callable[[Sequence[str]], Candidate | None], end: float
) -> Candidate:
    """The ranking is an estimate: of the nodes left out, each that does no harm is quantised after all."""
    for node in list(reversed(order))[:RESTORED]:
        if time.monotonic() > end:
            break
        found = attempt([name for name in found.excluded if name != node]) or found
    return found


def _written(candidate: Candidate, tried: Sequence[str], folder: Path) -> Compressed:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.move(candidate.graph.folder, folder)
    return Compressed(Graph(folder), candidate.method.name, candidate.excluded, tuple(tried))

"""What crosses a cut: the order of the operators, who needs what of whom, and what may travel at all.

A cut lies between two operators in the file's order. Between stages go tensors with the batch in front, since
that is what Triton batches. Anything else that the far side needs (constants, shapes, scales) is made there
again, from what does travel. Dequantised tensors are made again too: the quantised ones are smaller, and the
runtime keeps the pair with the operator that it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from seawall.optimize.types import Refused

RANDOM = frozenset((
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
))  # fmt: skip
"""made twice, these would be two different things"""


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor between operators, as it was seen."""

    elem_type: int
    dims: tuple[int | str | None, ...]
    """as the runtime infers them: a number, a symbol, or unknown"""
    sample: tuple[int, ...]
    """as seen with one sample, without the batch"""
    bytes: int
    """of one sample"""
    batched: bool


@dataclass(frozen=True, slots=True)
class Crossing:
    tensors: frozenset[str]
    """that travel, made before the cut"""
    inputs: frozenset[str]
    """of the whole model, needed after the cut"""
    again: frozenset[int]
    """operators before the cut that run after it once more"""


def read_by(node: Any) -> set[str]:
    """Names that an operator reads, those that its branches and loops read from outside included."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
            names |= _free(inner)
    return names


def _free(graph: Any) -> set[str]:
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {sparse.values.name for sparse in graph.sparse_initializer}
    needed = {value.name for value in graph.output}
    for node in graph.node:
        needed |= read_by(node)
        own |= set(node.output)
    return needed - own


@dataclass(frozen=True)
class Blocks:
    """A model as a row of operators. The model may lack its weights."""

    model: Any
    values: Mapping[str, Value]
    batched: bool
    costs: tuple[float, ...]
    """of every operator, in any unit"""
    origins: tuple[int, ...]
    """of every operator, the one of the file that it is or is a part of"""
    kept: frozenset[str]
    """results that are still there once the runtime has fused operators"""

    @property
    def nodes(self) -> Any:
        return self.model.graph.node

    @cached_property
    def reads(self) -> list[set[str]]:
        return [read_by(node) for node in self.nodes]

    @cached_property
    def maker(self) -> dict[str, int]:
        return {name: index for index, node in enumerate(self.nodes) for name in node.output if name}

    @cached_property
    def weights(self) -> frozenset[str]:
        graph = self.model.graph
        return frozenset(t.name for t in graph.initializer) | {
            s.values.name for s in graph.sparse_initializer
        }

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        return tuple(v.name for v in self.model.graph.input if v.name not in self.weights)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        return tuple(value.name for value in self.model.graph.output)

    @cached_property
    def constants(self) -> frozenset[int]:
        """Operators that no input reaches."""
        found: set[int] = set()
        for index, reads in enumerate(self.reads):
            if all(name in self.weights or self.maker.get(name, -1) in found for name in reads):
                found.add(index)
        return frozenset(found)

    @cached_property
    def quantisers(self) -> tuple[int, ...]:
        return tuple(i for i, node in enumerate(self.nodes) if node.op_type == "QuantizeLinear")

    def travels(self, name: str) -> bool:
        value, index = self.values.get(name), self.maker[name]
        if value is None or index in self.constants or self.nodes[index].op_type == "DequantizeLinear":
            return False
        return value.batched if self.batched else len(value.sample) > 0

    def crossing(self, start: int, end: int | None = None) -> Crossing:
        """What the operators from `start` to `end` need of those before. Raises Refused where they cannot."""
        tensors: set[str] = set()
        inputs: set[str] = set()
        again: set[int] = set()
        pending = set().union(*self.reads[start:end])
        while pending:
            name = pending.pop()
            index = self.maker.get(name)
            if index is None:
                if name not in self.weights:
                    inputs.add(name)
            elif index < start and index not in again:
                if self.travels(name):
                    tensors.add(name)
                else:
                    again.add(index)
                    pending |= self.reads[index]
        self._require_sound(start, tensors, again)
        return Crossing(frozenset(tensors), frozenset(inputs), frozenset(again))

    def _require_sound(self, start: int, tensors: Iterable[str], again: Iterable[int]) -> None:
        for index in again:
            if self.nodes[index].op_type in RANDOM:
                raise Refused("CannotSplit", f"{self.nodes[index].op_type} would run twice")
        named = set(tensors)
        for index in self.quantisers:
            # its operator, on the other side, would not run quantised any more
            if index >= start and self.reads[index] & named:
                raise Refused("CannotSplit", "the cut would part an operator from its quantisation")

    def crossing_bytes(self, crossing: Crossing) -> int:
        return sum(self.values[name].bytes for name in crossing.tensors)

    def weights_of(self, start: int, end: int) -> set[str]:
        return {name for reads in self.reads[start:end] for name in reads if name in self.weights}


def positions(blocks: Blocks, most_again: float, clean: bool) -> Iterator[tuple[int, Crossing]]:
    """Every place where the graph can be cut, with what crosses there. What runs twice for it may cost
    `most_again` of the whole. A clean cut parts nothing that the runtime would fuse."""
    limit = most_again * sum(blocks.costs)
    for position in range(1, len(blocks.nodes)):
        try:
            crossing = blocks.crossing(position)
        except Refused:
            continue
        if clean and not crossing.tensors <= blocks.kept:
            continue
        if sum(blocks.costs[index] for index in crossing.again) <= limit:
            yield position, crossing

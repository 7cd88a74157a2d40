"""One operator of a graph, and what the modules for all of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from seawall.optimize.types import Array, Refused


@dataclass(frozen=True, slots=True)
class Node:
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    constants: Mapping[str, Array]
    """weights and other fixed tensors of the graph, by name"""
    shapes: Mapping[str, tuple[int | None, ...]]
    early: bool = False
    """before every layer with weights, where no number of channels is going to change"""

    def refused(self, why: str) -> Refused:
        return Refused(
            "PresetUnsupported",
            f"the reference recipe cannot train this model: {self.op} {why}; bring a recipe of your own",
        )

    def constant(self, index: int) -> Array | None:
        """The fixed tensor at that input; None where the input is left out. Raises Refused."""
        if index >= len(self.inputs) or not self.inputs[index]:
            return None
        if self.inputs[index] not in self.constants:
            raise self.refused(f"with a computed input {index + 1}")
        return self.constants[self.inputs[index]]

    def get(self, name: str, default: Any) -> Any:
        return self.attributes.get(name, default)

    def list_of(self, name: str, index: int) -> list[int] | None:
        """Axes and the like, which moved from attributes to inputs as opsets went on."""
        if name in self.attributes:
            return list(self.attributes[name])
        found = self.constant(index)
        return None if found is None else [int(value) for value in np.atleast_1d(found)]


class Apply(nn.Module):  # type: ignore[misc]
    """A function of the inputs without weights."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


class WithConstant(nn.Module):  # type: ignore[misc]
    """Arithmetic with a fixed tensor: a trained one where it has a value per channel."""

    def __init__(self, function: Callable[..., Any], value: Array, first: bool) -> None:
        super().__init__()
        tensor = torch.from_numpy(np.array(value))
        if tensor.is_floating_point() and tensor.numel() > 1:
            self.value = nn.Parameter(tensor)
        else:
            self.register_buffer("value", tensor)
        self.function = function
        self.first = first

    def forward(self, given: Any) -> Any:
        return self.function(self.value, given) if self.first else self.function(given, self.value)


def numbered(rank: int, node: Node, *choices: Any) -> Any:
    """The module for that many spatial dimensions, from 1."""
    if not 1 <= rank <= len(choices):
        raise node.refused(f"over {rank} dimensions")
    return choices[rank - 1]


def pads_of(node: Node, kernel: list[int], dilations: list[int]) -> list[int]:
    """Begin and end of every dimension, as ONNX orders them."""
    auto = node.get("auto_pad", "NOTSET")
    if auto == "VALID":
        return [0] * (2 * len(kernel))
    if auto == "NOTSET":
        return list(node.get("pads", [0] * (2 * len(kernel))))
    if any(stride != 1 for stride in node.get("strides", [])):
        raise node.refused(f"with auto_pad {auto} and strides")
    needed = [d * (k - 1) for k, d in zip(kernel, dilations, strict=True)]
    small, large = [n // 2 for n in needed], [n - n // 2 for n in needed]
    return small + large if auto == "SAME_UPPER" else large + small


def padded(module_of: Callable[[Any], Any], pads: list[int], fill: float) -> Any:
    """PyTorch's own padding is the same on both sides; anything else is a step before."""
    half = len(pads) // 2
    if pads[:half] == pads[half:]:
        return module_of(tuple(pads[:half]))
    order = [pads[side * half + axis] for axis in reversed(range(half)) for side in (0, 1)]
    return nn.Sequential(
        Apply(lambda given: nn.functional.pad(given, order, value=fill)), module_of((0,) * half)
    )

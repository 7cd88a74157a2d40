"""2:4 sparsity that is kept while a network learns: what was zeroed stays zero, the rest makes up for it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from seawall.optimize.train.network import WEIGHTED, Network
from seawall.optimize.types import Refused


def masked(network: Network) -> Callable[[], None]:
    """Zeroes two of every four weights along the input channels, in place; what is returned does so again
    after a step of the optimiser. Raises Refused where no layer has input channels in fours."""
    masks = [(layer.weight, _kept(layer.weight)) for layer in network.modules() if _fits(layer)]
    if not masks:
        raise Refused("PresetUnsupported", "no layer has input channels in fours: 2:4 sparsity has no place")

    def apply() -> None:
        with torch.no_grad():
            for weight, mask in masks:
                weight.mul_(mask)

    apply()
    return apply


def _fits(layer: nn.Module) -> bool:
    """What sparse tensor cores skip over; see gpu/sparse.py, which does the same to a graph."""
    if not isinstance(layer, WEIGHTED) or getattr(layer, "groups", 1) != 1:
        return False
    return bool(layer.weight.shape[1] % 4 == 0)


def _kept(weight: torch.Tensor) -> torch.Tensor:
    moved = weight.detach().movedim(1, -1)
    groups = moved.reshape(-1, 4).abs()
    smallest = groups.argsort(dim=1, stable=True)[:, :2]
    mask = torch.ones_like(groups).scatter_(1, smallest, 0.0)
    return mask.reshape(moved.shape).movedim(-1, 1).contiguous()

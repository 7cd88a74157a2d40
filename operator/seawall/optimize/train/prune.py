"""Fewer channels: whole ones go, with all that depends on them; the result is a smaller dense network."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch_pruning

from seawall.optimize.train.network import Network
from seawall.optimize.types import Refused


def pruned(network: Network, example: tuple[Any, ...], ratio: float) -> None:
    """Removes that share of every layer's channels, those of the smallest weights. In place."""
    with torch.no_grad():
        wanted = network(*example).shape
    try:
        with warnings.catch_warnings():
            # It says that fixed tensors are pruned along their last dimension above 1: as wanted.
            warnings.simplefilter("ignore", UserWarning)
            torch_pruning.pruner.BasePruner(
                network,
                example_inputs=example,
                importance=torch_pruning.importance.GroupMagnitudeImportance(p=1),
                pruning_ratio=ratio,
                ignored_layers=network.deciding(),
            ).step()
        with torch.no_grad():
            found = network(*example).shape
    except (RuntimeError, ValueError, IndexError, KeyError) as error:
        raise Refused(
            "PresetUnsupported",
            f"channels cannot be taken out of this graph consistently: {' '.join(str(error).split())[:300]}",
        ) from error
    if found != wanted:
        raise Refused("PresetUnsupported", "taking out channels would change the model's output")


def narrower(network: Network, example: tuple[Any, ...], ratio: float, seed: int) -> None:
    """Fewer channels and fresh weights: a student of the same kind that knows nothing yet. In place."""
    pruned(network, example, ratio)
    torch.manual_seed(seed)
    for module in network.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()

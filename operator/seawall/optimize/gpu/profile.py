"""The shapes an engine is built for: least, usual and most per input that varies."""

from __future__ import annotations

from collections.abc import Mapping

from seawall.optimize.types import Refused, Samples, Signature, TensorSpec

Shape = tuple[int, ...]
Profiles = Mapping[str, tuple[Shape, Shape, Shape]]
"""Only inputs whose shape varies: TensorRT refuses explicit shapes for the others."""


def profiles(signature: Signature, samples: Samples, max_batch: int, usual: int | None = None) -> Profiles:
    """The batch from 1 to `max_batch`; other open dimensions from 1 to the longest of the samples."""
    if max_batch < 1:
        raise Refused("CompileFailed", f"an engine needs a batch size of at least 1, not {max_batch}")
    found: dict[str, tuple[Shape, Shape, Shape]] = {}
    for spec in signature.inputs:
        if None not in spec.shape:
            continue
        seen = _seen(spec, signature.batched, samples)
        batches = (1, min(usual or max_batch, max_batch), max_batch)
        least, often, most = (_shape(spec, signature.batched, seen, batch) for batch in batches)
        found[spec.name] = (_least(spec, least), often, most)
    return found


def shape_of(spec: TensorSpec, signature: Signature, samples: Samples, batch: int) -> Shape:
    """What the input looks like in a batch of this size, as the samples have it."""
    return _shape(spec, signature.batched, _seen(spec, signature.batched, samples), batch)


def _seen(spec: TensorSpec, batched: bool, samples: Samples) -> Shape:
    """One sample's shape, as many dimensions as the input has."""
    if spec.name not in samples.inputs:
        raise Refused("CompileFailed", f"no sample tells the shape of the input {spec.name}")
    one = tuple(samples.inputs[spec.name].shape[1:])
    seen = (1, *one) if batched else one
    if len(seen) != len(spec.shape):
        raise Refused(
            "InvalidData", f"samples of {spec.name} have {len(seen)} dimensions, the input {len(spec.shape)}"
        )
    return seen


def _shape(spec: TensorSpec, batched: bool, seen: Shape, batch: int) -> Shape:
    fixed = (known if known is not None else got for known, got in zip(spec.shape, seen, strict=True))
    shape = list(fixed)
    if batched and spec.shape[0] is None:
        shape[0] = batch
    return tuple(shape)


def _least(spec: TensorSpec, shape: Shape) -> Shape:
    """Sequences may be as short as one element."""
    return tuple(1 if known is None else size for known, size in zip(spec.shape, shape, strict=True))

"""ONNX graphs run in this process: one way to open them, one way to cut samples into what they take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from seawall.optimize.types import Array, Refused, Samples

BATCH = 16


def first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def takes_batches(session: Any, samples: Samples) -> bool:
    """A sample of a graph without a batch dimension has the input's whole shape."""
    entry = session.get_inputs()[0]
    return int(samples.inputs[entry.name].ndim) == len(entry.shape)


def batches(session: Any, samples: Samples, size: int = BATCH) -> Iterator[dict[str, Array]]:
    if not takes_batches(session, samples):
        for index in range(samples.count):
            yield {name: array[index] for name, array in samples.inputs.items()}
        return
    for start in range(0, samples.count, size):
        yield {name: array[start : start + size] for name, array in samples.inputs.items()}


def batch_of(session: Any, samples: Samples, size: int) -> dict[str, Array]:
    """One batch of this size, samples repeated where there are not enough."""
    if not takes_batches(session, samples):
        return next(batches(session, samples))
    rows = np.arange(size) % samples.count
    return {name: array[rows] for name, array in samples.inputs.items()}


def answer(session: Any, feed: dict[str, Array], names: list[str] | None = None) -> list[Array]:
    try:
        return [np.asarray(value) for value in session.run(names, feed)]
    except Exception as error:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feed.items())
        raise Refused(
            "InvalidData", f"the model does not run on inputs of these shapes ({shapes}): {first_line(error)}"
        ) from error

"""A small model with data on disk, and the order that asks for it to be built."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seawall.optimize import graph as graphs
from seawall.optimize.types import BuildOrder, Criterion, Samples, Target
from support import graphs as made

CPU = Target("cpu", "cpu", precisions=("fp32", "int8", "int4"), idle_watts=10.0, peak_watts=100.0)


def files(folder: Path, count: int = 120) -> tuple[Path, Path]:
    """A convolutional model, and images with the labels that it gives them itself."""
    graph = graphs.save(made.cnn(), folder / "made")
    model = graph.path.rename(folder / "cnn.onnx")
    graphs.save(made.cnn(), folder / "made")
    images = np.random.default_rng(0).standard_normal((count, 1, 8, 8)).astype(np.float32)
    scores = graphs.session(graph).run(None, {"image": images})[0]
    data = folder / "eval.npz"
    np.savez(data, image=images, labels=np.argmax(scores, axis=1))
    return model, data


def order(folder: Path, **changes: Any) -> BuildOrder:
    model, data = files(folder)
    asked = BuildOrder(
        str(model),
        "onnx",
        CPU,
        preset="int8",
        max_batch_size=2,
        criterion=Criterion("cosine", 0.9),
        evaluation=str(data),
    )
    return replace(asked, **changes)


def images(count: int = 40) -> Samples:
    return Samples({"image": np.random.default_rng(1).standard_normal((count, 1, 8, 8)).astype(np.float32)})

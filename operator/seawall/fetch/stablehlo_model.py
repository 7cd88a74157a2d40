"""The model.py that Triton's Python backend runs for a StableHLO artefact.

It is copied beside the artefact and imports nothing of this project: the server's image brings jax and numpy.
Every batch size is compiled before the model is ready, because a compilation in the middle of serving would
hold requests back for seconds; a batch in between is padded to the next size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

ARTEFACT, LAYOUT = "model.stablehlo", "layout.json"


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


class Program:
    """The artefact, compiled; without Triton, so that it can be tried anywhere."""

    def __init__(self, folder: Path) -> None:
        layout = json.loads((folder / LAYOUT).read_text(encoding="utf-8"))
        if version(layout["jax"]) > version(jax.__version__):
            raise RuntimeError(
                f"the artefact was exported with jax {layout['jax']}, this server runs jax {jax.__version__},"
                " which cannot load what a newer one exported"
            )
        self.inputs = layout["inputs"]
        self.outputs = layout["outputs"]
        self.batches = sorted(layout["batches"])
        made = export.deserialize(bytearray((folder / ARTEFACT).read_bytes()))
        self._tree = made.in_tree
        self._compiled = {size: self._compile(made, size) for size in self.batches or [0]}

    def _compile(self, made: Any, size: int) -> Any:
        shapes = [
            jax.ShapeDtypeStruct([size if d is None else d for d in spec["shape"]], np.dtype(spec["dtype"]))
            for spec in self.inputs
        ]
        args, kwargs = jax.tree_util.tree_unflatten(self._tree, shapes)
        return jax.jit(made.call).lower(*args, **kwargs).compile()

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Answers a batch of any size up to the largest one."""
        arrays = [np.asarray(inputs[spec["name"]], dtype=spec["dtype"]) for spec in self.inputs]
        if not self.batches:
            return self._called(0, arrays)
        count = len(arrays[0])
        size = next((size for size in self.batches if size >= count), None)
        if size is None or any(len(array) != count for array in arrays):
            raise ValueError(f"a batch of {count} is none: up to {self.batches[-1]} are served, inputs alike")
        padded = [np.concatenate([a, np.repeat(a[-1:], size - count, axis=0)]) for a in arrays]
        return {name: array[:count] for name, array in self._called(size, padded).items()}

    def _called(self, size: int, arrays: list[Any]) -> dict[str, Any]:
        args, kwargs = jax.tree_util.tree_unflatten(self._tree, arrays)
        made = jax.tree_util.tree_leaves(self._compiled[size](*args, **kwargs))
        return {
            spec["name"]: np.asarray(array).astype(spec["dtype"])
            for spec, array in zip(self.outputs, made, strict=True)
        }


class TritonPythonModel:
    """What the backend looks for."""

    def initialize(self, args: Mapping[str, str]) -> None:
        folder = Path(args["model_repository"], args["model_version"])
        self.program = Program(folder)

    def execute(self, requests: list[Any]) -> list[Any]:
        """All requests of one call in one batch; Triton keeps their sum within max_batch_size."""
        import triton_python_backend_utils as pb  # type: ignore[import-not-found]  # noqa: PLC0415

        given = [
            {s["name"]: pb.get_input_tensor_by_name(r, s["name"]).as_numpy() for s in self.program.inputs}
            for r in requests
        ]
        if not self.program.batches:
            answers = [self.program.run(inputs) for inputs in given]
        else:
            answers = self._together(given)
        return [
            pb.InferenceResponse([pb.Tensor(name, array) for name, array in answer.items()])
            for answer in answers
        ]

    def _together(self, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
        whole = {name: np.concatenate([inputs[name] for inputs in given]) for name in given[0]}
        made = self.program.run(whole)
        ends = np.cumsum([len(next(iter(inputs.values()))) for inputs in given])[:-1]
        pieces = {name: np.split(array, ends) for name, array in made.items()}
        return [{name: parts[i] for name, parts in pieces.items()} for i in range(len(given))]

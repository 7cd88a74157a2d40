"""2:4 sparsity: where it goes, what a recipe has to keep, and what becomes of it in fp16."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from seawall.optimize.gpu.quantize import compress
from seawall.optimize.gpu.sparse import dense, prune_2_4, pruned_along
from seawall.optimize.types import Context, Graph, Recipe, Refused
from support.gpugraphs import cnn, context, weights


def kinds(graph: Graph) -> set[str]:
    model = onnx.load(graph.path)
    return {TensorProto.DataType.Name(init.data_type) for init in model.graph.initializer}


@pytest.mark.parametrize("axis", [0, 1])
def test_two_of_every_four_weights_along_the_inputs_stay(axis: int) -> None:
    dense = weights(1, 8, 8)
    sparse = pruned_along(dense, axis)
    groups = np.moveaxis(sparse, axis, -1).reshape(-1, 4)
    assert (np.count_nonzero(groups, axis=1) == 2).all()
    kept = sparse != 0
    assert (sparse[kept] == dense[kept]).all()
    whole = np.abs(np.moveaxis(dense, axis, -1).reshape(-1, 4))
    assert (np.sort(np.abs(groups), 1)[:, 2:] == np.sort(whole, 1)[:, 2:]).all()


def test_sparsity_goes_where_tensor_cores_can_skip(tmp_path: Path) -> None:
    """The first convolution has one input channel: nothing to skip there."""
    model = onnx.load(cnn(tmp_path / "graph").path)
    assert prune_2_4(model) == ("w2", "w3", "w4")


def test_sparsity_without_training_is_refused_with_what_it_needs(tmp_path: Path) -> None:
    graph = cnn(tmp_path / "graph")
    with pytest.raises(Refused, match="needs fine-tuning") as refused:
        compress("sparse24", graph, context(graph, "sparse24", floor=0.9999), tmp_path / "made")
    assert refused.value.reason == "AccuracyBelowFloor"


def test_sparsity_that_holds_is_kept_in_fp16(tmp_path: Path, with_gpu: str) -> None:
    graph = cnn(tmp_path / "graph")
    found = compress("sparse24", graph, context(graph, "sparse24", floor=0.5), tmp_path / "made")
    assert "FLOAT16" in kinds(found.graph)
    model = onnx.load(found.graph.path)
    weight = next(onnx.numpy_helper.to_array(i) for i in model.graph.initializer if i.name == "w2")
    assert np.count_nonzero(weight) * 2 <= weight.size


RECIPE = """\
import json, os, pathlib, sys
sys.path[:0] = json.loads(sys.argv[1])
import onnx
from seawall.optimize.gpu.sparse import prune_2_4
order = pathlib.Path(os.environ["SEAWALL_RECIPE"])
raw = json.loads(order.read_text())
model = onnx.load(order.parent / raw["model"])
if sys.argv[2] == "sparse":
    prune_2_4(model)
onnx.save(model, order.parent / raw["output"] / "model.onnx")
(order.parent / raw["output"] / "result.json").write_text(json.dumps({"method": "by a recipe"}))
"""


def trained_by(kind: str, graph: Graph, tmp_path: Path, floor: float) -> Context:
    """A recipe that trains nothing, and leaves the model sparse or dense."""
    script = tmp_path / "recipe.py"
    script.write_text(RECIPE)
    given = context(graph, "sparse24", floor=floor)
    data = tmp_path / "train.npz"
    np.savez(data, image=np.random.default_rng(3).uniform(0, 1, (16, 1, 8, 8)).astype(np.float32))
    command = (sys.executable, str(script), json.dumps(sys.path), kind)
    recipe = Recipe(entrypoint=command, data=str(data))
    return replace(given, order=replace(given.order, recipe=recipe), training=data)


def test_sparsity_that_a_recipe_trained_is_put_into_fp16(tmp_path: Path, with_gpu: str) -> None:
    graph = cnn(tmp_path / "graph")
    made = compress("sparse24", graph, trained_by("sparse", graph, tmp_path, 0.5), tmp_path / "made")
    assert made.method == "by a recipe, in fp16"
    model = onnx.load(made.graph.path)
    assert dense(model) == ()
    assert "FLOAT16" in kinds(made.graph)
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["model.onnx"]


def test_a_recipe_that_leaves_the_weights_dense_is_refused(tmp_path: Path) -> None:
    graph = cnn(tmp_path / "graph")
    with pytest.raises(Refused, match="is not 2:4 sparse in w2, w3, w4") as refused:
        compress("sparse24", graph, trained_by("dense", graph, tmp_path, 0.5), tmp_path / "made")
    assert refused.value.reason == "TrainingFailed"

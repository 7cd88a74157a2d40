"""`pruned` and `distilled` from end to end through the reference recipe, in a process of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not here: tools/training-env makes its environment")

from graphs import CLASSES, convolutional, pictures, saved, weights
from graphs import node as graph_node

from seawall.optimize import graph as graphs
from seawall.optimize import prove, train
from seawall.optimize.gpu import sparse
from seawall.optimize.types import (
    BuildOrder,
    Context,
    Criterion,
    Graph,
    Recipe,
    Refused,
    Samples,
    Target,
)

TOP1 = Criterion("top1", 0.9)
EPOCHS = 25


@pytest.fixture(autouse=True)
def this_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(train.PYTHON_VARIABLE, raising=False)


def context_for(graph: Graph, tmp_path: Path, labels: np.ndarray | None = None, **order: object) -> Context:
    data = tmp_path / "train.npz"
    more = {} if labels is None else {"labels": labels}
    np.savez(data, x=pictures(256, seed=1), **more)
    evaluation = Samples({"x": pictures(128, seed=2)})
    recipe = Recipe(data=str(data), epochs=EPOCHS)
    asked = BuildOrder("m", "onnx", Target("cpu", "cpu"), criterion=TOP1, recipe=recipe)
    return Context(
        replace(asked, **order),
        graphs.signature(graph),
        evaluation,
        evaluation,
        lambda candidate: prove.prove(graph, candidate, evaluation, TOP1),
        lambda stage, percent, sentence: None,
        training=data,
    )


PRESETS = {
    "pruned keeps half of the channels": ("pruned", None, 0.40),
    "distilled keeps two fifths of them": ("distilled", None, 0.30),
    "a model that ends in Softmax is trained on what goes into it": ("pruned", "Softmax", 0.40),
}


@pytest.mark.parametrize(("step", "final", "size"), PRESETS.values(), ids=PRESETS.keys())
def test_the_result_is_smaller_and_decides_alike(
    tmp_path: Path, step: str, final: str | None, size: float
) -> None:
    graph = convolutional(tmp_path / "graph", final=final)
    context = context_for(graph, tmp_path)
    made = train.compress(step, graph, context, tmp_path / "out")
    proof = context.measure(made.graph)
    assert proof.passed, proof
    assert made.graph.bytes < size * graph.bytes
    assert graphs.signature(made.graph).inputs == graphs.signature(graph).inputs
    assert "soft labels" in made.method
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.onnx"]


def test_half_of_the_weights_stay_zero_while_the_others_learn(tmp_path: Path) -> None:
    graph = convolutional(tmp_path / "graph")
    context = context_for(graph, tmp_path)
    dense_in_one_shot = graphs.load(graph)
    places = sparse.prune_2_4(dense_in_one_shot)
    at_once = context.measure(graphs.save(dense_in_one_shot, tmp_path / "at-once"))
    made = train.compress("sparse24", graph, context, tmp_path / "out")
    trained = graphs.load(made.graph)
    assert sparse.dense(trained) == ()
    assert len(sparse.prune_2_4(trained)) == len(places) > 0
    assert made.graph.bytes > 0.9 * graph.bytes
    proof = context.measure(made.graph)
    assert proof.passed, proof
    assert proof.value > at_once.value
    assert "2:4 by magnitude" in made.method


def test_a_layer_of_three_inputs_has_no_fours(tmp_path: Path) -> None:
    nodes = [graph_node("Gemm", "x w b", "y", transB=1)]
    given = {"w": weights(CLASSES, 6), "b": weights(CLASSES)}
    graph = saved(tmp_path / "graph", nodes, given, ["batch", 6])
    context = context_for(graph, tmp_path)
    assert context.training is not None
    np.savez(context.training, x=np.random.default_rng(1).standard_normal((64, 6)).astype(np.float32))
    with pytest.raises(Refused, match="no layer has input channels in fours"):
        train.compress("sparse24", graph, context, tmp_path / "out")


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    graph = convolutional(tmp_path / "graph")
    digests = [
        train.compress(
            "pruned", graph, context_for(graph, tmp_path, seed=seed), tmp_path / f"out{index}"
        ).graph.sha256()
        for index, seed in enumerate((4, 4, 5))
    ]
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_labels_that_are_no_classes_of_the_model_are_refused(tmp_path: Path) -> None:
    graph = convolutional(tmp_path / "graph")
    context = context_for(graph, tmp_path, labels=np.full(256, CLASSES))
    with pytest.raises(Refused, match=r"labels from 3 to 3.*classes 0 to 2") as caught:
        train.compress("pruned", graph, context, tmp_path / "out")
    assert caught.value.reason == "InvalidData"


def test_a_model_that_is_no_classifier_is_refused(tmp_path: Path) -> None:
    nodes = [graph_node("Conv", "x w", "y", pads=[1, 1, 1, 1])]
    graph = saved(
        tmp_path / "graph", nodes, {"w": weights(2, 1, 3, 3)}, ["batch", 1, 8, 8], width=["batch", 2, 8, 8]
    )
    with pytest.raises(Refused, match="for classifiers") as caught:
        train.compress("pruned", graph, context_for(graph, tmp_path), tmp_path / "out")
    assert caught.value.reason == "PresetUnsupported"

"""Proofs: the metrics, their intervals against published values, and which side of the floor decides."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from seawall.optimize import graph as graphs
from seawall.optimize import report
from seawall.optimize.intervals import mean_interval, median_interval, paired_drop, students_t, wilson
from seawall.optimize.layers import layer_errors
from seawall.optimize.prove import default_floor, prove, verdict
from seawall.optimize.types import Array, Criterion, Graph, Refused, Samples
from support import graphs as made

CLASSES = 3


def scaled(folder: Path, *, by: Any = 1.0, plus: Any = 0.0, batch: Any = "n") -> Graph:
    """scores = x * by + plus, so that what becomes of the scores is the test's to say."""
    nodes = [
        helper.make_node("Mul", ["x", "by"], ["m"], name="mul"),
        helper.make_node("Add", ["m", "plus"], ["scores"], name="add"),
    ]
    weights = [made.constant("by", by), made.constant("plus", plus)]
    ends = [made.value("x", [batch, CLASSES])], [made.value("scores", [batch, CLASSES])]
    return graphs.save(made.model(nodes, *ends, weights), folder)


def scores(count: int = 100, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, CLASSES)).astype(np.float32)


def test_the_same_graph_proves_itself_by_every_metric(tmp_path: Path) -> None:
    graph = scaled(tmp_path / "a")
    values = {m: prove(graph, graph, Samples({"x": scores()}), Criterion(m)) for m in ("top1", "cosine")}
    assert all(p.value == 1.0 for p in values.values())
    assert prove(graph, graph, Samples({"x": scores()}), Criterion("relative-error")).value == 0.0


def test_each_metric_measures_what_it_says(tmp_path: Path) -> None:
    before, after = scaled(tmp_path / "a"), scaled(tmp_path / "b", by=1.1)
    samples = Samples({"x": scores()})
    assert prove(before, after, samples, Criterion("cosine")).value == pytest.approx(1.0)
    error = prove(before, after, samples, Criterion("relative-error", 0.2))
    assert error.value == pytest.approx(0.1, rel=1e-4)
    assert error.passed
    turned = prove(before, scaled(tmp_path / "c", by=-1.0), samples, Criterion("cosine"))
    assert turned.value == pytest.approx(-1.0)
    shifted = prove(before, scaled(tmp_path / "d", plus=[100.0, 0.0, 0.0]), samples, Criterion("top1"))
    assert shifted.value == np.mean(np.argmax(samples.inputs["x"], axis=1) == 0)


VERDICTS = {
    # samples, of which so many decide otherwise, floor -> passed, sentence
    "all alike and enough": (500, 0, 0.98, True, ""),
    "all alike but too few": (50, 0, 0.98, False, "may be 0.9287 .* about .* such samples would do"),
    "sure to be below": (500, 100, 0.98, False, "top1 is 0.8000 on 500 samples, below the floor 0.98"),
    "measured above, not surely": (500, 8, 0.98, False, "top1 is 0.9840 on 500 samples, but may be 0.968"),
    "a floor of one is equality": (50, 0, 1.0, True, ""),
}


@pytest.mark.parametrize(("count", "wrong", "floor", "passed", "sentence"), VERDICTS.values(), ids=VERDICTS)
def test_the_low_end_of_the_interval_decides(
    tmp_path: Path, count: int, wrong: int, floor: float, passed: bool, sentence: str
) -> None:
    # The first class wins by 1; in the `wrong` samples by so little that the shift gives it to the second.
    x = np.zeros((count, CLASSES), np.float32)
    x[:, 0] = 1.0
    x[:wrong, 0] = 0.1
    after = scaled(tmp_path / "b", plus=[0.0, 0.5, 0.0])
    proof = prove(scaled(tmp_path / "a"), after, Samples({"x": x}), Criterion("top1", floor))
    assert proof.value == (count - wrong) / count
    assert proof.passed is passed
    if not passed:
        assert re.search(sentence, verdict(proof))


def test_labels_give_a_paired_drop(tmp_path: Path) -> None:
    x = np.eye(CLASSES, dtype=np.float32)[np.arange(90) % CLASSES]
    labels = np.arange(90) % CLASSES
    after = scaled(tmp_path / "b", plus=[0.0, 0.0, 5.0])  # everything becomes the third class
    proof = prove(scaled(tmp_path / "a"), after, Samples({"x": x}, labels), Criterion("cosine", 0.0))
    assert proof.drop is not None
    assert (proof.drop.original, round(proof.drop.compressed, 6)) == (100.0, round(100 / 3, 6))
    assert proof.drop.low < proof.drop.drop < proof.drop.high


def test_generated_samples_prove_nothing(tmp_path: Path) -> None:
    graph = scaled(tmp_path / "a")
    assert prove(graph, graph, Samples({"x": scores()}, source="generated"), Criterion()).unproven


def two_outputs(folder: Path, *, second: float, names: tuple[str, str] = ("a", "b")) -> Graph:
    nodes = [
        helper.make_node("Identity", ["x"], [names[0]], name="one"),
        helper.make_node("Add", ["x", "c"], [names[1]], name="two"),
    ]
    ends = [made.value("x", ["n", 3])], [made.value(n, ["n", 3]) for n in names]
    return graphs.save(made.model(nodes, *ends, [made.constant("c", [second, 0.0, 0.0])]), folder)


def test_the_worst_of_several_outputs_counts(tmp_path: Path) -> None:
    before, after = two_outputs(tmp_path / "a", second=0.0), two_outputs(tmp_path / "b", second=50.0)
    proof = prove(before, after, Samples({"x": scores()}), Criterion("cosine"))
    assert proof.value < 0.5


REFUSED = {
    "NaN in the result": (
        lambda p: scaled(p, by=np.nan),
        "AccuracyBelowFloor",
        "scores of the result holds NaN",
    ),
    "Inf in the result": (lambda p: scaled(p, plus=np.inf), "AccuracyBelowFloor", "holds NaN or Inf"),
    "another shape": (
        lambda p: scaled(p, plus=np.zeros((4, 1, 1))),
        "CompressionFailed",
        r"shape \[4, 16, 3\], of the original \[16, 3\]",
    ),
    "an output lost": (
        lambda p: two_outputs(p, second=0.0),
        "CompressionFailed",
        "lost the output scores",
    ),
}


@pytest.mark.parametrize(("after", "reason", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_a_result_that_cannot_be_compared_is_refused(
    tmp_path: Path, after: Any, reason: str, sentence: str
) -> None:
    with pytest.raises(Refused, match=sentence) as caught:
        prove(scaled(tmp_path / "a"), after(tmp_path / "b"), Samples({"x": scores()}), Criterion())
    assert caught.value.reason == reason


def test_an_original_that_answers_nan_is_not_blamed_on_the_result(tmp_path: Path) -> None:
    graph = scaled(tmp_path / "a", by=np.nan)
    with pytest.raises(Refused, match="the original itself answers NaN"):
        prove(graph, graph, Samples({"x": scores()}), Criterion())


def test_a_graph_without_a_batch_is_run_sample_by_sample(tmp_path: Path) -> None:
    graph = scaled(tmp_path / "a", batch=1)
    proof = prove(graph, graph, Samples({"x": scores(20)[:, np.newaxis]}), Criterion("top1", 0.5))
    assert (proof.samples, proof.value) == (20, 1.0)


def test_layer_errors_name_where_the_weights_differ(tmp_path: Path) -> None:
    before = graphs.save(made.cnn(), tmp_path / "a")
    changed = made.cnn()
    for tensor in changed.graph.initializer:
        if tensor.name == "w4":
            tensor.CopyFrom(made.floats("w4", 4, 64, seed=99, scale=0.3))
    after = graphs.save(changed, tmp_path / "b")
    image = np.random.default_rng(0).standard_normal((8, 1, 8, 8)).astype(np.float32)
    errors = layer_errors(before, after, Samples({"image": image}))
    assert (errors[0].node, errors[0].op) == ("gemm2", "Gemm")
    assert errors[0].relative_error > 0.1
    assert all(e.relative_error < 1e-6 for e in errors[1:])
    assert len(errors) == 4


def test_a_proof_survives_the_cache(tmp_path: Path) -> None:
    graph = scaled(tmp_path / "a")
    labels = np.zeros(100, np.int64)
    proof = prove(graph, graph, Samples({"x": scores()}, labels), Criterion())
    assert report.proof_from_json(report.proof_json(proof)) == proof


PUBLISHED = {
    # Brown, Cai, DasGupta, Statistical Science 16 (2001): the score interval of 0 of 20 and of 10 of 20
    "none of twenty": (wilson(0, 20), (0.0, 0.16113)),
    "half of twenty": (wilson(10, 20), (0.29930, 0.70070)),
    # any table of Student's t
    "t of 7": ((students_t(7), students_t(30)), (2.3646, 2.0423)),
    "t of many": ((students_t(120), students_t(10_000)), (1.9799, 1.9602)),
    "mean of 1 to 10": (mean_interval(np.arange(1.0, 11.0)), (3.3342, 7.6658)),
    "median of 0 to 99": (median_interval([float(i) for i in range(100)]), (39.0, 60.0)),
}


@pytest.mark.parametrize(("found", "wanted"), PUBLISHED.values(), ids=PUBLISHED.keys())
def test_intervals_agree_with_published_values(found: Any, wanted: Any) -> None:
    assert found == pytest.approx(wanted, abs=3e-3)


def test_the_paired_interval_covers_as_often_as_it_says() -> None:
    """Two thousand samples of 100 pairs each, drop of 10 points: between 93 and 98 of a hundred hold it."""
    random = np.random.default_rng(3)
    held = 0
    for _ in range(2000):
        outcome = random.choice(4, 100, p=[0.7, 0.15, 0.05, 0.1])  # both, only original, only result, none
        drop = paired_drop(outcome <= 1, (outcome == 0) | (outcome == 2))
        held += drop.low <= 10.0 <= drop.high
    assert 0.93 < held / 2000 < 0.98


def test_default_floors_are_named_for_every_metric() -> None:
    assert {m: default_floor(m) for m in ("top1", "cosine", "relative-error")} == {
        "top1": 0.98,
        "cosine": 0.99,
        "relative-error": 0.1,
    }

"""A graph cut into stages: what may cross, where the cut falls, and that the stages answer as the whole did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto as Type
from onnx import helper, numpy_helper

from seawall.optimize import graph as graphs
from seawall.optimize.split import TOLERANCE, SplitModel, cuts, divide, split
from seawall.optimize.split.blocks import Blocks, Value, positions, read_by
from seawall.optimize.types import Graph, Refused, Samples

pytestmark = pytest.mark.long

WIDTH = 192
RNG = np.random.default_rng(7)


def model(
    nodes: Sequence[Any],
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]],
    **weights: np.ndarray,
) -> Any:
    ends = [
        [helper.make_tensor_value_info(name, Type.FLOAT, dims) for name, dims in side.items()]
        for side in (inputs, outputs)
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    made = helper.make_model(
        helper.make_graph(list(nodes), "graph", *ends, tensors),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.checker.check_model(made)
    return made


def random(*dims: int) -> np.ndarray:
    return RNG.normal(0, 1 / np.sqrt(dims[-1]), dims).astype(np.float32)


def layers(count: int, **weights: np.ndarray) -> Any:
    nodes, name = [], "x"
    for n in range(count):
        nodes += [
            helper.make_node("MatMul", [name, f"w{n}"], [f"m{n}"]),
            helper.make_node("Tanh", [f"m{n}"], [f"t{n}"]),
        ]
        name = f"t{n}"
        weights[f"w{n}"] = random(WIDTH, WIDTH)
    nodes.append(helper.make_node("Identity", [name], ["y"]))
    return model(nodes, {"x": ["n", 16, WIDTH]}, {"y": ["n", 16, WIDTH]}, **weights)


def convolution() -> Any:
    """Nearly all of the work is in one operator."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Conv", ["r", "w", "b"], ["c"], pads=[1, 1, 1, 1], name="wide"),
        helper.make_node("GlobalAveragePool", ["c"], ["g"]),
        helper.make_node("Flatten", ["g"], ["y"]),
    ]
    return model(nodes, {"x": ["n", 32, 24, 24]}, {"y": ["n", 64]}, w=random(64, 32, 3, 3), b=random(64))


def gate() -> Any:
    """A branch reads tensors from outside itself, and shapes are computed on the way."""
    inner = [
        helper.make_graph(
            [helper.make_node("MatMul", ["t0", f"w{n}"], [f"inner{n}"])],
            f"branch{n}",
            [],
            [helper.make_tensor_value_info(f"inner{n}", Type.FLOAT, None)],
        )
        for n in (0, 1)
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["m0"]),
        helper.make_node("Tanh", ["m0"], ["t0"]),
        helper.make_node("Shape", ["m0"], ["shape"]),
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Greater", ["top", "zero"], ["open"]),
        helper.make_node("If", ["open"], ["gated"], then_branch=inner[0], else_branch=inner[1]),
        helper.make_node("Reshape", ["gated", "flat"], ["rows"]),
        helper.make_node("Reshape", ["rows", "shape"], ["y"]),
    ]
    weights = {f"w{n}": random(WIDTH, WIDTH) for n in (0, 1)}
    zero, flat = np.array(0, np.float32), np.array([0, -1])
    return model(nodes, {"x": ["n", 16, WIDTH]}, {"y": ["n", 16, WIDTH]}, zero=zero, flat=flat, **weights)


def saved(made: Any, folder: Path) -> Graph:
    return graphs.save(made, folder)


def samples(made: Any, count: int = 12) -> Samples:
    arrays = {}
    for value in made.graph.input:
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim][1:]
        arrays[value.name] = RNG.normal(size=(count, *dims)).astype(np.float32)
    return Samples(arrays)


def cut(made: Any, parts: int, tmp_path: Path, **options: Any) -> SplitModel:
    return split(saved(made, tmp_path / "whole"), parts, samples(made), tmp_path / "out", **options)


def chained(found: SplitModel, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The stages one after the other, opened as Triton opens them: each file by itself."""
    known = dict(feed)
    for stage in found.stages:
        running = graphs.session(stage.graph)
        answers = running.run(list(stage.outputs), {name: known[name] for name in stage.inputs})
        known |= zip(stage.outputs, answers, strict=True)
    return known


SPLITS = {
    "two stages": (layers(8), 2),
    "three stages": (layers(9), 3),
    "one operator that outweighs all others": (convolution(), 2),
    "a branch that reads from outside": (gate(), 2),
}


@pytest.mark.parametrize("case", SPLITS)
def test_the_stages_answer_as_the_whole_for_any_batch(case: str, tmp_path: Path) -> None:
    made, parts = SPLITS[case]
    found = cut(made, parts, tmp_path)
    assert len(found.stages) == parts
    assert found.max_difference <= TOLERANCE
    assert sum(found.shares) == pytest.approx(1)
    assert max(found.shares) <= (0.6 if parts == 2 else 0.5)
    assert found.crossing_bytes > 0
    for size in (1, 5):
        feed = dict(samples(made, size).inputs)
        (wanted,) = graphs.session(Graph(tmp_path / "whole")).run(None, feed)
        np.testing.assert_allclose(chained(found, feed)["y"], wanted, atol=1e-5, rtol=1e-5)
    for stage in found.stages:
        assert graphs.signature(stage.graph).batched
        onnx.checker.check_model(str(stage.graph.path))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"stage-{n + 1}" for n in range(parts)]


def test_the_layout_tells_what_each_stage_takes_and_gives(tmp_path: Path) -> None:
    found = cut(layers(8), 2, tmp_path)
    told = found.layout
    assert (told["kind"], told["inputs"], told["outputs"]) == ("pipeline", ["x"], ["y"])
    first, second = told["stages"]
    assert first["folder"] == "stage-1"
    assert first["inputs"] == ["x"]
    assert second["inputs"] == first["outputs"]
    assert second["outputs"] == ["y"]
    assert second["sample"] == {first["outputs"][0]: [16, WIDTH]}


def test_an_operator_is_divided_only_where_nothing_else_helps(tmp_path: Path) -> None:
    assert cut(layers(8), 2, tmp_path / "a").divided == ()
    assert cut(convolution(), 2, tmp_path / "b").divided == ("wide",)


def test_weights_go_with_the_stage_that_needs_them_however_they_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "INLINE_BYTES", 100_000)
    made = layers(8)
    whole = saved(made, tmp_path / "whole")
    assert (whole.folder / graphs.WEIGHTS_FILE).is_file()
    found = split(whole, 2, samples(made), tmp_path / "out")
    assert sum(stage.weight_bytes for stage in found.stages) == 8 * 4 * WIDTH * WIDTH
    for stage in found.stages:
        assert (stage.graph.folder / graphs.WEIGHTS_FILE).stat().st_size >= stage.weight_bytes > 0
        graphs.require_inside(graphs.load(stage.graph, weights=False), stage.graph.folder)
    assert found.max_difference <= TOLERANCE


def self_product() -> Any:
    """Heavy, and not divided: both sides are computed."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("MatMul", ["r", "r"], ["m"]),
        helper.make_node("ReduceMean", ["m", "axes"], ["y"], keepdims=0),
    ]
    return model(nodes, {"x": ["n", 256, 256]}, {"y": ["n", 256]}, axes=np.array([1]))


def unfit(output: str) -> Any:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Tanh", ["r"], ["t"]),
        helper.make_node("Identity", ["t"], ["y"]),
    ]
    return model(nodes, {"x": ["n", 4]}, {output: ["n", 4], "y": ["n", 4]})


REFUSED = {
    "one stage": (layers(2), 1, {}, "CannotSplit", "two stages at least"),
    "more stages than operators": (layers(2), 9, {}, "CannotSplit", "has 5 operators"),
    "one operator that cannot be divided": (self_product(), 2, {}, "CannotSplit", "MatMul m, takes 9"),
    "weights beyond the devices": (layers(4), 2, {"memory_bytes": 10_000}, "OutOfMemory", "fit its device"),
    "an output that no operator makes": (unfit("x"), 2, {}, "CannotSplit", "output x is made by no operator"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_split_says_why_and_leaves_nothing(case: str, tmp_path: Path) -> None:
    made, parts, options, reason, why = REFUSED[case]
    with pytest.raises(Refused, match=why) as caught:
        cut(made, parts, tmp_path, **options)
    assert caught.value.reason == reason
    assert not list((tmp_path / "out").glob("*"))


def blocks(made: Any, costs: Sequence[float] | None = None, **unseen: str) -> Blocks:
    """As if measured: every tensor is a batch of four floats, unless said to have another form."""
    forms = {
        "batched": Value(Type.FLOAT, ("n", 4), (4,), 16, True),
        "scalar": Value(Type.FLOAT, (), (), 4, False),
    }
    names = [name for node in made.graph.node for name in node.output]
    values = {name: forms[unseen.get(name, "batched")] for name in names}
    count = len(made.graph.node)
    return Blocks(made, values, True, tuple(costs or [1.0] * count), tuple(range(count)), frozenset(names))


def quantised() -> Any:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("Relu", ["d"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "scale", "zero"], ["rq"]),
        helper.make_node("DequantizeLinear", ["rq", "scale", "zero"], ["y"]),
    ]
    scale, zero = np.array(0.1, np.float32), np.array(3, np.uint8)
    return model(nodes, {"x": ["n", 4]}, {"y": ["n", 4]}, scale=scale, zero=zero)


def test_quantised_tensors_cross_and_no_operator_is_parted_from_its_quantisation() -> None:
    found = {place: set(c.tensors) for place, c in positions(blocks(quantised()), 1.0, clean=True)}
    assert found == {1: {"q"}, 2: {"q"}, 4: {"rq"}}


def test_what_has_no_batch_is_made_again_on_the_far_side() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("ReduceMax", ["r"], ["top"], keepdims=0),
        helper.make_node("Tanh", ["r"], ["t"]),
        helper.make_node("Mul", ["t", "top"], ["y"]),
    ]
    made = blocks(model(nodes, {"x": ["n", 4]}, {"y": ["n", 4]}), top="scalar")
    crossing = made.crossing(3)
    assert crossing.tensors == {"t", "r"}
    assert crossing.again == {1}


def test_a_cut_that_would_roll_the_dice_twice_is_none() -> None:
    nodes = [
        helper.make_node("RandomUniform", [], ["dice"], shape=[1]),
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Mul", ["r", "dice"], ["y"]),
    ]
    made = blocks(model(nodes, {"x": ["n", 4]}, {"y": ["n", 4]}))
    assert list(positions(made, 1.0, clean=True)) == []


def test_a_clean_cut_parts_nothing_that_is_fused() -> None:
    whole = blocks(layers(3))
    fused = Blocks(whole.model, whole.values, True, whole.costs, whole.origins, frozenset({"t0", "t1"}))
    assert [place for place, _ in positions(fused, 0.0, clean=True)] == [2, 4]
    assert [place for place, _ in positions(fused, 0.0, clean=False)] == [1, 2, 3, 4, 5, 6]


def test_a_branch_reads_what_its_inside_reads() -> None:
    node = next(node for node in gate().graph.node if node.op_type == "If")
    assert read_by(node) == {"open", "t0", "w0", "w1"}


CHOICES = {
    "even halves": ([1, 1, 1, 1], {1: 9, 2: 9, 3: 9}, 2, (2,)),
    "fewer bytes where the time is near the best": ([50, 1, 1, 50], {1: 900, 2: 900, 3: 10}, 2, (3,)),
    "time before bytes": ([1, 1, 1, 1], {1: 1, 2: 900, 3: 1}, 2, (2,)),
    "three stages around heavy operators": ([5, 1, 5, 1, 5], {1: 1, 2: 1, 3: 1, 4: 1}, 3, (1, 3)),
    "only where it can be cut": ([1, 1, 1, 9], {1: 1, 2: 1}, 2, (2,)),
}


@pytest.mark.parametrize("case", CHOICES)
def test_where_the_cuts_fall(case: str) -> None:
    costs, crossing, parts, wanted = CHOICES[case]
    assert cuts.choose(costs, crossing, parts, lambda _start, _end: True) == wanted


def test_what_does_not_fit_one_device_is_not_put_there() -> None:
    chosen = cuts.choose([9, 1, 1, 1], {1: 1, 2: 1, 3: 1}, 2, lambda start, end: end - start <= 2)
    assert chosen == (2,)


def test_channels_are_divided_in_whole_groups_and_joined_in_order() -> None:
    whole = blocks(convolution(), [1, 98, 1, 0])
    assert divide.heaviest(whole, [0.5]) == (1, [0.5])
    whole.values["c"] = Value(Type.FLOAT, ("n", 64, 24, 24), (64, 24, 24), 4 * 64 * 24 * 24, True)  # type: ignore[index]
    parts = divide.divided(Graph(Path()), whole, 1, [0.4])
    assert parts is not None
    assert [node.op_type for node in parts.nodes] == [
        "Relu",
        "Conv",
        "Conv",
        "Concat",
        "GlobalAveragePool",
        "Flatten",
    ]
    assert parts.costs[1:4] == pytest.approx((98 * 24 / 64, 98 * 40 / 64, 0))
    assert parts.origins == (0, 1, 1, 1, 2, 3)
    assert parts.values["c/part-1"].sample == (24, 24, 24)
    assert divide.divided(Graph(Path()), whole, 1, [0.01]) is None

"""Compression for CPUs, and every way in which it is known to fail silently.

The models are small and random; "right" means: the answers stay those of the original, measured by the same
proof that decides about real builds.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from seawall.optimize import graph as graphs
from seawall.optimize import prove, timing
from seawall.optimize.compress import clipping, compress, int4_cpu, int8_cpu, masks, rank, search, tidy
from seawall.optimize.types import (
    Array,
    BuildOrder,
    Compressed,
    Context,
    Criterion,
    Graph,
    Proof,
    Refused,
    Samples,
    Target,
)
from support import graphs as made

pytestmark = pytest.mark.long

CPU = Target("cpu", "cpu")
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.random((21, 1, 8, 8), dtype=np.float32)
IDS = RANDOM.integers(1, 200, (20, 12))
IDS[:, 9:] = 0


def context(
    original: Graph,
    inputs: Mapping[str, Array],
    floor: float = 0.99,
    clip: float | None = None,
    target: Target = CPU,
    seconds: float = 60.0,
) -> Context:
    criterion = Criterion("cosine", floor)
    samples = Samples(inputs)

    def measure(candidate: Graph) -> Proof:
        return prove.prove(original, candidate, samples, criterion)

    return Context(
        BuildOrder("m", "onnx", target, criterion=criterion, weight_clipping=clip),
        graphs.signature(original),
        Samples(inputs, source="calibration"),
        samples,
        measure,
        lambda *_: None,
        seconds,
    )


def ops(graph: Graph) -> Counter[str]:
    return Counter(node.op_type for node in graphs.load(graph, weights=False).graph.node)


@pytest.fixture
def cnn(tmp_path: Path) -> Graph:
    return graphs.save(made.cnn(channels=32), tmp_path / "cnn")


@pytest.fixture
def tokens(tmp_path: Path) -> Graph:
    return graphs.save(made.tokens(width=128, vocabulary=500), tmp_path / "tokens")


@pytest.fixture(autouse=True)
def short_rating(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "RATING_SECONDS", 0.05)


RESULTS = [
    ("convolutions in int8", "int8", "cnn", 0.30, 0.99),
    ("transformers in int8", "int8", "tokens", 0.30, 0.99),
    ("convolutions in int4, which only their dense layers feel", "int4", "cnn", 0.50, 0.97),
    ("transformers in int4", "int4", "tokens", 0.22, 0.90),
]


@pytest.mark.parametrize(
    ("step", "name", "size", "floor"), [r[1:] for r in RESULTS], ids=[r[0] for r in RESULTS]
)
def test_the_result_is_smaller_and_right(
    step: str, name: str, size: float, floor: float, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    original: Graph = request.getfixturevalue(name)
    asked = context(original, {"image": IMAGES} if name == "cnn" else {"ids": IDS}, floor)
    result = compress(step, original, asked, tmp_path / "result")
    assert result.graph.folder == tmp_path / "result"
    assert result.graph.bytes <= size * original.bytes
    assert asked.measure(result.graph).passed
    assert graphs.signature(result.graph) == graphs.signature(original)
    assert result.excluded == ()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([name, "result"])


def test_tensors_of_the_original_keep_their_names(cnn: Graph, tmp_path: Path) -> None:
    """By these names the layers of both are compared where a result is refused."""
    result = compress("int8", cnn, context(cnn, {"image": IMAGES}), tmp_path / "result")
    kept = {name for node in graphs.load(result.graph, weights=False).graph.node for name in node.output}
    assert {"p", "r3", "scores"} <= kept


def test_convolutions_never_become_convinteger(cnn: Graph, tmp_path: Path) -> None:
    """Dynamic quantisation of all operators is as small, and 3 to 6 times slower than fp32."""
    quantize_dynamic(cnn.path, tmp_path / "naive.onnx", per_channel=True)
    naive = Counter(node.op_type for node in onnx.load(tmp_path / "naive.onnx").graph.node)
    assert naive["ConvInteger"] == 2
    split = tidy.prepared(cnn, tmp_path / "split", None, split_gemm=True)
    dynamic = int8_cpu._dynamic(split, context(cnn, {"image": IMAGES})).build(
        frozenset(), tmp_path / "dynamic"
    )
    assert ops(dynamic)["ConvInteger"] == 0
    assert ops(dynamic)["MatMulInteger"] == 2
    result = compress("int8", cnn, context(cnn, {"image": IMAGES}), tmp_path / "result")
    assert ops(result.graph)["ConvInteger"] == 0


def test_activations_are_unsigned_and_weights_signed_by_channel(cnn: Graph, tmp_path: Path) -> None:
    """Symmetric signed activations, which TensorRT wants, are up to five times slower on CPUs."""
    method = int8_cpu._static(cnn, context(cnn, {"image": IMAGES}), "MinMax")
    built = graphs.load(method.build(frozenset(), tmp_path / "static"))
    constants = graphs.initialisers(built)
    quantised = [node for node in built.graph.node if node.op_type == "QuantizeLinear"]
    assert quantised
    assert {constants[node.input[2]].data_type for node in quantised} == {TensorProto.UINT8}
    weights = [
        node
        for node in built.graph.node
        if node.op_type == "DequantizeLinear"
        and node.input[0] in constants
        and constants[node.input[0]].data_type == TensorProto.INT8
    ]
    assert len(weights) == 4
    assert all(constants[node.input[1]].dims[0] > 1 for node in weights)


def _static_naive(graph: Graph, path: Path, asked: Context) -> None:
    quantize_static(
        graph.path,
        path,
        int8_cpu.Reader(graph, asked.calibration),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )


def test_mask_constants_do_not_wreck_calibrated_ranges(tokens: Graph, tmp_path: Path) -> None:
    asked = context(tokens, {"ids": IDS})
    named = tidy.prepared(tokens, tmp_path / "named", None, split_gemm=False)
    (tmp_path / "naive").mkdir()
    _static_naive(named, tmp_path / "naive" / "model.onnx", asked)
    assert asked.measure(Graph(tmp_path / "naive")).value < 0.9
    built = int8_cpu._static(named, asked, "MinMax").build(frozenset(), tmp_path / "static")
    assert asked.measure(built).value > 0.99


def test_mask_constants_are_followed_to_the_softmax(tokens: Graph) -> None:
    model = graphs.load(tokens)
    assert masks.touched(model, tokens) == {"mask", "masked", "softmax"}


def test_transformers_are_not_quantised_statically(tokens: Graph, tmp_path: Path) -> None:
    """A third of the size would be left, and MiniLM would fall to cosine 0.94."""
    result = compress("int8", tokens, context(tokens, {"ids": IDS}), tmp_path / "result")
    assert result.method.startswith("int8 dynamic, MatMul+Gemm+Gather, per channel")
    found = ops(result.graph)
    assert found["MatMulInteger"] == 4
    assert found["DynamicQuantizeLinear"] > 0
    tables = [t for t in graphs.load(result.graph).graph.initializer if list(t.dims) == [500, 128]]
    assert len(tables) == 1
    assert tables[0].data_type in (TensorProto.UINT8, TensorProto.INT8)


def test_shapes_that_exporters_leave_behind_do_no_harm(tmp_path: Path) -> None:
    model = made.cnn()
    model.graph.value_info.append(made.value("w3", [64, 256]))  # the weight that a split Gemm turns
    graph = graphs.save(model, tmp_path / "m")
    with pytest.raises(Exception, match="differ"):
        quantize_dynamic(graph.path, tmp_path / "naive.onnx", op_types_to_quantize=["MatMul", "Gemm"])
    result = compress("int8", graph, context(graph, {"image": IMAGES}), tmp_path / "result")
    assert result.graph.bytes < 0.4 * graph.bytes


@pytest.mark.parametrize("ranges", ["MinMax", "Percentile", "Entropy"])
def test_every_calibrator_takes_a_number_of_samples_that_is_no_multiple(
    ranges: str, cnn: Graph, tmp_path: Path
) -> None:
    """The histogram calibrators stack their batches and fail on a shorter last one."""
    asked = context(cnn, {"image": IMAGES})
    built = int8_cpu._static(cnn, asked, ranges).build(frozenset(), tmp_path / "static")
    assert asked.measure(built).value > 0.9
    assert {len(feed["image"]) for feed in iter(int8_cpu.Reader(cnn, asked.calibration).get_next, None)} == {
        8
    }


def test_gemm_is_split_before_int4(cnn: Graph, tmp_path: Path) -> None:
    """Block scales of a transposed Gemm are invalid for ONNX Runtime and TensorRT alike."""
    result = compress("int4", cnn, context(cnn, {"image": IMAGES}, 0.9), tmp_path / "result")
    found = ops(result.graph)
    assert (found["Gemm"], found["MatMulNBits"], found["Conv"]) == (0, 2, 2)


def test_embeddings_are_stored_in_four_bits_too(tokens: Graph, tmp_path: Path) -> None:
    """With the products alone, two thirds of MiniLM would stay as they are."""
    result = compress("int4", tokens, context(tokens, {"ids": IDS}, 0.9), tmp_path / "result")
    assert ops(result.graph)["GatherBlockQuantized"] == 1
    assert ops(result.graph)["Gather"] == 0


def _nothing_to_do() -> Any:
    nodes = [helper.make_node("Add", ["x", "w"], ["y"], name="sum")]
    return made.model(
        nodes, [made.value("x", ["n", 64])], [made.value("y", ["n", 64])], [made.floats("w", 64)]
    )


def _tiny() -> Any:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    return made.model(
        nodes, [made.value("x", ["n", 4])], [made.value("y", ["n", 2])], [made.floats("w", 4, 2)]
    )


NO_GAIN = [
    ("int8 without a matrix", "int8", _nothing_to_do, 64, "nothing to do"),
    ("int4 without a matrix", "int4", _nothing_to_do, 64, "nothing to do"),
    ("int8 of eight weights", "int8", _tiny, 4, "of its size"),
    ("int4 of eight weights", "int4", _tiny, 4, "of its size"),
]


@pytest.mark.parametrize(
    ("step", "build", "width", "words"), [row[1:] for row in NO_GAIN], ids=[row[0] for row in NO_GAIN]
)
def test_a_model_that_does_not_shrink_is_refused(
    step: str, build: Callable[[], Any], width: int, words: str, tmp_path: Path
) -> None:
    graph = graphs.save(build(), tmp_path / "m")
    with pytest.raises(Refused, match=words) as caught:
        compress(step, graph, context(graph, {"x": np.ones((4, width), np.float32)}), tmp_path / "result")
    assert caught.value.reason == "CompressionFailed"
    assert not (tmp_path / "result").exists()


@pytest.mark.parametrize("preset", ["fp16", "bf16", "fp8", "sparse24"])
def test_presets_that_bring_a_cpu_nothing_are_refused(preset: str, cnn: Graph, tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        compress(preset, cnn, context(cnn, {"image": IMAGES}), tmp_path / "result")
    assert caught.value.reason == "PresetUnsupported"
    assert not (tmp_path / "result").exists()


def test_none_leaves_the_model_alone(cnn: Graph, tmp_path: Path) -> None:
    assert compress("none", cnn, context(cnn, {"image": IMAGES}), tmp_path / "result").graph == cnn


ELSEWHERE = [
    (
        "int8 for TensorRT is another graph",
        "int8",
        Target("g", "gpu", "8.9"),
        "seawall.optimize.gpu.quantize",
    ),
    ("fp8 on a GPU", "fp8", Target("g", "gpu", "8.9"), "seawall.optimize.gpu.quantize"),
    ("bf16 on a TPU", "bf16", Target("t", "tpu"), "seawall.optimize.tpu"),
    ("pruning, whatever the target", "pruned", CPU, "seawall.optimize.train"),
    ("distillation on a GPU", "distilled", Target("g", "gpu", "8.9"), "seawall.optimize.train"),
]


@pytest.mark.parametrize(
    ("step", "target", "room"), [r[1:] for r in ELSEWHERE], ids=[r[0] for r in ELSEWHERE]
)
def test_other_targets_and_training_have_their_own_compressor(
    step: str, target: Target, room: str, cnn: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for: list[str] = []

    def answer(step: str, graph: Graph, _context: Context, _folder: Path) -> Compressed:
        asked_for.append(step)
        return Compressed(graph, "by another room")

    other = ModuleType(room)
    other.compress = answer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, room, other)
    result = compress(step, cnn, context(cnn, {"image": IMAGES}, target=target), tmp_path / "result")
    assert (result.method, asked_for) == ("by another room", [step])


def outliers(layers: int = 6, bad: tuple[int, ...] = (2,)) -> Any:
    """Equal MatMuls, the bad ones with a huge weight per column behind an input that is always zero: harmless
    in float, and in eight bits the others share a few steps."""
    weights = []
    for index in range(layers):
        values = np.random.default_rng(index).standard_normal((64, 64)).astype(np.float32) / 8
        values[:, 0] = 0
        if index in bad:
            values[0, :] = 60.0
            values[0, 0] = 0
        weights.append(numpy_helper.from_array(values, f"w{index}"))
    nodes = []
    for index in range(layers):
        nodes.append(
            helper.make_node("MatMul", [f"x{index}", f"w{index}"], [f"m{index}"], name=f"layer{index}")
        )
        nodes.append(helper.make_node("Tanh", [f"m{index}"], [f"x{index + 1}"], name=f"tanh{index}"))
    ends = made.value("x0", ["n", 64]), made.value(f"x{layers}", ["n", 64])
    return made.model(nodes, [ends[0]], [ends[1]], weights)


VECTORS = {"x0": np.random.default_rng(1).standard_normal((32, 64)).astype(np.float32)}


@pytest.mark.parametrize(("step", "floor"), [("int8", 0.999), ("int4", 0.95)])
def test_the_search_leaves_out_the_one_layer_that_hurts(step: str, floor: float, tmp_path: Path) -> None:
    graph = graphs.save(outliers(), tmp_path / "m")
    asked = context(graph, VECTORS, floor)
    result = compress(step, graph, asked, tmp_path / "result")
    assert result.excluded == ("layer2",)
    assert asked.measure(result.graph).passed
    assert f"floor {floor:g}" in result.tried[0]


def test_the_search_leaves_out_no_more_than_it_must(tmp_path: Path) -> None:
    graph = graphs.save(outliers(9, (1, 4, 6)), tmp_path / "m")
    result = compress("int8", graph, context(graph, VECTORS, 0.999), tmp_path / "result")
    assert result.excluded == ("layer1", "layer4", "layer6")


def test_without_time_for_a_search_the_nearest_comes_back_and_fails_the_proof(tmp_path: Path) -> None:
    graph = graphs.save(outliers(), tmp_path / "m")
    asked = context(graph, VECTORS, 0.999, seconds=0)
    result = compress("int8", graph, asked, tmp_path / "result")
    assert not asked.measure(result.graph).passed
    assert result.excluded == ()
    assert "still below the floor" in result.tried[-1]


def test_a_floor_that_no_search_reaches_comes_back_below_it(tmp_path: Path) -> None:
    graph = graphs.save(outliers(), tmp_path / "m")
    asked = context(graph, VECTORS, 0.9999999)
    assert not asked.measure(compress("int8", graph, asked, tmp_path / "result").graph).passed


def test_layers_are_ranked_by_their_own_error(tmp_path: Path) -> None:
    graph = graphs.save(outliers(), tmp_path / "m")
    layers = rank.ranked(
        graph,
        tidy.weighted(graphs.load(graph, weights=False)),
        Samples(VECTORS),
        rank.per_channel,
        activations=True,
    )
    assert layers[0].node == "layer2"
    assert layers[0].relative_error > 5 * layers[1].relative_error
    assert len(layers) == 6


def test_clipping_the_few_large_weights_saves_the_rest(tmp_path: Path) -> None:
    graph = graphs.save(outliers(), tmp_path / "m")
    plain = compress("int8", graph, context(graph, VECTORS, 0.999), tmp_path / "plain")
    clipped = compress("int8", graph, context(graph, VECTORS, 0.99, clip=0.98), tmp_path / "clipped")
    assert plain.excluded == ("layer2",)
    assert clipped.excluded == ()
    assert clipped.method.endswith("weights clipped at quantile 0.98")


CLIPPED = [
    ("nothing at the full quantile", [1.0, -2.0, 3.0], 1.0, [1.0, -2.0, 3.0]),
    ("one large value", [1.0, -1.0, 1.0, 100.0], 0.75, [1.0, -1.0, 1.0, 1.0]),
    ("one large negative value", [1.0, -1.0, 1.0, -100.0], 0.75, [1.0, -1.0, 1.0, -1.0]),
]


@pytest.mark.parametrize(("before", "at", "after"), [r[1:] for r in CLIPPED], ids=[r[0] for r in CLIPPED])
def test_clipping_bounds_absolute_values(before: list[float], at: float, after: list[float]) -> None:
    assert clipping.clipped(np.array(before, np.float32), at).tolist() == after


@pytest.mark.parametrize("quantile", [0.0, 0.5, 1.01, -1.0])
def test_a_quantile_that_is_none_is_refused(quantile: float, cnn: Graph, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="weightClipping"):
        compress("int8", cnn, context(cnn, {"image": IMAGES}, clip=quantile), tmp_path / "result")


def test_of_two_that_pass_the_faster_is_kept_and_the_other_named(
    cnn: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def paces(graphs_by_name: dict[str, Graph], _original: Graph, _context: Context) -> dict[str, float]:
        return {name: 0.4 if "dynamic" in name else 0.9 for name in graphs_by_name}

    monkeypatch.setattr(search, "paces", paces)
    result = compress("int8", cnn, context(cnn, {"image": IMAGES}), tmp_path / "result")
    assert "dynamic" in result.method
    assert "0.90 of the original's time" in result.tried[0]


def test_of_two_as_fast_the_smaller_is_kept(
    cnn: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "paces", lambda some, *_: dict.fromkeys(some, 0.5))
    result = compress("int8", cnn, context(cnn, {"image": IMAGES}), tmp_path / "result")
    assert "static" in result.method


def test_paces_are_ratios_to_the_original(cnn: Graph) -> None:
    asked = context(cnn, {"image": IMAGES})
    assert set(search.paces({"same": cnn}, cnn, asked)) == {"same"}
    assert timing.ORIGINAL not in search.paces({"same": cnn}, cnn, asked)


def test_samples_of_a_model_without_batches_are_fed_one_by_one(tmp_path: Path) -> None:
    graph = graphs.save(made.cnn(batch=1, channels=32), tmp_path / "m")
    single = {"image": IMAGES[:, None]}
    result = compress("int8", graph, context(graph, single), tmp_path / "result")
    assert result.graph.bytes < 0.4 * graph.bytes


def test_large_models_keep_their_weights_outside(
    tokens: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "INLINE_BYTES", 50_000)
    asked = context(tokens, {"ids": IDS}, 0.9)
    for step in ("int8", "int4"):
        result = compress(step, tokens, asked, tmp_path / step)
        assert result.graph.path.stat().st_size < 50_000
        assert asked.measure(result.graph).passed


ROUNDED = [
    ("eight bits, per channel", rank.per_channel, 0.02),
    ("four bits, per block", int4_cpu.rounded, 0.2),
]


@pytest.mark.parametrize(("how", "error"), [r[1:] for r in ROUNDED], ids=[r[0] for r in ROUNDED])
@pytest.mark.parametrize("kind", ["MatMul", "Gather"])
def test_rounding_for_the_ranking_is_what_the_quantiser_does(
    how: rank.Round, error: float, kind: str
) -> None:
    weights = np.random.default_rng(3).standard_normal((70, 50)).astype(np.float32)
    back = how(weights, helper.make_node(kind, ["a", "b"], ["c"]))
    assert back.shape == weights.shape
    assert 0 < np.linalg.norm(back - weights) / np.linalg.norm(weights) < error


def test_four_bits_of_an_uneven_matrix_give_the_rounded_product(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], name="embed"),
        helper.make_node("MatMul", ["e", "w"], ["y"], name="product"),
    ]
    weights = [made.floats("table", 9, 70, seed=1, scale=1.0), made.floats("w", 70, 33, seed=2)]
    model = made.model(
        nodes, [made.value("ids", ["n"], TensorProto.INT64)], [made.value("y", ["n", 33])], weights
    )
    table, w = (numpy_helper.to_array(tensor) for tensor in weights)
    int4_cpu.quantise(model, frozenset())
    graph = graphs.save(model, tmp_path / "m")
    (got,) = graphs.run(graphs.session(graph), {"ids": np.arange(9)})
    expected = int4_cpu.rounded(table, nodes[0]) @ int4_cpu.rounded(w, nodes[1])
    assert np.linalg.norm(got - expected) / np.linalg.norm(expected) < 0.02


def test_weights_that_an_exporter_wrote_as_constants_are_quantised_too(tmp_path: Path) -> None:
    model = outliers(2)
    constants = [helper.make_node("Constant", [], [w.name], value=w) for w in model.graph.initializer]
    nodes = [*constants, *model.graph.node]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    graph = graphs.save(model, tmp_path / "m")
    result = compress("int8", graph, context(graph, VECTORS), tmp_path / "result")
    assert ops(result.graph)["MatMulInteger"] == 2


def test_the_quantisers_keep_quiet_and_leave_no_remarks(
    cnn: Graph, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = compress("int8", cnn, context(cnn, {"image": IMAGES}), tmp_path / "result")
    assert [record.getMessage() for record in caplog.records] == []
    assert [entry.key for entry in graphs.load(result.graph).metadata_props] == []


def test_a_library_that_fails_half_way_ends_in_one_sentence(
    tokens: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise AssertionError("rank must be 2")

    monkeypatch.setattr(int8_cpu, "quantize_dynamic", broken)
    with pytest.raises(Refused, match="AssertionError: rank must be 2") as caught:
        compress("int8", tokens, context(tokens, {"ids": IDS}), tmp_path / "result")
    assert caught.value.reason == "CompressionFailed"

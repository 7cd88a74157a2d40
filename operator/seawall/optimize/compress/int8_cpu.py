"""int8 for ONNX Runtime on CPUs: unsigned activations, signed weights with a scale per channel.

What is fast here is not what TensorRT takes, and the other way round, so this graph is for CPUs alone.
Measured, and therefore not among the methods: dynamic quantisation of Conv (ConvInteger has no fast kernel,
3 to 6 times slower than fp32), symmetric signed activations (up to 5 times slower), static quantisation of
transformers (a third of the size is left, and MiniLM falls to cosine 0.94).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from seawall.optimize import graph as graphs
from seawall.optimize import sessions
from seawall.optimize.compress import masks, rank, search, tidy
from seawall.optimize.types import MODEL_FILE, Array, Compressed, Context, Graph, Refused, Samples

DYNAMIC = ("MatMul", "Gather")
"""Gemm is split into MatMul and Add before"""
CONVOLUTIONS = ("Conv", "ConvTranspose")
STATIC = (
    "Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "Relu", "Clip", "LeakyRelu", "Sigmoid",
    "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Reshape", "Transpose", "Squeeze", "Unsqueeze",
    "Resize", "Pad", "Split",
)  # fmt: skip
CALIBRATION_BATCH = 8
CALIBRATION_SAMPLES = 512
WORTH_DYNAMIC = 0.3
"""Share of the weights outside convolutions from which leaving the convolutions in float may pay"""


def compress(graph: Graph, context: Context, folder: Path) -> Compressed:
    """Raises Refused where there is nothing to quantise or nothing shrinks."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        scratch = Path(place)
        clip = context.order.weight_clipping
        whole = tidy.prepared(graph, scratch / "whole", clip, split_gemm=False)
        split = tidy.prepared(graph, scratch / "split", clip, split_gemm=True)
        tiers = _tiers(whole, split, context)
        if not tiers:
            raise Refused(
                "CompressionFailed",
                "int8 finds nothing to do: the model has no MatMul, Gemm, Gather or Conv with constant"
                " float32 weights",
            )
        result = search.best(tiers, graph, context, _made(scratch / "tries"), _made(scratch / "out") / "best")
        small = tidy.shrunk(result.graph, graph, folder)
    clipped = f", weights clipped at quantile {clip:g}" if clip is not None else ""
    return Compressed(small, result.method + clipped, result.excluded, result.tried)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _tiers(whole: Graph, split: Graph, context: Context) -> list[list[search.Method]]:
    """Which methods suit the operators of the model."""
    model = graphs.load(whole, weights=False)
    weights = tidy.weighted(model)
    if not weights:
        return []
    sizes = graphs.initialisers(model)
    kinds = {node.name: node.op_type for node in model.graph.node}
    total = {name: graphs.tensor_bytes(sizes[weight]) for name, weight in weights.items()}
    outside = sum(size for name, size in total.items() if kinds[name] not in CONVOLUTIONS)
    dynamic = _dynamic(split, context)
    if not any(kinds[name] in CONVOLUTIONS for name in weights):
        return [[dynamic]]
    static = [_static(whole, context, kind) for kind in _RANGES]
    first = [static[0]]
    if outside >= WORTH_DYNAMIC * sum(total.values()):
        first.append(dynamic)
    return [first, static[1:]]


def _dynamic(graph: Graph, context: Context) -> search.Method:
    def build(excluded: frozenset[str], folder: Path) -> Graph:
        folder.mkdir()
        quantize_dynamic(
            graph.path,
            folder / MODEL_FILE,
            op_types_to_quantize=list(DYNAMIC),
            per_channel=True,
            nodes_to_exclude=sorted(excluded),
            use_external_data_format=_large(graph),
            extra_options={"MatMulConstBOnly": True},
        )
        return Graph(folder)

    chosen = partial(_weighted, graph, DYNAMIC)
    return search.Method(
        "int8 dynamic, MatMul+Gemm+Gather, per channel",
        build,
        lambda: rank.ranked(graph, chosen(), context.calibration, rank.per_channel, activations=True),
    )


_RANGES = {
    "MinMax": CalibrationMethod.MinMax,
    "Percentile": CalibrationMethod.Percentile,
    "Entropy": CalibrationMethod.Entropy,
}


def _static(graph: Graph, context: Context, ranges: str) -> search.Method:
    def build(excluded: frozenset[str], folder: Path) -> Graph:
        folder.mkdir()
        model = graphs.load(graph, weights=False)
        quantize_static(
            graph.path,
            folder / MODEL_FILE,
            Reader(graph, context.calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(STATIC),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=sorted(excluded | masks.touched(model, graph)),
            use_external_data_format=_large(graph),
            calibrate_method=_RANGES[ranges],
        )
        return Graph(folder)

    chosen = partial(_weighted, graph, STATIC)
    return search.Method(
        f"int8 static QDQ u8s8, per channel, {ranges} ranges of {context.calibration.source} data",
        build,
        lambda: rank.ranked(graph, chosen(), context.calibration, rank.per_channel, activations=True),
    )


def _weighted(graph: Graph, kinds: tuple[str, ...]) -> dict[str, str]:
    model = graphs.load(graph, weights=False)
    wanted = {node.name for node in model.graph.node if node.op_type in kinds}
    return {name: weight for name, weight in tidy.weighted(model).items() if name in wanted}


def _large(graph: Graph) -> bool:
    return graphs.weight_bytes(graphs.load(graph, weights=False)) > graphs.INLINE_BYTES


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Batches of one size: the histogram calibrators stack them and fail on a shorter last one."""

    def __init__(self, graph: Graph, samples: Samples) -> None:
        size = min(CALIBRATION_BATCH, samples.count)
        count = min(samples.count, CALIBRATION_SAMPLES) // size * size
        some = Samples({name: values[:count] for name, values in samples.inputs.items()})
        self._batches: Iterator[dict[str, Array]] = sessions.batches(_Shapes(graph), some, size)

    def get_next(self) -> dict[str, Array] | None:
        return next(self._batches, None)


class _Shapes:
    """The part of a session that tells a batch from a sample, without the weights of one."""

    def __init__(self, graph: Graph) -> None:
        self._inputs = graphs.signature(graph).inputs

    def get_inputs(self) -> Any:
        return self._inputs

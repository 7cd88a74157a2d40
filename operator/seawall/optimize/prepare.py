"""What all presets of a request share: model and data, fetched, verified, converted, checked, once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seawall.optimize import data
from seawall.optimize.bench import STABLEHLO, Bench, Prepared, graph_of, graph_told
from seawall.optimize.obtain import obtain, obtain_data
from seawall.optimize.stages import Stages
from seawall.optimize.types import Fetched, Graph, Refused, Signature


def prepare(bench: Bench, stages: Stages) -> Prepared:
    """Raises Refused or Passing: then no preset can be built."""
    order = bench.order
    fetched = _fetched(bench, stages)
    program: Mapping[str, Any] | None = None
    if order.format == STABLEHLO:
        original, signature, program = _program(bench, stages, fetched)
    else:
        original, signature = _graph(bench, stages, fetched)
    files = {
        "evaluation": _data(bench, stages, "evaluation", order.evaluation),
        "calibration": _data(bench, stages, "calibration", order.calibration),
        "data": _data(bench, stages, "training", order.recipe.data if order.recipe else None),
    }
    digests = {"model": fetched.sha256} | {name: file[1] for name, file in files.items() if file}
    paths = {name: file[0] for name, file in files.items() if file}
    evaluation, calibration = data.shared_out(paths, signature, order.seed)
    return Prepared(
        fetched,
        original,
        signature,
        evaluation,
        calibration,
        training=paths.get("data"),
        digests=digests,
        stages=tuple(stages.done),
        program=program,
    )


def _fetched(bench: Bench, stages: Stages) -> Fetched:
    order = bench.order

    def work(folder: Path) -> Mapping[str, Any]:
        got = obtain(order, folder, bench.environment, bench.say, bench.sleep)
        return {
            "path": got.path.relative_to(folder).as_posix(),
            "sha256": got.sha256,
            "bytes": got.bytes,
            "format": got.format,
        }

    done = stages.run(
        "fetch", [order.model, order.sha256, order.format], work, fresh=not _lasting(bench, order.sha256)
    )
    detail = done.detail
    return Fetched(done.folder / detail["path"], detail["format"], detail["sha256"], detail["bytes"])


def _lasting(bench: Bench, sha256: str | None) -> bool:
    """An address is no digest: unless that is pinned, what it gave may be another thing tomorrow."""
    return bench.one_build or sha256 is not None


def _data(bench: Bench, stages: Stages, name: str, uri: str | None) -> tuple[Path, str] | None:
    if uri is None:
        return None

    def work(folder: Path) -> Mapping[str, Any]:
        path, digest = obtain_data(uri, folder / "data", bench.environment, bench.say, bench.sleep)
        return {"path": path.relative_to(folder).as_posix(), "sha256": digest}

    done = stages.run(f"fetch-{name}", [uri], work, fresh=not _lasting(bench, None))
    return done.folder / done.detail["path"], str(done.detail["sha256"])


def _graph(bench: Bench, stages: Stages, fetched: Fetched) -> tuple[Graph, Signature]:
    from seawall.optimize.check import check  # noqa: PLC0415
    from seawall.optimize.convert import convert  # noqa: PLC0415

    def work(folder: Path) -> Mapping[str, Any]:
        bench.say("convert", None, f"{fetched.format}, {fetched.bytes} bytes")
        graph = convert(fetched, bench.order, folder / "graph", bench.say)
        return graph_told(graph, folder)

    graph = graph_of(stages.run("convert", [fetched.sha256, fetched.format], work))
    bench.say("check", None, "operators, memory, a first start")
    return graph, check(graph, bench.order.target, bench.order)


def _program(bench: Bench, stages: Stages, fetched: Fetched) -> tuple[Graph, Signature, Mapping[str, Any]]:
    """Run on a CPU at every batch size that it will be served at; its folder holds no ONNX."""
    from seawall.optimize.tpu.stablehlo import accept, signature_of  # noqa: PLC0415

    order = bench.order
    if order.target.type == "gpu":
        raise Refused("FormatUnknown", "StableHLO programs are served on TPUs and CPUs, not on GPUs")
    most, server = max(1, order.max_batch_size), order.target.jax_version

    def work(folder: Path) -> Mapping[str, Any]:
        bench.say("check", None, f"{fetched.format}, {fetched.bytes} bytes, on a CPU")
        program = accept(fetched, None, most, server, folder / "graph")
        return graph_told(Graph(folder / "graph"), folder) | program.layout()

    done = stages.run("verify", [fetched.sha256, most, server], work)
    layout = {name: value for name, value in done.detail.items() if name not in ("graph", "bytes")}
    return graph_of(done), signature_of(layout), layout

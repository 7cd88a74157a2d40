"""The build from a model on disk to an artefact: what comes out, and how everything bad ends."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seawall.api.modelbuild import BuildResult
from seawall.optimize import auto, deliver, pipeline, publish, report
from seawall.optimize.measure import Timing
from seawall.optimize.obtain import obtain
from seawall.optimize.pipeline import Bench, Candidate, Prepared
from seawall.optimize.types import (
    BatchTiming,
    BuildOrder,
    Criterion,
    Passing,
    PresetResult,
    Profile,
    Recipe,
    Refused,
    Stage,
)
from support import builds

pytestmark = pytest.mark.long


def quiet(stage: str, percent: float | None, message: str) -> None:
    """Progress goes nowhere."""


def bench(order: BuildOrder, work: Path, **more: Any) -> Bench:
    return Bench(order, work, os.environ, quiet, sleep=lambda _: None, search_seconds=20.0, **more)


def profile(ms: float, ratio: float | None = None) -> Profile:
    rows = tuple(BatchTiming(n, ms * n, 0.0, ms * n, ms * n, 500, ratio) for n in (1, 2))
    return Profile("cpu", rows, "onnxruntime", max_batch_size=2)


def test_a_preset_becomes_an_artefact_with_a_manifest(tmp_path: Path) -> None:
    made_bench = bench(builds.order(tmp_path), tmp_path / "work")
    stages = made_bench.stages()
    prepared = pipeline.prepare(made_bench, stages)
    assert (prepared.evaluation.count, prepared.calibration.count) == (96, 24)
    after = made_bench.stages()
    made = pipeline.candidate(made_bench, after, prepared, "int8")
    result = pipeline.accepted(made, prepared, after, profile(1.0, 0.5))
    delivery = deliver.Delivery(publish.open_store(str(tmp_path / "store")))
    done = deliver.deliver(made_bench, prepared, made, result, delivery, baseline=profile(2.0))
    assert done.accepted
    assert done.compression_ratio is not None
    assert done.compression_ratio > 2
    assert done.proof is not None
    assert done.proof.drop is not None
    assert done.artifact is not None
    manifest = json.loads((Path(done.artifact.uri) / "manifest.json").read_text())
    names = [stage["name"] for stage in manifest["predicate"]["stages"]]
    assert names == ["fetch", "convert", "fetch-evaluation", "compress-int8", "prove"]
    assert [s["name"] for s in manifest["subject"]] == ["model.onnx"]
    known = deliver.known(made_bench.order, prepared.digests, delivery)
    assert known is not None
    told = BuildResult.model_validate(dict(known.result))
    assert told.energy is not None
    assert (told.energy.joules_per_1k, told.energy.original_joules_per_1k) == ("100", "200")
    assert told.profile is not None
    assert told.profile.batches is not None
    assert told.profile.batches[0].p50_ms == "1"


def test_a_second_run_finds_everything_done(tmp_path: Path) -> None:
    order = builds.order(tmp_path)
    pinned = replace(order, sha256=hashlib.sha256(Path(order.model).read_bytes()).hexdigest())
    for _ in range(2):
        made_bench = bench(pinned, tmp_path / "work")
        stages = made_bench.stages()
        prepared = pipeline.prepare(made_bench, stages)
        pipeline.candidate(made_bench, stages, prepared, "int8")
    cached = {stage.name: stage.cached for stage in stages.done}
    assert cached == {
        "fetch": True,
        "convert": True,
        "fetch-evaluation": False,  # an address whose content may have changed
        "compress-int8": True,
        "prove": True,
    }


REFUSALS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "a preset that cannot help": ({}, "fp16", "PresetUnsupported", "fp16"),
    "a preset of no name": ({}, "int3", "PresetUnsupported", "no preset 'int3'"),
    "a floor out of reach": (
        {"criterion": Criterion("relative-error", 1e-6)},
        "int4",
        "AccuracyBelowFloor",
        "relative-error",
    ),
    "nothing to prove by": ({"evaluation": None}, "int8", "Unproven", "no evaluation data"),
    "training without data": ({}, "pruned", "TrainingDataMissing", "examples"),
}


@pytest.mark.parametrize(("changes", "preset", "reason", "words"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refusal_is_a_row_and_no_end(
    tmp_path: Path, changes: dict[str, Any], preset: str, reason: str, words: str
) -> None:
    made_bench = bench(builds.order(tmp_path, **changes), tmp_path / "work")
    prepared = pipeline.prepare(made_bench, made_bench.stages())
    with pytest.raises(Refused, match=words) as caught:
        pipeline.candidate(made_bench, made_bench.stages(), prepared, preset)
    assert caught.value.reason == reason
    row = pipeline.refused(preset, prepared, made_bench.stages(), caught.value)
    assert not row.accepted
    assert row.reason.startswith(f"{reason}: ")
    shown = report.result_json(row, builds.CPU)
    assert json.loads(json.dumps(shown, allow_nan=False))["artifact"] is None


def test_unproven_results_are_accepted_where_that_is_allowed(tmp_path: Path) -> None:
    order = builds.order(tmp_path, evaluation=None, allow_unproven=True)
    made_bench = bench(order, tmp_path / "work")
    prepared = pipeline.prepare(made_bench, made_bench.stages())
    made = pipeline.candidate(made_bench, made_bench.stages(), prepared, "int8")
    assert made.proof is not None
    assert (made.proof.unproven, made.proof.source) == (True, "generated")


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _text(path: Path) -> None:
    path.write_text("<html>please log in</html>")


def _outside(path: Path) -> None:
    import onnx

    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value="../../etc/passwd")
    path.write_bytes(model.SerializeToString())


BAD_MODELS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "cut short": (_truncated, "InvalidModel", "cut short"),
    "a page of text": (_text, "InvalidModel", "page of text"),
    "weights outside its folder": (_outside, "UnsafeModel", "outside the model's folder"),
    "not there": (Path.unlink, "ModelNotFound", "there is no file"),
}


@pytest.mark.parametrize(("spoil", "reason", "words"), BAD_MODELS.values(), ids=BAD_MODELS.keys())
def test_a_bad_model_is_refused_before_any_preset(
    tmp_path: Path, spoil: Callable[[Path], None], reason: str, words: str
) -> None:
    order = builds.order(tmp_path)
    spoil(Path(order.model))
    made_bench = bench(order, tmp_path / "work")
    with pytest.raises(Refused, match=words) as caught:
        pipeline.prepare(made_bench, made_bench.stages())
    assert caught.value.reason == reason
    assert not list((tmp_path / "work").rglob("model.onnx"))


def _archive(path: Path, entries: dict[str, bytes], link: str | None = None) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in entries.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        if link:
            member = tarfile.TarInfo("model.onnx")
            member.type, member.linkname = tarfile.SYMTYPE, link
            tar.addfile(member)
    return path


ARCHIVES = {
    "leads out": ({"../evil.onnx": b"x"}, None, "InvalidModel", "does not stay inside"),
    "links out": ({}, "/etc/passwd", "InvalidModel", "is a link"),
    "unpacks to more than is allowed": ({"model.onnx": b"\0" * 4_000_000}, None, "NoSpace", "larger than"),
}


@pytest.mark.parametrize(("entries", "link", "reason", "words"), ARCHIVES.values(), ids=ARCHIVES.keys())
def test_an_archive_that_is_a_trap_is_refused(
    tmp_path: Path, entries: dict[str, bytes], link: str | None, reason: str, words: str
) -> None:
    archive = _archive(tmp_path / "model.tar.gz", entries, link)
    limits = {"SEAWALL_FETCH_MAX_BYTES": "1000000"}
    order = BuildOrder(str(archive), "onnx", builds.CPU)
    with pytest.raises(Refused, match=words) as caught:
        obtain(order, tmp_path / "work", limits, quiet, lambda _: None)
    assert caught.value.reason == reason
    assert not (tmp_path / "evil.onnx").exists()


def test_a_wrong_digest_is_refused_before_the_file_is_read(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"not even ONNX")
    with pytest.raises(Refused, match="wanted is 0000") as caught:
        obtain(BuildOrder(str(model), "onnx", builds.CPU, sha256="0" * 64), tmp_path / "w", {}, quiet)
    assert caught.value.reason == "DigestMismatch"


def test_an_unknown_scheme_and_a_store_out_of_reach_end_differently(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        obtain(BuildOrder("ftp://x/m.onnx", "onnx", builds.CPU), tmp_path / "a", {}, quiet)
    assert caught.value.reason == "UnsupportedScheme"
    nobody = "https://127.0.0.1:1/m.onnx"
    with pytest.raises(Passing, match="FetchFailed"):
        obtain(BuildOrder(nobody, "onnx", builds.CPU), tmp_path / "b", {}, quiet, lambda _: None)


def test_progress_of_the_fetch_goes_to_whoever_listens(tmp_path: Path, capsys: Any) -> None:
    heard: list[tuple[str, float | None, str]] = []
    model = tmp_path / "model.onnx"
    model.write_bytes(b"x" * 100)
    obtain(BuildOrder(str(model), "onnx", builds.CPU), tmp_path / "w", {}, lambda *words: heard.append(words))
    assert heard == [("fetch", None, "fetched model.onnx")]
    assert capsys.readouterr().out == ""


def _prepared(tmp_path: Path, **changes: Any) -> tuple[Bench, Prepared]:
    made_bench = bench(builds.order(tmp_path, preset="auto", **changes), tmp_path / "work")
    return made_bench, pipeline.prepare(made_bench, made_bench.stages())


RATIOS = {
    # ratios of int8 and int4, SLO -> best, what is said of each other one
    "the cheapest wins": (0.5, 0.8, None, "int8", {"none": "NotCheapest", "int4": "NotCheapest"}),
    "the original may win": (1.5, 1.2, None, "none", {"int8": "NotCheapest", "int4": "NotCheapest"}),
    "too slow is no candidate": (0.5, 2.0, 2.5, "int8", {"none": "NotCheapest", "int4": "SLOMissed"}),
    "nothing fits": (0.5, 0.8, 0.1, None, {"none": "SLOMissed", "int8": "SLOMissed", "int4": "SLOMissed"}),
}


@pytest.mark.parametrize(("int8", "int4", "slo", "best", "lost"), RATIOS.values(), ids=RATIOS.keys())
def test_auto_keeps_the_cheapest_that_is_right_and_fast_enough(
    tmp_path: Path, int8: float, int4: float, slo: float | None, best: str | None, lost: dict[str, str]
) -> None:
    made_bench, prepared = _prepared(tmp_path, slo_p99_ms=slo)
    ratios = {"none": 1.0, "int8": int8, "int4": int4}

    def meter(_: Prepared, made: Candidate) -> tuple[Profile, Profile]:
        ratio = ratios[made.preset]
        return profile(ratio, None if made.preset == "none" else ratio), profile(1.0)

    outcome = auto.walk(made_bench, prepared, meter)
    assert (outcome.best.preset if outcome.best else None) == best
    assert {row.preset: row.reason.partition(":")[0] for row in outcome.lost} == lost
    assert all(not row.accepted for row in outcome.lost)
    if best is None:
        assert "int8: SLOMissed" in auto.nothing_fits(outcome).message


def test_auto_does_not_time_what_is_not_right(tmp_path: Path) -> None:
    made_bench, prepared = _prepared(tmp_path, criterion=Criterion("relative-error", 1e-6))
    timed: list[str] = []

    def meter(_: Prepared, made: Candidate) -> tuple[Profile, Profile]:
        timed.append(made.preset)
        return profile(1.0), profile(1.0)

    outcome = auto.walk(made_bench, prepared, meter)
    assert timed == ["none"]
    assert outcome.best is not None
    assert {row.preset: row.reason.partition(":")[0] for row in outcome.lost} == {
        "int8": "AccuracyBelowFloor",
        "int4": "AccuracyBelowFloor",
    }


def test_timing_in_this_process_gives_ratios(tmp_path: Path) -> None:
    made_bench = bench(builds.order(tmp_path), tmp_path / "work")
    prepared = pipeline.prepare(made_bench, made_bench.stages())
    made = pipeline.candidate(made_bench, made_bench.stages(), prepared, "int8")
    pair = Timing(made_bench, 0.2)(prepared, made)
    assert pair is not None
    assert [b.size for b in pair[0].batches] == [1, 2]
    assert all(b.ratio_to_original for b in pair[0].batches)
    gpu = replace(made_bench, order=replace(made_bench.order, target=replace(builds.CPU, type="gpu")))
    assert Timing(gpu, 0.2)(prepared, made) is None


def test_a_recipe_without_training_data_leaves_auto_its_own_ladder(tmp_path: Path) -> None:
    made_bench, prepared = _prepared(tmp_path, recipe=Recipe(epochs=1))
    outcome = auto.walk(made_bench, prepared, lambda *_: (profile(1.0), profile(1.0)))
    assert {row.preset for row in outcome.lost} | {outcome.best.preset if outcome.best else ""} == {
        "none",
        "int8",
        "int4",
    }


def test_results_are_json_without_infinity(tmp_path: Path) -> None:
    row = PresetResult("int8", False, "X: y", 10, stages=(Stage("fetch", 0.1, {"bytes": 3}, True),))
    shown = json.dumps(report.result_json(row, builds.CPU), allow_nan=False)
    assert json.loads(shown)["stages"] == [{"name": "fetch", "seconds": 0.1, "cached": True, "bytes": 3}]

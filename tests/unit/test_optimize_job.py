"""The phases of a ModelBuild's Job, each as its container runs it, with the last words that the operator reads."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seawall.decide.build_result import parse_refusal, parse_result
from seawall.optimize import job, versions
from seawall.optimize.progress import Progress
from seawall.optimize.types import BuildOrder, Criterion, Passing, Recipe, Target
from support import builds

pytestmark = pytest.mark.long


class Pod:
    """The folders and the environment that the containers of one pod share."""

    def __init__(self, folder: Path, order: BuildOrder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir(parents=True)
        self.environment = {
            "SEAWALL_BUILD": order.to_json(),
            "SEAWALL_ARTIFACTS": "pvc://builds/models",
            "SEAWALL_BUILD_ARTIFACTS_MOUNT": str(folder.parent / "volume"),
            "SEAWALL_BUILD_PORT": "0",
            "SEAWALL_TERMINATION_LOG": str(folder / "last-words"),
            "SEAWALL_TRITON": "",
        }
        monkeypatch.setattr(job, "PROFILE_SECONDS", 0.2)

    def run(self, *phases: str) -> int:
        return job.main(phases, self.environment, self.work)

    @property
    def last_words(self) -> str:
        return (self.folder / "last-words").read_text()


def test_three_phases_make_what_the_operator_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = builds.order(tmp_path)
    pod = Pod(tmp_path / "pod", order, monkeypatch)
    assert pod.run("prepare", "compress") == 0
    Path(order.model).unlink()  # the last container has no credentials to fetch anything
    assert pod.run("finish") == 0
    told = parse_result(pod.last_words, "pvc://builds/models")
    assert told.result["preset"] == "int8"
    assert told.result["accuracy"]["source"] == "evaluation"
    assert float(told.result["compressionRatio"]) > 2
    assert told.artifact["format"] == "onnx"
    assert told.versions["onnxruntime"]
    assert (pod.work / "repository").is_dir()


def test_a_phase_in_another_image_makes_nothing_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training image may have other releases than the one that finishes."""
    pod = Pod(tmp_path / "pod", builds.order(tmp_path), monkeypatch)
    assert pod.run("prepare", "compress") == 0
    before = {entry.name for entry in pod.work.glob("stages/*")}
    monkeypatch.setattr(versions, "here", lambda: {"onnx": "99.0.0"})
    assert pod.run("finish") == 0
    assert {entry.name for entry in pod.work.glob("stages/*")} == before


def test_an_artefact_that_is_there_spares_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = builds.order(tmp_path)
    first = Pod(tmp_path / "pod", order, monkeypatch)
    assert first.run("prepare", "compress", "finish") == 0
    second = Pod(tmp_path / "second", order, monkeypatch)
    assert second.run("prepare", "compress") == 0
    assert not list(second.work.glob("stages/compress-*"))
    assert second.run("finish") == 0
    assert json.loads(second.last_words) == json.loads(first.last_words)


def test_a_build_that_was_killed_finds_its_costly_stages_in_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = builds.order(tmp_path)
    assert Pod(tmp_path / "killed", order, monkeypatch).run("prepare", "compress") == 0

    def never(*_: Any) -> Any:
        raise AssertionError("this was done before")

    monkeypatch.setattr("seawall.optimize.compress.compress", never)
    assert Pod(tmp_path / "second", order, monkeypatch).run("prepare", "compress") == 0


def test_auto_tells_why_each_other_preset_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = builds.order(tmp_path, preset="auto", criterion=Criterion("relative-error", 1e-6))
    pod = Pod(tmp_path / "pod", order, monkeypatch)
    assert pod.run("prepare", "compress") == 0
    assert set(json.loads((pod.work / job.REFUSALS).read_text())) == {"int8", "int4"}
    assert pod.run("finish") == 0
    told = parse_result(pod.last_words, "pvc://builds/models")
    assert told.result["preset"] == "none"
    assert {r["preset"] for r in told.result["rejectedPresets"]} == {"int8", "int4"}


REFUSALS: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "a preset that cannot help": ({"preset": "fp16"}, {}, "PresetUnsupported"),
    "a model that is not there": ({"model": "/nowhere/model.onnx"}, {}, "ModelNotFound"),
    "a floor out of reach": ({"criterion": Criterion("relative-error", 1e-6)}, {}, "AccuracyBelowFloor"),
    "no store": ({}, {"SEAWALL_ARTIFACTS": ""}, "ArtifactStoreMissing"),
}


@pytest.mark.parametrize(("changes", "environment", "reason"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refusal_ends_with_one_and_says_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    environment: dict[str, str],
    reason: str,
) -> None:
    pod = Pod(tmp_path / "pod", replace(builds.order(tmp_path), **changes), monkeypatch)
    pod.environment |= environment
    assert pod.run("prepare", "compress") == 1
    refusal = parse_refusal(pod.last_words)
    assert refusal is not None
    assert refusal[0] == reason
    assert not list((tmp_path / "volume").rglob("manifest.json"))


def test_what_may_pass_on_another_try_ends_with_seventy_five(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = replace(builds.order(tmp_path), model="https://127.0.0.1:1/model.onnx")
    monkeypatch.setattr("seawall.fetch.download.ATTEMPTS", 1)
    pod = Pod(tmp_path / "pod", order, monkeypatch)
    assert pod.run("prepare") == 75
    assert json.loads(pod.last_words)["reason"] == "FetchFailed"


def test_long_sentences_are_cut_until_kubernetes_keeps_the_words() -> None:
    batch = {"size": 1, "meanMs": "1.23456", "stdMs": "0.1", "p50Ms": "1.2", "p99Ms": "2.1", "samples": 500}
    told = {
        "result": {
            "preset": "int8",
            "rejectedPresets": [{"preset": f"p{i}", "reason": f"NotCheapest: {'x' * 900}"} for i in range(9)],
            "profile": {"batches": [batch | {"size": 2**i} for i in range(17)]},
        }
    }
    words = job.cut(told)
    assert len(words) <= job.MESSAGE_BYTES
    kept = json.loads(words)["result"]
    assert len(kept["rejectedPresets"]) == 9
    assert kept["rejectedPresets"][0]["reason"].startswith("NotCheapest: ")
    assert (kept["profile"]["batches"][0]["size"], kept["profile"]["batches"][-1]["size"]) == (1, 2**16)


def test_progress_is_served_while_the_build_runs(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    with progress.served(0, "127.0.0.1") as port:
        progress.say("compress", 41.6, "int8")
        progress.say("compress", 41.6, "int8")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/progress", timeout=5) as answer:
            assert json.load(answer) == {"stage": "compress", "percent": 42, "message": "int8"}
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/secrets", timeout=5)
    assert capsys.readouterr().out.count("\n") == 1


def test_a_training_image_is_handed_its_work_and_judged_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image is the user's: here it gives back the model that it was handed."""
    order = builds.order(tmp_path)
    training = tmp_path / "training.npz"
    images = np.random.default_rng(9).standard_normal((40, 1, 8, 8)).astype(np.float32)
    np.savez(training, image=images, labels=np.zeros(40, np.int64))
    recipe = Recipe(image="registry.example/train:1", data=str(training), epochs=3)
    pod = Pod(tmp_path / "pod", replace(order, preset="pruned+int8", recipe=recipe), monkeypatch)
    assert pod.run("prepare") == 0
    folder = pod.work / "recipe"
    handed = json.loads((folder / "recipe.json").read_text())
    assert (handed["step"], handed["epochs"]) == ("pruned", 3)
    assert pod.run("compress") == 1
    assert parse_refusal(pod.last_words) is not None
    shutil.copy(folder / handed["model"], folder / handed["output"] / "model.onnx")
    (folder / handed["output"] / "result.json").write_text('{"interface": 1, "method": "left as it was"}')
    assert pod.run("compress", "finish") == 0
    assert parse_result(pod.last_words, "pvc://builds/models").result["preset"] == "pruned+int8"


PASSING = {
    "the fetcher's words": ("FetchFailed: https://x/m: timed out", ("FetchFailed", "https://x/m: timed out")),
    "a store's words": (
        "the store s3://b does not answer as it should: 503",
        ("PublishFailed", "the store s3://b does not answer as it should: 503"),
    ),
}


@pytest.mark.parametrize(("said", "words"), PASSING.values(), ids=PASSING.keys())
def test_what_may_pass_has_a_reason_too(said: str, words: tuple[str, str]) -> None:
    assert job._passing(Passing(said)) == dict(zip(("reason", "message"), words, strict=True))


def test_a_pipeline_is_published_with_its_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = builds.order(tmp_path, preset="none", pipeline=2)
    pod = Pod(tmp_path / "pod", order, monkeypatch)
    assert pod.run("prepare", "compress", "finish") == 0, pod.last_words
    told = parse_result(pod.last_words, "pvc://builds/models")
    assert told.artifact["format"] == "pipeline"
    folder = next((tmp_path / "volume").rglob("manifest.json")).parent
    predicate = json.loads((folder / "manifest.json").read_text())["predicate"]
    assert [stage["folder"] for stage in predicate["layout"]["stages"]] == ["stage-1", "stage-2"]
    assert all((folder / name / "model.onnx").is_file() for name in ("stage-1", "stage-2"))
    cut = next(stage for stage in predicate["stages"] if stage["name"] == "split")
    assert sum(cut["detail"]["shares"]) == pytest.approx(1.0)
    assert cut["detail"]["maxDifference"] <= 1e-5


def test_an_image_is_handed_the_step_that_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sparse24 on a GPU trains where there is data; what comes back must be 2:4."""
    training = tmp_path / "training.npz"
    images = np.random.default_rng(9).standard_normal((40, 1, 8, 8)).astype(np.float32)
    np.savez(training, image=images, labels=np.zeros(40, np.int64))
    recipe = Recipe(image="registry.example/train:1", data=str(training))
    gpu = Target("l4", "gpu", "8.9")
    pod = Pod(
        tmp_path / "pod", builds.order(tmp_path, preset="sparse24", target=gpu, recipe=recipe), monkeypatch
    )
    assert pod.run("prepare") == 0
    folder = pod.work / "recipe"
    handed = json.loads((folder / "recipe.json").read_text())
    assert handed["step"] == "sparse24"
    shutil.copy(folder / handed["model"], folder / handed["output"] / "model.onnx")
    assert pod.run("compress") == 1
    refusal = parse_refusal(pod.last_words)
    assert refusal is not None
    assert refusal[0] == "TrainingFailed"
    assert "is not 2:4 sparse in" in refusal[1]

"""`seawall optimize` as people and machines use it: the table, the JSON, the exit codes, bad usage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seawall.__main__ import parser
from seawall.cli import optimize
from seawall.cli.optimize_table import human, shown_sizes
from support import builds

pytestmark = pytest.mark.long

CLASSES = """\
apiVersion: serving.seawall.dev/v1alpha1
kind: AcceleratorClass
metadata: {name: edge}
spec: {type: cpu, precisions: [fp32, int8]}
"""


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimize, "SECONDS", 0.2)


def run(folder: Path, *more: str, preset: str = "int8", target: str = "cpu") -> int:
    model, data = builds.files(folder)
    given = ["--model", str(model), "--preset", preset, "--target", target, "--out", str(folder / "out")]
    if "--evaluation" not in more:
        given += ["--evaluation", str(data)]
    arguments = [*given, "--floor", "0.9", "--max-batch", "2", *(m for m in more if m)]
    args = parser(("optimize",)).parse_args(["optimize", *arguments])
    return int(args.func(args))


def test_json_is_what_the_contract_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--json", preset="none,int8,fp16") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown.keys() == {"model", "target", "results"}
    assert shown["target"] == "cpu"
    rows = {row["preset"]: row for row in shown["results"]}
    assert [(name, row["accepted"]) for name, row in rows.items()] == [
        ("none", True),
        ("int8", True),
        ("fp16", False),
    ]
    int8 = rows["int8"]
    assert int8["compressionRatio"] == pytest.approx(
        int8["originalBytes"] / int8["compressedBytes"], abs=1e-3
    )
    assert {"metric", "value", "low", "samples"} <= int8["accuracy"].keys()
    assert [point["batch"] for point in int8["latency"]] == [1, 2]
    assert {"batch", "p50Ms", "p99Ms", "ratioToOriginal"} == int8["latency"][0].keys()
    assert (Path(int8["artifact"]["uri"]) / "model.onnx").is_file()
    assert rows["fp16"]["reason"].startswith("PresetUnsupported: ")
    assert int8["profile"]["maxBatchSize"] == 2


def test_the_table_is_tidy_when_piped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, preset="all") == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[1].split()[:4] == ["PRESET", "SIZE", "RATIO", "COSINE"]
    assert [line.split()[0] for line in lines[2:9]] == list(optimize.SINGLE)
    column = lines[1].index("VERDICT")
    assert {line[column:].strip() for line in lines[2:9]} == {"accepted", "PresetUnsupported"}
    assert "\r" not in shown.out
    assert shown.err == ""
    assert any(line.startswith("int8: accuracy 100.00 % -> ") for line in lines)
    assert any(line.startswith("fp8: PresetUnsupported: ") for line in lines)


def test_auto_shows_the_ladder_and_accepts_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--json", preset="auto") == 0
    rows = json.loads(capsys.readouterr().out)["results"]
    assert sorted(row["preset"] for row in rows) == ["int4", "int8", "none"]
    assert [row["accepted"] for row in rows] == [True, False, False]
    assert [bool(row["artifact"]) for row in rows] == [True, False, False]


def test_all_refused_is_exit_code_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, preset="fp16,fp8") == 1
    assert "fp16: PresetUnsupported" in capsys.readouterr().out


def test_classes_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classes = tmp_path / "classes.yaml"
    classes.write_text(CLASSES)
    assert run(tmp_path, "--classes", str(classes), "--json", preset="int4", target="edge") == 1
    row = json.loads(capsys.readouterr().out)["results"][0]
    assert "serves fp32, int8 only" in row["reason"]


UNUSABLE = {
    "an unknown class": (["--target", "abacus"], "there is no AcceleratorClass abacus; known are cpu, "),
    "an unknown preset": (["--preset", "int3"], "there is no preset 'int3'"),
    "a model that is not there": (
        ["--model", "nowhere.onnx"],
        "ModelNotFound: there is no file nowhere.onnx",
    ),
    "a name without a format": (["--model", "model.bin"], "does not tell its format; name it with --format"),
    "a wrong digest": (["--sha256", "0" * 64], "DigestMismatch: "),
    "no such evaluation data": (["--evaluation", "nowhere.npz"], "there is no file nowhere.npz"),
    "an address that is no Triton's": (["--triton", "localhost:8001"], "is no address of a Triton"),
    "a file without classes": (["--classes", "EMPTY"], "holds no AcceleratorClass"),
}


@pytest.mark.parametrize(("more", "sentence"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_unusable_input_is_exit_code_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], sentence: str
) -> None:
    (tmp_path / "empty.yaml").write_text("")
    given = [str(tmp_path / "empty.yaml") if word == "EMPTY" else word for word in more]
    assert run(tmp_path, *given) == 2
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert shown.err.startswith("seawall optimize: ")
    assert shown.err.count("\n") == 1


USAGE = {
    "a floor above one": ["--floor", "2"],
    "a batch of less than nothing": ["--max-batch", "-1"],
    "an SLO without a unit": ["--slo", "20"],
    "half a digest": ["--sha256", "abc"],
    "a metric of no name": ["--metric", "luck"],
    "no threads": ["--threads", "0"],
}


@pytest.mark.parametrize("more", USAGE.values(), ids=USAGE.keys())
def test_bad_usage_is_exit_code_two(tmp_path: Path, more: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(tmp_path, *more)
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("sizes", "shown"),
    [((1,), (1,)), ((1, 2, 4, 8, 16, 32), (1, 8, 32)), ((1, 2, 4, 8), (1, 4, 8)), ((1, 2, 4), (1, 2, 4))],
)
def test_which_batch_sizes_have_a_column(sizes: Any, shown: Any) -> None:
    assert shown_sizes(sizes) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(512, "512 B"), (2048, "2.0 KiB"), (90886921, "86.7 MiB"), (3 * 2**30, "3.0 GiB")]
)
def test_sizes_are_readable(count: int, shown: str) -> None:
    assert human(count) == shown

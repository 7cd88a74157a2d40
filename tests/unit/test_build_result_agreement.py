"""What a build tells in its last words is what the operator reads from them: two rooms, one shape."""

from __future__ import annotations

import json

from seawall.api.presets import PIPELINE_VERSION
from seawall.decide.build_plan import REFUSED
from seawall.decide.build_result import parse_refusal, parse_result
from seawall.optimize import job, types
from seawall.optimize.report import build_json

TARGET = types.Target("nvidia-l4", "gpu", idle_watts=20.0, peak_watts=72.0, price_per_hour=0.71)


def profile(milliseconds: float) -> types.Profile:
    batches = tuple(
        types.BatchTiming(size, milliseconds * size, 0.01, milliseconds * size, 2 * milliseconds * size, 500)
        for size in (1, 2, 4, 8)
    )
    return types.Profile("nvidia-l4", batches, "triton", cold_start_seconds=1.25)


def told() -> dict[str, object]:
    drop = types.AccuracyDrop(0.98, 0.975, 0.5, 0.1, 0.9)
    proof = types.Proof("cosine", 0.9991, 0.998, 0.9995, 0.99, 1000, "evaluation", True, drop=drop)
    best = types.PresetResult("int8", True, "", 90_000_000, 23_000_000, proof=proof, profile=profile(1.5),
                              artifact=types.Artifact("s3://a/b/k/", "d" * 64, "onnx", "k"))  # fmt: skip
    lost = [types.PresetResult("int4", False, "AccuracyBelowFloor: cosine 0.9", 90_000_000)]
    result = build_json(best, lost, "e" * 64, TARGET, baseline=profile(4.0), kind="onnx")
    return job._words(best.artifact, result, {"onnxruntime": "1.31.1"})


def test_every_field_of_a_result_arrives_in_the_status() -> None:
    sent = json.loads(job.cut(told()))
    read = parse_result(job.cut(told()).decode(), "s3://a/b")
    assert read.result == sent["result"]
    assert read.artifact == sent["artifact"]
    assert read.versions == sent["versions"]


def test_a_refusal_arrives_with_its_reason() -> None:
    words = job.cut({"reason": "AccuracyBelowFloor", "message": "x" * 9000})
    reason, message = parse_refusal(words.decode()) or ("", "")
    assert reason == "AccuracyBelowFloor"
    assert message.startswith("xxx")
    assert job.REFUSED == REFUSED


def test_both_rooms_speak_of_the_same_release_of_the_pipeline() -> None:
    assert types.PIPELINE_VERSION == PIPELINE_VERSION


def test_every_reason_of_a_refusal_is_one_that_the_operator_reads() -> None:
    for reason in types.REASONS:
        assert parse_refusal(json.dumps({"reason": reason, "message": "m"})) == (reason, "m")

"""Durations, quantities and what a URI tells, as tables."""

from decimal import Decimal

import pytest
from pydantic import ValidationError

from seawall.api.units import parse_duration, parse_quantity
from seawall.api.v1alpha1 import InferenceServiceSpec, ModelSpec, RolloutSpec, SloSpec

MINIMAL = {"model": {"uri": "s3://m/x.onnx"}, "accelerator": {"class": "cpu"}, "slo": {"p99": "20ms"}}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20ms", 0.02),
        ("1.5s", 1.5),
        ("500us", 0.0005),
        ("2m", 120),
        ("1h", 3600),
        ("30d", 2592000),
        ("0s", 0),
    ],
)
def test_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "20", "ms", "-1s", "1 s", "1S", "1s\n", "1s2ms", ".5s", "1e3s", "auto"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("64Mi", "67108864"),
        ("500m", "0.5"),
        ("1.5Gi", "1610612736"),
        ("24G", "24000000000"),
        ("100", "100"),
        (4, "4"),
        ("1e3", "1000"),
        ("2E3", "2000"),
        ("2E", "2000000000000000000"),
        ("250u", "0.00025"),
        ("0", "0"),
        ("+5", "5"),
        (".5", "0.5"),
    ],
)
def test_quantity(text: str | int, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "Mi", "1 Mi", "1mi", "1KB", "1MiB", "auto", "1.2.3", "1\n"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("uri", "given", "expected"),
    [
        ("s3://m/x.onnx", None, "onnx"),
        ("s3://m/x.ONNX", None, "onnx"),
        ("https://h/x.onnx?sig=a.plan", None, "onnx"),
        ("s3://m/x.plan", None, "tensorrt"),
        ("s3://m/x.py", None, "python"),
        ("s3://m/repository/", None, "repository"),
        ("s3://m/x.bin", None, None),
        ("s3://m/x.onnx", "repository", "repository"),
    ],
)
def test_format_that_a_uri_tells(uri: str, given: str | None, expected: str | None) -> None:
    assert ModelSpec.model_validate({"uri": uri, "format": given}).inferred_format == expected


def test_few_fields_give_the_defaults_of_this_version() -> None:
    spec = InferenceServiceSpec.model_validate(MINIMAL)
    assert (spec.accelerator.count, spec.parallelism.instances, spec.batching.max_queue_delay) == (
        1,
        1,
        "auto",
    )
    assert spec.scaling is None


def test_fields_of_a_newer_version_do_not_stop_an_older_operator() -> None:
    newer = {**MINIMAL, "slo": {"p99": "20ms", "p50": "5ms"}, "future": {"a": 1}}
    assert InferenceServiceSpec.model_validate(newer) == InferenceServiceSpec.model_validate(MINIMAL)


@pytest.mark.parametrize("p99", ["20", "0ms", "11m", "1d", "20ms\n", "auto", "x" * 99])
def test_the_model_itself_refuses_an_slo_that_an_old_schema_let_in(p99: str) -> None:
    with pytest.raises(ValidationError):
        SloSpec(p99=p99)


@pytest.mark.parametrize("alpha", ["0", "1", "x", "0.01\n", "-0.1"])
def test_the_model_itself_refuses_a_level_that_an_old_schema_let_in(alpha: str) -> None:
    with pytest.raises(ValidationError):
        RolloutSpec.model_validate({"analysis": {"alpha": alpha}})

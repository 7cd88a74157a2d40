"""Layers of ModelConfig: merged by the schema's rules, checked, gated by release."""

from __future__ import annotations

from typing import Any

import pytest

from seawall.fetch.modelconfig import as_text, check_override, from_text, layered
from seawall.fetch.problem import FetchProblem, Reason

BASE = {
    "max_batch_size": 8,
    "dynamic_batching": {"default_queue_policy": {"max_queue_size": 9}},
    "instance_group": [{"kind": "KIND_CPU", "count": 1}],
    "metric_tags": {"a": "1"},
}
LAYERED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, BASE),
    "zero counts": ({"max_batch_size": 0}, {**BASE, "max_batch_size": 0}),
    "camelCase is the same field": ({"maxBatchSize": 4}, {**BASE, "max_batch_size": 4}),
    "objects merge": (
        {"dynamicBatching": {"preferred_batch_size": [4]}},
        {**BASE, "dynamic_batching": {**BASE["dynamic_batching"], "preferred_batch_size": [4]}},  # type: ignore[dict-item]
    ),
    "lists are replaced": ({"instance_group": [{"count": 2}]}, {**BASE, "instance_group": [{"count": 2}]}),
    "maps merge": ({"metric_tags": {"b": "2"}}, {**BASE, "metric_tags": {"a": "1", "b": "2"}}),
    "null deletes": ({"instance_group": None}, {k: v for k, v in BASE.items() if k != "instance_group"}),
    "one scheduler takes another's place": (
        {"sequence_batching": {}},
        {**{k: v for k, v in BASE.items() if k != "dynamic_batching"}, "sequence_batching": {}},
    ),
}


@pytest.mark.parametrize(("layer", "expected"), LAYERED.values(), ids=LAYERED.keys())
def test_layering(layer: dict[str, Any], expected: dict[str, Any]) -> None:
    assert layered(BASE, layer) == expected


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelt field": ({"max_batchsize": 1}, "max_batchsize: Triton's ModelConfig has no such field"),
    "a misspelt field deeper": (
        {"instance_group": [{"cuont": 1}]},
        "instance_group[0].cuont: Triton's ModelInstanceGroup has no such field",
    ),
    "a field given twice": ({"maxBatchSize": 1, "max_batch_size": 2}, "max_batch_size is given twice"),
    "text for a number": ({"max_batch_size": "many"}, "max_batch_size"),
    "a wrong word": ({"instance_group": [{"kind": "KIND_TPU"}]}, "KIND_TPU"),
    "a list for an object": ({"dynamic_batching": []}, "dynamic_batching"),
    "an object for a list": ({"instance_group": {"count": 1}}, "instance_group"),
    "the name": ({"name": "x"}, "name is set by the operator"),
}


@pytest.mark.parametrize(("override", "words"), WRONG.values(), ids=WRONG.keys())
def test_the_schema_refuses(override: dict[str, Any], words: str) -> None:
    said = check_override(override)
    assert said is not None
    assert words in said


@pytest.mark.parametrize(
    "override",
    [{}, {"dynamic_batching": {}}, {"parameters": {"a": {"string_value": "b"}}}, {"responseCache": {"enable": True}}],
    ids=str,
)  # fmt: skip
def test_the_schema_takes(override: dict[str, Any]) -> None:
    assert check_override(override) is None


def test_the_text_is_what_triton_reads() -> None:
    text = as_text({"name": "a", "max_batch_size": 4, "metric_tags": {"x": "y"}}, "24.10")
    assert text == 'name: "a"\nmax_batch_size: 4\nmetric_tags {\n  key: "x"\n  value: "y"\n}\n'
    assert from_text(text, "x") == {"name": "a", "max_batch_size": 4, "metric_tags": {"x": "y"}}


def test_a_field_that_the_server_is_too_old_for_is_refused() -> None:
    metrics = {"model_metrics": {"metric_control": []}}
    with pytest.raises(FetchProblem, match=r"model_metrics needs Triton 24\.11 or newer.*24\.10") as caught:
        as_text(metrics, "24.10")
    assert caught.value.reason is Reason.INVALID_CONFIG
    assert "model_metrics" in as_text(metrics, "24.11")


@pytest.mark.parametrize("text", ["max_batch_size: many", "nonsense", "name: 'a' }"])
def test_a_broken_config_pbtxt_is_told(text: str) -> None:
    with pytest.raises(FetchProblem, match=r"config\.pbtxt of the model"):
        from_text(text, "config.pbtxt of the model")

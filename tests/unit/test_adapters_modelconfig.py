"""What the ModelConfig schema says against fragments that people write, and what it lets pass."""

from __future__ import annotations

import subprocess
import sys

import pytest

from seawall.adapters.modelconfig import TritonModelConfigSchema

GOOD = {
    "nothing": {},
    "snake case": {"max_batch_size": 4},
    "camel case": {"maxBatchSize": 4, "dynamicBatching": {"maxQueueDelayMicroseconds": 100}},
    "64-bit number as a string": {"dynamic_batching": {"max_queue_delay_microseconds": "100"}},
    "enum by name": {"instance_group": [{"kind": "KIND_GPU", "count": 2}]},
    "enum by number": {"instance_group": [{"kind": 1}]},
    "map of messages": {"parameters": {"threads": {"string_value": "2"}}},
    "map of strings": {"metric_tags": {"team": "search"}},
    "an empty message": {"dynamic_batching": {}},
    "nested maps": {"model_warmup": [{"name": "a", "batch_size": 1, "inputs": {"x": {"dims": [1, 2]}}}]},
}
BAD = {
    "misspelt field": (
        {"max_batch_sise": 1},
        "max_batch_sise: no such field",
        "did you mean max_batch_size?",
    ),
    "misspelt field below": (
        {"dynamicBatching": {"maxQueueDelay": 1}},
        "dynamicBatching.maxQueueDelay: no such field in Triton's ModelDynamicBatching",
    ),
    "misspelt in the second element": (
        {"input": [{"name": "a"}, {"name": "b", "dimz": [1]}]},
        "input[1].dimz: no such field",
        "did you mean dims?",
    ),
    "misspelt inside a map": (
        {"parameters": {"a": {"string_valu": "x"}}},
        "parameters[a].string_valu: no such field",
    ),
    "word for a number": ({"max_batch_size": "many"}, "max_batch_size: ", "'many'"),
    "fraction for a whole number": ({"max_batch_size": 1.5}, "max_batch_size: ", "1.5"),
    "number out of range": ({"max_batch_size": 2**40}, "max_batch_size: ", "out of range"),
    "word in a list of numbers": (
        {"dynamic_batching": {"preferred_batch_size": [4, "a"]}},
        "dynamic_batching.preferred_batch_size[1]: ",
        "'a'",
    ),
    "unknown enum value": ({"instance_group": [{"kind": "GPU"}]}, "instance_group[0].kind: ", "KIND_GPU"),
    "unknown enum number": ({"instance_group": [{"kind": 99}]}, "instance_group[0].kind: ", "99"),
    "object for a list": ({"instance_group": {}}, "instance_group: must be a list"),
    "list for an object": ({"dynamic_batching": []}, "dynamic_batching: must be an object, not a list"),
    "null for an object": ({"dynamic_batching": None}, "dynamic_batching: must be an object, not null"),
    "string for a map": ({"metric_tags": "x"}, "metric_tags: must be an object, not a string"),
    "both spellings": ({"max_batch_size": 1, "maxBatchSize": 2}, "given twice"),
    "two schedulers": ({"dynamic_batching": {}, "sequence_batching": {}}, "scheduling_choice"),
    "key that is no string": ({1: 2}, "1: no such field"),
}


@pytest.mark.parametrize("fragment", GOOD.values(), ids=GOOD.keys())
def test_accepted(fragment):
    assert TritonModelConfigSchema().problem(fragment) is None


@pytest.mark.parametrize(("fragment", "parts"), [(f, p) for f, *p in BAD.values()], ids=BAD.keys())
def test_refused_with_the_place(fragment, parts):
    problem = TritonModelConfigSchema().problem(fragment)
    assert problem is not None
    assert "\n" not in problem
    for part in parts:
        assert part in problem


def test_the_schema_comes_without_grpc():
    code = (
        "import sys; from seawall.adapters.modelconfig import TritonModelConfigSchema as S;"
        "assert S().problem({'max_batch_size': 'x'}); assert 'grpc' not in sys.modules, 'grpc was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_schema_lives_beside_tritonclients_own():
    schema = TritonModelConfigSchema()
    assert schema.problem({"max_batch_size": 1}) is None
    from tritonclient.grpc import model_config_pb2

    assert model_config_pb2.ModelConfig(max_batch_size=3).max_batch_size == 3
    assert schema.problem({"max_batch_size": 1}) is None

"""A model in stages as Triton's repository: who gets which part of the configuration, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto as Type
from onnx import helper, numpy_helper

from seawall.fetch.artifact import Published
from seawall.fetch.ensemble import devices_of
from seawall.fetch.layout import Identity, lay_out
from seawall.fetch.modelconfig import from_text
from seawall.fetch.order import Order
from seawall.fetch.problem import FetchProblem, Reason

LAYOUT = {
    "kind": "pipeline",
    "stages": [
        {"folder": "stage-1", "inputs": ["x"], "outputs": ["h"], "sample": {"x": [4]}},
        {"folder": "stage-2", "inputs": ["h"], "outputs": ["y"], "sample": {"h": [3]}},
    ],
    "inputs": ["x"],
    "outputs": ["y"],
}
GROUPS = [{"kind": "KIND_GPU", "count": 2, "gpus": [device]} for device in (0, 1)]
CONFIG = {
    "max_batch_size": 8,
    "dynamic_batching": {
        "max_queue_delay_microseconds": 500,
        "default_queue_policy": {
            "timeout_action": "REJECT",
            "default_timeout_microseconds": 80000,
            "max_queue_size": 64,
        },
    },
    "instance_group": GROUPS,
    "response_cache": {"enable": True},
}


def stage(folder: Path, source: tuple[str, int], target: tuple[str, int], kind: int = Type.FLOAT) -> None:
    weights = [numpy_helper.from_array(np.ones((source[1], target[1]), np.float32), "w")]
    ends = [[helper.make_tensor_value_info(n, kind, ["n", size])] for n, size in (source, target)]
    nodes = [helper.make_node("MatMul", [source[0], "w"], [target[0]])]
    made = helper.make_graph(nodes, "graph", *ends, weights)
    folder.mkdir(parents=True)
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)]), folder / "model.onnx")


def laid_out(
    tmp_path: Path,
    layout: dict[str, Any] | None = None,
    version: str = "26.06",
    config: dict[str, Any] | None = None,
    **override: Any,
) -> dict[str, dict[str, Any]]:
    """Every model's configuration, by name."""
    fetched, models = tmp_path / "fetched", tmp_path / "models"
    stage(fetched / "stage-1", ("x", 4), ("h", 3))
    stage(fetched / "stage-2", ("h", 3), ("y", 2))
    models.mkdir()
    order = Order("pipe", "s3://b/k", "pipeline", version, CONFIG if config is None else config, override)
    published = Published("0" * 64, {}, {"layout": layout or LAYOUT})
    lay_out(order, fetched, models, Identity("shop", "abc"), published)
    return {p.parent.name: from_text(p.read_text(), "it") for p in models.glob("*/config.pbtxt")}


def test_there_is_a_model_for_each_stage_and_one_that_joins_them(tmp_path: Path) -> None:
    found = laid_out(tmp_path)
    assert sorted(found) == ["pipe", "pipe.stage-1", "pipe.stage-2"]
    assert found["pipe"]["platform"] == "ensemble"
    assert [step["model_name"] for step in found["pipe"]["ensemble_scheduling"]["step"]] == sorted(found)[1:]
    assert [io["name"] for io in (*found["pipe"]["input"], *found["pipe"]["output"])] == ["x", "y"]
    assert found["pipe"]["metric_tags"]["inferenceservice"] == "pipe"
    for number in (1, 2):
        made = found[f"pipe.stage-{number}"]
        assert (made["backend"], made["max_batch_size"]) == ("onnxruntime", 8)
        assert [s["batch_size"] for s in made["model_warmup"]] == [1, 8]
        assert (tmp_path / "models" / f"pipe.stage-{number}" / "1" / "model.onnx").is_file()


def test_the_ensemble_gets_nothing_of_what_rules_running(tmp_path: Path) -> None:
    ensemble = laid_out(tmp_path)["pipe"]
    assert ensemble.keys().isdisjoint({"backend", "dynamic_batching", "instance_group", "model_warmup"})


def test_each_stage_sits_on_a_device_of_its_own(tmp_path: Path) -> None:
    found = laid_out(tmp_path)
    assert found["pipe.stage-1"]["instance_group"] == [{"kind": "KIND_GPU", "count": 2, "gpus": [0]}]
    assert found["pipe.stage-2"]["instance_group"] == [{"kind": "KIND_GPU", "count": 2, "gpus": [1]}]


def test_only_the_first_stage_turns_requests_away_for_want_of_room(tmp_path: Path) -> None:
    found = laid_out(tmp_path)
    first, second = (found[f"pipe.stage-{n}"]["dynamic_batching"] for n in (1, 2))
    assert first["default_queue_policy"]["max_queue_size"] == 64
    assert first["max_queue_delay_microseconds"] == "500"
    assert "max_queue_delay_microseconds" not in second
    assert "max_queue_size" not in second["default_queue_policy"]
    assert second["default_queue_policy"]["default_timeout_microseconds"] == "80000"


@pytest.mark.parametrize(
    ("version", "cached"),
    [("26.06", {"pipe"}), ("24.10", {"pipe.stage-1", "pipe.stage-2"})],
    ids=["the ensemble, where histograms count its hits", "the stages, where summaries would not"],
)
def test_the_cache_sits_where_the_p99_stays_true(tmp_path: Path, version: str, cached: set[str]) -> None:
    found = laid_out(tmp_path, version=version)
    assert {name for name, made in found.items() if "response_cache" in made} == cached


def test_an_override_goes_to_whom_it_concerns(tmp_path: Path) -> None:
    found = laid_out(tmp_path, max_batch_size=4, parameters={"intra_op_thread_count": {"string_value": "2"}})
    assert {made["max_batch_size"] for made in found.values()} == {4}
    assert {name for name, made in found.items() if "parameters" in made} == {"pipe.stage-1", "pipe.stage-2"}


def test_without_a_batch_size_the_models_own_shape_decides(tmp_path: Path) -> None:
    assert laid_out(tmp_path, config={})["pipe"]["max_batch_size"] == 8


DEVICES = {
    "one each": (2, 2, [[0], [1]]),
    "two each": (4, 2, [[0, 2], [1, 3]]),
    "more stages than devices": (2, 3, [[0], [1], [0]]),
    "one for all": (1, 2, [[0], [0]]),
}


@pytest.mark.parametrize(("devices", "stages", "wanted"), DEVICES.values(), ids=DEVICES.keys())
def test_devices_are_dealt_out(devices: int, stages: int, wanted: list[list[int]]) -> None:
    groups = [{"gpus": [device]} for device in range(devices)]
    found = [devices_of(groups, index, stages) for index in range(stages)]
    assert [[g for group in own for g in group["gpus"]] for own in found] == wanted


def changed(**change: Any) -> dict[str, Any]:
    return {**copy.deepcopy(LAYOUT), **change}


STAGES: Any = LAYOUT["stages"]
REFUSED = {
    "a field that is the stages' own affair": (
        LAYOUT, {"instance_group": [{"count": 4}]}, Reason.INVALID_CONFIG, "instance_group cannot be set",
    ),
    "another name": (LAYOUT, {"name": "other"}, Reason.INVALID_CONFIG, "name cannot be set"),
    "a batch size that is none": (LAYOUT, {"max_batch_size": -1}, Reason.INVALID_CONFIG, "whole number, not -1"),
    "no stages": (changed(stages=[]), {}, Reason.INVALID_MODEL, "tells of no stages"),
    "a stage that was not published": (
        changed(stages=[STAGES[0], {**STAGES[1], "folder": "stage-9"}]), {}, Reason.INVALID_MODEL, "stage 2 lacks",
    ),
    "a folder outside": (
        changed(stages=[STAGES[0], {**STAGES[1], "folder": "../models"}]), {}, None, r"\.\.",
    ),
    "stages in the wrong order": (
        changed(stages=STAGES[::-1]), {}, Reason.INVALID_MODEL, "takes h, which no stage before it gives",
    ),
    "an output that nobody gives": (changed(outputs=["z"]), {}, Reason.INVALID_MODEL, "no stage has z"),
    "no inputs": (changed(inputs=None), {}, Reason.INVALID_MODEL, "does not tell the model's inputs"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_pipeline_says_why(case: str, tmp_path: Path) -> None:
    layout, override, reason, why = REFUSED[case]
    with pytest.raises(FetchProblem, match=why) as caught:
        laid_out(tmp_path, layout, **override)
    assert reason is None or caught.value.reason == reason

"""A model in stages, laid out as Triton takes it: one model per stage, and an ensemble that joins them.

The ensemble has the service's name and the shape of the whole model. It runs nothing itself, so what rules
running (instances, queues, batches) goes to the stages, and each stage sits on devices of its own.

So does the response cache where the server has no histograms: cached itself, the ensemble would lose the
summary that its latency is read from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seawall.desired.versions import HISTOGRAMS, at_least
from seawall.fetch.modelconfig import as_text, layered
from seawall.fetch.onnxmodel import Signature, Tensor, inspect, io_config, natural_batch_size
from seawall.fetch.order import Order
from seawall.fetch.problem import invalid_config, invalid_model
from seawall.fetch.sources import checked_path

DEFAULT_BATCH = 8
CONFIG = "config.pbtxt"
VERSION = "1"
BACKEND = "onnxruntime"
OF_STAGES = frozenset({"backend", "dynamic_batching", "instance_group", "optimization", "parameters"})
"""what the ensemble has no use for, or is refused for"""
CACHE = "response_cache"
OF_ALL = frozenset({"max_batch_size"})
OVERRIDABLE = (OF_STAGES - {"backend", "instance_group"}) | OF_ALL
"""what of spec.model.config has a meaning for a model in stages"""


@dataclass(frozen=True, slots=True)
class Stage:
    name: str
    signature: Signature
    sample: Mapping[str, Sequence[int]]


def stage_name(model: str, number: int) -> str:
    """A name that no service can have, as theirs hold no dots: a repository folder is one name space."""
    return f"{model}.stage-{number}"


def lay_out_pipeline(order: Order, fetched: Path, models: Path, layout: Mapping[str, Any]) -> dict[str, Any]:
    """Moves the stages into models of their own and returns the ensemble's config. Raises FetchProblem."""
    foreign = sorted(order.override.keys() - OVERRIDABLE)
    if foreign:
        raise invalid_config(
            f"{foreign[0]} cannot be set for a model in stages; what can be: {', '.join(sorted(OVERRIDABLE))}"
        )
    wanted = layered(order.config, order.override)
    stages = _moved(order, fetched, models, layout)
    inputs, outputs = _names(layout, "inputs"), _names(layout, "outputs")
    whole = Signature(
        tuple(_first(stages, name, "inputs") for name in inputs),
        tuple(_first(stages, name, "outputs") for name in outputs),
    )
    _require_joined(stages, whole)
    most = wanted.get("max_batch_size")
    if most is None:
        most = natural_batch_size(whole, DEFAULT_BATCH)
    if not isinstance(most, int) or isinstance(most, bool) or most < 0:
        raise invalid_config(f"max_batch_size must be a whole number, not {most!r}")
    of_stages = OF_STAGES if at_least(order.triton_version, HISTOGRAMS) else OF_STAGES | {CACHE}
    for_stages = {k: v for k, v in wanted.items() if k in of_stages}
    for index, stage in enumerate(stages):
        text = as_text(_stage_config(for_stages, stage, index, len(stages), most), order.triton_version)
        (models / stage.name / CONFIG).write_text(text, encoding="utf-8")
    (models / order.name / VERSION).mkdir(parents=True, exist_ok=True)
    ensemble = {k: v for k, v in wanted.items() if k not in of_stages}
    return ensemble | {
        "platform": "ensemble",
        "max_batch_size": most,
        "ensemble_scheduling": {"step": [_step(stage) for stage in stages]},
        **io_config(whole, most),
    }


def _moved(order: Order, fetched: Path, models: Path, layout: Mapping[str, Any]) -> list[Stage]:
    told = layout.get("stages")
    if not isinstance(told, list) or len(told) < 2 or not all(isinstance(s, Mapping) for s in told):
        raise invalid_model("the manifest tells of no stages")
    stages = []
    for number, stage in enumerate(told, 1):
        folder = fetched / checked_path(str(stage.get("folder")))
        if not (folder / "model.onnx").is_file():
            raise invalid_model(f"stage {number} lacks its model.onnx")
        name = stage_name(order.name, number)
        target = models / name / VERSION
        target.parent.mkdir(parents=True)
        folder.rename(target)
        sample = stage.get("sample")
        stages.append(
            Stage(name, inspect(target / "model.onnx"), sample if isinstance(sample, Mapping) else {})
        )
    return stages


def _names(layout: Mapping[str, Any], role: str) -> list[str]:
    names = layout.get(role)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise invalid_model(f"the manifest does not tell the model's {role}")
    return names


def _first(stages: Sequence[Stage], name: str, role: str) -> Tensor:
    for stage in stages:
        for tensor in getattr(stage.signature, role):
            if tensor.name == name:
                return tensor  # type: ignore[no-any-return]
    raise invalid_model(f"no stage has {name} among its {role}")


def _require_joined(stages: Sequence[Stage], whole: Signature) -> None:
    """An ensemble with a gap fails to load with words about a graph that nobody here has drawn."""
    known = {tensor.name: tensor for tensor in whole.inputs}
    for stage in stages:
        for tensor in stage.signature.inputs:
            if tensor.name not in known:
                raise invalid_model(f"{stage.name} takes {tensor.name}, which no stage before it gives")
            if tensor.data_type != known[tensor.name].data_type:
                raise invalid_model(
                    f"{stage.name} takes {tensor.name} as {tensor.data_type}, but it is given as"
                    f" {known[tensor.name].data_type}"
                )
        known |= {tensor.name: tensor for tensor in stage.signature.outputs}


def _stage_config(
    wanted: Mapping[str, Any], stage: Stage, index: int, count: int, most: int
) -> dict[str, Any]:
    config = {**wanted, "name": stage.name, "backend": BACKEND, "max_batch_size": most}
    if "instance_group" in wanted:
        config["instance_group"] = devices_of(wanted["instance_group"], index, count)
    if index and "dynamic_batching" in config:
        config["dynamic_batching"] = _inner_queue(config["dynamic_batching"])
    samples = _warmup(stage, most)
    if samples:
        config["model_warmup"] = samples
    return config | io_config(stage.signature, most)


def devices_of(groups: Sequence[Mapping[str, Any]], index: int, count: int) -> list[dict[str, Any]]:
    """Of one group per device those of one stage; stages share devices where there are fewer of these."""
    own = [dict(group) for position, group in enumerate(groups) if position % count == index]
    return own or [dict(groups[index % len(groups)])]


def _inner_queue(batching: Mapping[str, Any]) -> dict[str, Any]:
    """Behind the first stage nothing waits for company, and nothing is turned away for want of room: the
    work of the stages before is spent already. What is late is still dropped."""
    policy = {k: v for k, v in batching.get("default_queue_policy", {}).items() if k != "max_queue_size"}
    inner = {k: v for k, v in batching.items() if k != "max_queue_delay_microseconds"}
    return inner | ({"default_queue_policy": policy} if policy else {})


def _warmup(stage: Stage, most: int) -> list[dict[str, Any]]:
    """Zeros in the dimensions that a real request had where the model was cut."""
    inputs: dict[str, Any] = {}
    for tensor in stage.signature.inputs:
        dims = stage.sample.get(tensor.name)
        rank = len(tensor.shape) - (1 if most else 0)
        if tensor.data_type == "TYPE_STRING" or dims is None or len(dims) != rank:
            return []
        inputs[tensor.name] = {
            "data_type": tensor.data_type,
            "dims": list(dims) or [1],
            "zero_data": True,
        }
    sizes = sorted({1, most}) if most else [1]
    return (
        [{"name": f"batch-{size}", "batch_size": size, "inputs": inputs} for size in sizes] if inputs else []
    )


def _step(stage: Stage) -> dict[str, Any]:
    return {
        "model_name": stage.name,
        "model_version": -1,
        "input_map": {tensor.name: tensor.name for tensor in stage.signature.inputs},
        "output_map": {tensor.name: tensor.name for tensor in stage.signature.outputs},
    }

"""A service's model as its pod would have it: inputs rendered by the operator, laid out by the fetcher."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seawall.desired import triton
from seawall.desired.inputs import RevisionInputs
from seawall.fetch.artifact import Published
from seawall.fetch.layout import Identity, lay_out
from seawall.fetch.order import Order

OF_THE_TEST = ("--model-repository=", "--allow-gpu-metrics=")
"""what whoever starts the server says for itself"""


def inputs(model_format: str, layout: str | None = None, **user: Any) -> RevisionInputs:
    """Of a service on a CPU; `layout` is the artefact's format where a build has made one."""
    platform: dict[str, Any] = {
        "type": "cpu",
        "runtime": {"image": "t", "tritonVersion": "24.10"},
        "fetcherImage": "f",
        "templateVersion": 1,
    }
    if layout is not None:
        platform["artifact"] = {"uri": "pvc://a/b", "digest": "0" * 64, "format": layout, "build": "b"}
    asked = {"model": {"uri": "pvc://a/b", "format": model_format}, "accelerator": {"class": "cpu"}}
    asked["model"] |= user.pop("model", {})
    return RevisionInputs(asked | user, platform, user.pop("slo", "10s"))


def place(
    name: str, asked: RevisionInputs, fetched: Path, models: Path, layout: Mapping[str, Any] | None = None
) -> None:
    """Moves what lies in `fetched` into the repository, as the model of the service `name`."""
    order = Order(
        name=name,
        uri="pvc://a/b",
        format=triton.served_format(asked),
        triton_version="24.10",
        config=triton.model_config(asked),
        override=asked.user["model"].get("config", {}),
    )
    published = Published("0" * 64, {}, {"layout": layout}) if layout is not None else None
    lay_out(order, fetched, models, Identity("tests", "abc"), published)


def flags(asked: RevisionInputs) -> list[str]:
    return [flag for flag in triton.server_args(asked) if not flag.startswith(OF_THE_TEST)]

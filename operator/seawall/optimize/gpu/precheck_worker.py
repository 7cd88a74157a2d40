"""Parses one graph and builds it with TensorRT-RTX's builder. Started as a script; see quantize_worker.py.

Building needs no GPU; running what was built does. The builder has profiles for a few compute capabilities
only, so where it does not know the one asked for, parsing and the profile are still checked.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import tensorrt_rtx as trt


class Kept(trt.ILogger):  # type: ignore[misc]
    """The builder's own words, for the verdict."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []

    def log(self, severity: Any, message: str) -> None:
        if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
            self.errors.append(message.strip())


def main(request: dict[str, Any]) -> None:
    answer = _checked(request)
    Path(request["out"]).write_text(json.dumps(answer), encoding="utf-8")


def _checked(request: dict[str, Any]) -> dict[str, Any]:
    log = Kept()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    answer: dict[str, Any] = {"version": trt.__version__, "parsed": False, "built": False, "bytes": None}
    if not parser.parse_from_file(request["model"]):
        told = [parser.get_error(index) for index in range(parser.num_errors)]
        answer["reasons"] = [_sentence(error) for error in told] or log.errors[-3:]
        return answer
    answer["parsed"] = True
    config = builder.create_builder_config()
    if request["profile"]:
        profile = builder.create_optimization_profile()
        for name, (least, usual, most) in request["profile"].items():
            profile.set_shape(name, least, usual, most)
        if config.add_optimization_profile(profile) < 0:
            return {**answer, "reasons": log.errors[-3:] or ["the optimisation profile is not legal"]}
    answer["capability"] = _aim(config, request["capability"])
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        return {**answer, "reasons": log.errors[-3:] or ["the builder gave no engine"]}
    return {**answer, "built": True, "bytes": engine.nbytes, "reasons": []}


def _aim(config: Any, capability: str | None) -> str | None:
    """The capability built for; None where this builder has no tactics for the one wanted."""
    known = getattr(trt.ComputeCapability, f"SM{(capability or '').replace('.', '')}", None)
    if known is None or not capability:
        return None
    config.num_compute_capabilities = 1
    config.set_compute_capability(known, 0)
    return capability


def _sentence(error: Any) -> str:
    node = error.node_name() or error.node_operator() or "the graph"
    text = error.desc().strip().splitlines()
    return f"node {node} ({error.node_operator() or '?'}): {text[-1] if text else 'refused'}"


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))

"""Whether TensorRT will take a graph, asked of TensorRT-RTX's builder where no GPU is at hand.

The parser is of the same family and the profile is checked by the same rules, so a refusal here is one on
the GPU too. A pass is no proof: tactics, plugins and memory are the datacentre build's own, and the engine
that is built here is thrown away. Every answer says so.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seawall.optimize.gpu.environment import GPU, TENSORRT_RTX, interpreter, last_line, run_script
from seawall.optimize.gpu.objections import objections
from seawall.optimize.gpu.profile import Profiles
from seawall.optimize.types import Graph, Refused, Target

WORKER = Path(__file__).with_name("precheck_worker.py")
PASSED, REFUSED, NOT_CHECKED = "passed", "refused", "not pre-checked"
NOTE = "a pre-check by TensorRT-RTX without a GPU, not a build for this one"


@dataclass(frozen=True, slots=True)
class Verdict:
    status: str
    """passed, refused, or not pre-checked"""
    reasons: tuple[str, ...] = ()
    builder: str | None = None
    """version of TensorRT-RTX"""
    capability: str | None = None
    """compute capability that the builder had tactics for; None: it parsed and checked the profile only"""

    def to_json(self) -> dict[str, Any]:
        raw = {"preCheck": self.status, "note": NOTE, "reasons": list(self.reasons)}
        return {**raw, "builder": self.builder, "computeCapability": self.capability}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Verdict:
        return cls(raw["preCheck"], tuple(raw["reasons"]), raw["builder"], raw["computeCapability"])

    def sentence(self) -> str:
        told = f": {'; '.join(self.reasons)}" if self.reasons else ""
        if self.status == NOT_CHECKED:
            return f"{NOT_CHECKED}{told}"
        return f"pre-check {self.status}{told} ({NOTE})"

    def refusal(self) -> Refused | None:
        if self.status != REFUSED:
            return None
        return Refused("CompileFailed", f"TensorRT will not take this graph ({NOTE}): {self.reasons[0]}")


def precheck(graph: Graph, profiles: Profiles, target: Target, folder: Path) -> Verdict:
    """Never raises for what the graph is: the verdict says it."""
    known = objections(graph)
    if known:
        return Verdict(REFUSED, known)
    python = interpreter(GPU, TENSORRT_RTX)
    if python is None:
        return Verdict(NOT_CHECKED, (f"there is no TensorRT-RTX here; {GPU} can name one",))
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "answer.json"
    request = {
        "model": str(graph.path),
        "out": str(out),
        "profile": {name: [list(shape) for shape in shapes] for name, shapes in profiles.items()},
        "capability": target.compute_capability,
    }
    try:
        ended = run_script(python, WORKER, request, seconds=900)
        if ended.code or not out.is_file():
            return Verdict(NOT_CHECKED, (f"TensorRT-RTX failed: {last_line(ended.tail)}",))
        return _verdict(json.loads(out.read_text(encoding="utf-8")), target)
    finally:
        shutil.rmtree(folder)


def _verdict(answer: dict[str, Any], target: Target) -> Verdict:
    reasons = tuple(answer["reasons"])
    capability = answer.get("capability")
    if not answer["built"]:
        return Verdict(REFUSED, reasons, answer["version"], capability)
    if capability is None:
        wanted = target.compute_capability or "none was given"
        reasons = (f"built for no particular GPU: TensorRT-RTX has no tactics for {wanted}",)
    return Verdict(PASSED, reasons, answer["version"], capability)

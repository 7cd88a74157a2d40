"""The real operator as a program, with played model servers and counters behind their two doors, that ends by
SIGKILL at writes which are told to it.

SEAWALL_TEST_COUNTERS: a file with the counters of every pod. SEAWALL_TEST_ENDS: a folder of files whose first
line is a write to die of; whoever does so removes the line, so that the next one lives on.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import seawall.adapters.kube
import seawall.adapters.triton
import seawall.cli.operator
from seawall.__main__ import main
from seawall.decide.rollout_state import Answers
from seawall.decide.types import (
    ComparisonRequest,
    Manifest,
    ObjectRef,
    Verdict,
    Verification,
    VerificationRequest,
)
from seawall.desired.names import REVISION_LABEL
from seawall.measure.types import ArmSample, Histogram, PodSample
from seawall.ports import Target

SLO_MS = 50.0
COUNTERS, ENDS = (Path(os.environ[f"SEAWALL_TEST_{name}"]) for name in ("COUNTERS", "ENDS"))


class Counters:
    """At the door `Metrics`."""

    async def read(self, targets: Sequence[Target]) -> Sequence[ArmSample]:
        told = json.loads(COUNTERS.read_text())
        return [self._arm(told["at"], told["pods"], target) for target in targets]

    def _arm(self, at: float, told: Mapping[str, Any], target: Target) -> ArmSample:
        pods = tuple(_pod(name, at, *told[name]) for name in sorted(target.pods) if name in told)
        return ArmSample(at, pods, frozenset(target.pods))

    async def batches(self, target: Target) -> Mapping[str, Any]:
        return {}

    async def close(self) -> None:
        pass


def _pod(name: str, at: float, answered: float, late: float, failed: float) -> PodSample:
    histogram = Histogram((SLO_MS, math.inf), (answered - late, answered))
    return PodSample(name, at, answered, failed, 0.0, histogram)


class Servers:
    """At the door `Inference`."""

    async def verify(self, request: VerificationRequest) -> Verification:
        return Verification(request.revision, Verdict.PASSED)

    async def compare(self, request: ComparisonRequest, golden: bytes) -> Answers:
        raise AssertionError("no plan here asks for it")


def ends(write: str) -> None:
    """Whether this process has done its last."""
    for told in ENDS.iterdir():
        first, _, rest = told.read_text().partition("\n")
        if first and re.fullmatch(first, write):
            told.write_text(rest)
            sys.stderr.write(f"ends: {write}\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)


class Mortal(seawall.adapters.kube.KubeCluster):
    async def apply(self, manifest: Mapping[str, Any], *, force: bool) -> Manifest:
        made = await super().apply(manifest, force=force)
        name, weight = manifest["metadata"]["name"], ""
        if manifest["kind"] == "HTTPRoute":
            weight = f" {manifest['spec']['rules'][0]['backendRefs'][1]['weight']}"
        elif manifest["kind"] == "Service" and REVISION_LABEL not in manifest["spec"]["selector"]:
            weight = " both"
        ends(f"{manifest['kind']} {name}{weight}")
        return made

    async def apply_status(self, ref: ObjectRef, status: Mapping[str, Any]) -> Manifest | None:
        made = await super().apply_status(ref, status)
        rollout = status.get("rollout") or {}
        ends(f"status {ref.name} {rollout.get('phase')} {rollout.get('desiredWeight')}")
        return made


if __name__ == "__main__":
    seawall.adapters.kube.KubeCluster = Mortal  # type: ignore[misc]
    seawall.adapters.triton.TritonInference = Servers  # type: ignore[assignment,misc]
    seawall.cli.operator._metrics = lambda settings: Counters()  # type: ignore[assignment,return-value]
    sys.argv[1:] = ["operator"]
    sys.exit(main())

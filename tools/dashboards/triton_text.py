"""What a model's pod tells Prometheus, as Triton words it; the counters are made up by the story.

Series without histogram and GPU are those of a recorded Triton 2.51 (a test compares them). The histogram
(from 26.01 on) and the GPU's series are written from Triton's documentation and source: no GPU was at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from seawall.desired.triton import HISTOGRAM

REASONS = ("OTHER", "BACKEND", "CANCELED", "REJECTED")
STAGES = {"request": 1.0, "queue": 0.3, "compute_input": 0.04, "compute_infer": 0.6, "compute_output": 0.06}
"""Share of a request's time"""


@dataclass
class Device:
    """A GPU of one pod."""

    uuid: str
    memory_bytes: float
    limit_watts: float
    utilisation: float = 0.0
    watts: float = 0.0
    joules: float = 0.0


@dataclass
class Pod:
    """One server's counters since it started."""

    namespace: str
    service: str
    revision: str
    name: str
    edges: tuple[int, ...]
    """of its histogram, in whole milliseconds"""
    device: Device | None = None
    answered: float = 0.0
    failed: float = 0.0
    executions: float = 0.0
    microseconds: float = 0.0
    pending: float = 0.0
    below: list[float] = field(default_factory=list)
    """answered and failed, by edge"""

    @property
    def target(self) -> dict[str, str]:
        """Labels that the scrape adds."""
        return {
            "namespace": self.namespace,
            "pod": self.name,
            "inferenceservice": self.service,
            "revision": self.revision,
        }

    def samples(self) -> Iterator[tuple[str, str, dict[str, str], float]]:
        """(name, type, labels, value); counters without the suffix _total, as Triton has them."""
        tags = {"_namespace": self.namespace, "_inferenceservice": self.service, "_revision": self.revision}
        of = {**tags, "model": self.service, "version": "1"}
        if self.device is not None:
            of["gpu_uuid"] = self.device.uuid
        yield "nv_inference_request_success", "counter", of, int(self.answered)
        for reason in REASONS:
            lost = int(self.failed) if reason == "BACKEND" else 0
            yield "nv_inference_request_failure", "counter", {**of, "reason": reason}, lost
        yield "nv_inference_count", "counter", of, int(self.answered)
        yield "nv_inference_exec_count", "counter", of, int(self.executions)
        for stage, share in STAGES.items():
            name = f"nv_inference_{stage}_duration_us"
            yield name, "counter", of, int(share * self.microseconds)
        yield "nv_inference_pending_request_count", "gauge", of, int(self.pending)
        yield from self._histogram(of)
        yield from self._device()

    def _histogram(self, of: dict[str, str]) -> Iterator[tuple[str, str, dict[str, str], float]]:
        total = self.answered + self.failed
        for edge, count in zip(self.edges, self.below, strict=True):
            yield f"{HISTOGRAM}_bucket", "histogram", {**of, "le": f"{edge}.0"}, int(count)
        yield f"{HISTOGRAM}_bucket", "histogram", {**of, "le": "+Inf"}, int(total)
        yield f"{HISTOGRAM}_count", "histogram", of, int(total)
        yield f"{HISTOGRAM}_sum", "histogram", of, int(self.microseconds / 1000)

    def _device(self) -> Iterator[tuple[str, str, dict[str, str], float]]:
        if self.device is None:
            return
        of, device = {"gpu_uuid": self.device.uuid}, self.device
        yield "nv_gpu_utilization", "gauge", of, round(device.utilisation, 3)
        yield "nv_gpu_memory_total_bytes", "gauge", of, device.memory_bytes
        yield "nv_gpu_memory_used_bytes", "gauge", of, round(device.memory_bytes * 0.42)
        yield "nv_gpu_power_usage", "gauge", of, round(device.watts, 1)
        yield "nv_gpu_power_limit", "gauge", of, device.limit_watts
        yield "nv_energy_consumption", "counter", of, round(device.joules, 1)

    def text(self) -> str:
        """Of /metrics."""
        lines, typed = [], set()
        for name, kind, labels, value in self.samples():
            family = HISTOGRAM if kind == "histogram" else name
            if family not in typed:
                typed.add(family)
                lines += [f"# HELP {family} .", f"# TYPE {family} {kind}"]
            lines.append(f"{written(name, labels)} {value}")
        return "\n".join(lines) + "\n"


def written(name: str, labels: dict[str, str]) -> str:
    return name + "{" + ",".join(f'{key}="{value}"' for key, value in sorted(labels.items())) + "}"

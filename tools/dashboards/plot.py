"""Who is in the story: the services, their traffic, and the pods that answer it."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field

from dashboards.triton_text import Device, Pod
from seawall.api.units import parse_duration
from seawall.decide.types import Key
from seawall.desired.triton import latency_buckets

SPREAD = 0.33
"""of the latencies' logarithm"""
P99 = math.exp(2.3263 * SPREAD)
"""of the median"""
L4 = (24e9, 72.0)
"""memory and power limit"""


@dataclass(frozen=True)
class Plot:
    """What is fixed about a service."""

    namespace: str
    name: str
    slo: str
    rps: float
    """in its quiet time"""
    carries: float
    """requests per second of one pod, within the SLO"""
    late_from: float = math.inf
    """share of the story after which it is more than twice as slow"""
    price: float = 0.35
    """of a pod and hour"""
    watts: tuple[float, float] = (30.0, 72.0)
    gpu: bool = True
    canary_from: float | None = None
    """share of the story after which a candidate comes"""
    worse: float = 1.0
    """the candidate's p99, against the stable one's"""
    counted: float = 6e6
    """requests of the days before"""
    attained: float = 0.9985
    failing: float = 0.0004


PLOTS = (
    Plot("search", "minilm", "20ms", 900, 300, canary_from=0.66, worse=0.97),
    Plot("vision", "resnet50", "50ms", 240, 90, price=0.7, canary_from=0.8, worse=1.7, attained=0.9955),
    Plot("speech", "asr", "300ms", 40, 9, late_from=0.7, price=1.2, attained=0.9962, failing=0.0008),
    Plot(
        "docs",
        "layout",
        "100ms",
        12,
        25,
        price=0.05,
        watts=(15.0, 60.0),
        gpu=False,
        counted=3e5,
        attained=0.9995,
    ),
)


BUILDS = {
    Key("search", "minilm-int8-4f2ac09d"): 0.55,
    Key("vision", "resnet50-fp16-90cc1e27"): 0.7,
    Key("vision", "resnet50-int8-1b7d55aa"): math.inf,
}
"""share of the story after which it is there"""


def swell(share: float, plot: Plot) -> float:
    """Requests per second at this share of the story: a slow wave, and a steep hour in the middle."""
    wave = 1 + 0.35 * math.sin(2 * math.pi * (share - 0.2))
    steep = 0.9 / (1 + math.exp(-60 * (share - 0.42))) / (1 + math.exp(60 * (share - 0.58)))
    ripple = 0.03 * math.sin(97 * share + plot.rps) + 0.02 * math.sin(611 * share)
    return plot.rps * (wave + steep + ripple)


@dataclass
class Arm:
    """The pods of one revision."""

    plot: Plot
    revision: str
    pods: list[Pod] = field(default_factory=list)
    p99: float = 0.0
    """seconds"""
    born: int = 0

    def resize(self, count: int) -> None:
        del self.pods[count:]
        while len(self.pods) < count:
            self.born += 1
            self.pods.append(self._pod(f"{self.plot.name}-{self.revision}-{self.born}"))

    def _pod(self, name: str) -> Pod:
        edges = tuple(latency_buckets(parse_duration(self.plot.slo)))
        uuid = f"GPU-{zlib.crc32(name.encode()):08x}"
        device = Device(uuid, *L4) if self.plot.gpu else None
        plot = self.plot
        return Pod(plot.namespace, plot.name, self.revision, name, edges, device, below=[0.0] * len(edges))

    def serve(self, rps: float, seconds: float, slower: float) -> float:
        """How many requests were within the SLO."""
        plot, target = self.plot, parse_duration(self.plot.slo)
        load = rps / (plot.carries * max(1, len(self.pods)))
        self.p99 = target * slower * (0.55 + 0.3 * load + 0.12 * load**6)
        median = self.p99 / P99
        for at, pod in enumerate(self.pods):
            mine = rps * seconds / len(self.pods) * (1 + 0.02 * math.sin(at))
            lost = mine * plot.failing
            pod.answered += mine - lost
            pod.failed += lost
            pod.executions += mine / (1 + 3 * load)
            pod.microseconds += mine * median * 1.06e6
            pod.pending = 9 * load**4 * (1 + 0.3 * math.sin(7 * at + pod.answered))
            for edge_at, edge in enumerate(pod.edges):
                pod.below[edge_at] += mine * _below((edge + 1) / 1000, median)
            _draw(pod, plot, load, seconds)
        return rps * seconds * max(0.0, _below(target, median) - plot.failing)


def _below(edge: float, median: float) -> float:
    """Share of the latencies below it, which are lognormal."""
    return 0.5 * (1 + math.erf(math.log(edge / median) / SPREAD / math.sqrt(2)))


def _draw(pod: Pod, plot: Plot, load: float, seconds: float) -> None:
    if pod.device is not None:
        pod.device.utilisation = min(1.0, 0.8 * load)
        pod.device.watts = plot.watts[0] + (plot.watts[1] - plot.watts[0]) * pod.device.utilisation
        pod.device.joules += pod.device.watts * seconds

"""Batches and joules since the last reading, by pod."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from seawall.measure.types import PodSample
from seawall.sizing.calibration import BatchCount, difference

Batches = tuple[BatchCount, ...]


@dataclass(frozen=True, slots=True)
class _Energy:
    at: float
    joules: float
    answered: float


@dataclass(slots=True)
class Meter:
    """The first numbers of a pod are only a base; numbers that fell are a new one."""

    batches: dict[str, tuple[Batches, Batches]] = field(default_factory=dict)
    """pod -> at the last reading, and now"""
    energy: dict[str, tuple[_Energy, _Energy]] = field(default_factory=dict)

    def add(self, pod: PodSample) -> None:
        if pod.batches is not None:
            base, _ = self.batches.get(pod.pod, (pod.batches, ()))
            self.batches[pod.pod] = (base, pod.batches)
        if pod.joules is None or pod.answered is None:
            return
        now = _Energy(pod.at, pod.joules, pod.answered)
        base_energy, last = self.energy.get(pod.pod, (now, now))
        if now.at < last.at:
            return
        fell = now.joules < last.joules or now.answered < last.answered
        self.energy[pod.pod] = (now if fell else base_energy, now)

    def take(self) -> tuple[Mapping[str, Batches], float | None]:
        """What ran by pod, and joules per answered request; the mark moves here."""
        ran = {pod: tuple(difference(base, now)) for pod, (base, now) in self.batches.items()}
        self.batches = {pod: (now, now) for pod, (_, now) in self.batches.items()}
        joules = sum(now.joules - base.joules for base, now in self.energy.values())
        answered = sum(now.answered - base.answered for base, now in self.energy.values())
        self.energy = {pod: (now, now) for pod, (_, now) in self.energy.items()}
        per_request = joules / answered if answered > 0 and joules > 0 else None
        return {pod: batches for pod, batches in ran.items() if batches}, per_request

    def forget(self, pods: Container[str]) -> None:
        self.batches = {name: both for name, both in self.batches.items() if name in pods}
        self.energy = {name: both for name, both in self.energy.items() if name in pods}

"""What is remembered of one revision between two samples; written by window.py, read by reading.py."""

from __future__ import annotations

from dataclasses import dataclass, field

from seawall.measure.dispersion import Dispersion
from seawall.measure.latency import Accrued
from seawall.measure.meter import Meter
from seawall.measure.track import Track
from seawall.measure.types import ArmSample, PodSample


@dataclass(slots=True)
class Kept:
    newest: ArmSample | None = None
    answered_at: float | None = None
    """of the first sample that the source had an answer for"""
    expected: frozenset[str] = frozenset()
    """pods that serve now, as far as is known"""
    since: dict[str, float] = field(default_factory=dict)
    """when each of them was first expected"""
    pods: dict[str, Track] = field(default_factory=dict)
    told: dict[str, PodSample] = field(default_factory=dict)
    """the last believable sample of each"""
    faults: dict[str, str] = field(default_factory=dict)
    """of the newest sample, by pod"""
    gateways: dict[str, Track] = field(default_factory=dict)
    gateway_here: frozenset[str] = frozenset()
    """instances in the newest sample that had any"""
    gateway_since: dict[str, float] = field(default_factory=dict)
    """when each of them was first told"""
    gateway_fault: str = ""
    gateway_busy_at: float | None = None
    of_pods: Accrued = field(default_factory=Accrued)
    of_gateway: Accrued = field(default_factory=Accrued)
    meter: Meter = field(default_factory=Meter)
    dispersion: Dispersion = field(default_factory=Dispersion)

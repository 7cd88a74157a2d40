"""What was sampled of one revision: every server's counters followed through time, with a short memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from seawall.measure import faults
from seawall.measure.kept import Kept
from seawall.measure.latency import Accrued
from seawall.measure.quantile import Floats, true_edges
from seawall.measure.reading import read
from seawall.measure.standing import Standing, standing
from seawall.measure.track import SKEW_SECONDS, Look, Track
from seawall.measure.types import ArmSample, GatewaySample, PodSample, Reading

FORGET_SECONDS = 120.0
"""A server that has left is remembered for longer than the longest window."""


class Series:
    """One revision's samples; `reading` also moves the mark that its counts, batches and joules start at."""

    def __init__(self) -> None:
        self._kept = Kept()
        self._began: float | None = None

    def reading(self, now: float, slo_ms: float) -> Reading:
        reading = read(self._kept, now, slo_ms)
        self._kept.of_pods, self._kept.of_gateway = Accrued(), Accrued()
        return reading

    def standing(self, edge: float) -> Standing:
        return standing(self._kept, edge)

    def forget_gateways(self) -> None:
        """The revision goes by another name there now: what was counted under it was somebody else's."""
        kept = self._kept
        kept.gateways, kept.gateway_here, kept.gateway_since, kept.gateway_fault = {}, frozenset(), {}, ""
        kept.gateway_busy_at, kept.answered_at = None, None

    def add(self, sample: ArmSample) -> Series:
        kept = self._kept
        if kept.newest is not None and sample.at < kept.newest.at - SKEW_SECONDS:
            self._put_back(sample.at)
        self._began = sample.at if self._began is None else self._began
        kept.newest = sample
        if kept.answered_at is None and sample.trouble is None:
            kept.answered_at = sample.at
        if sample.expected or sample.trouble is None:
            kept.expected = sample.expected | {pod.pod for pod in sample.pods}
        kept.since = {name: kept.since.get(name, sample.at) for name in kept.expected}
        kept.faults = faults.pod_faults(sample)
        self._note_arrivals(
            [self._add_pod(pod, sample.at) for pod in sample.pods if pod.pod not in kept.faults]
        )
        kept.gateway_fault = ""
        if sample.gateway is not None:
            self._add_gateway(sample.gateway, sample.at)
        _forget(kept.pods, kept.expected, sample.at)
        _forget(kept.gateways, kept.gateway_here, sample.at)
        kept.told = {name: pod for name, pod in kept.told.items() if name in kept.pods}
        kept.meter.forget(kept.pods)
        return self

    def _put_back(self, at: float) -> None:
        """The clock was: what it calls the future has been, and is held to be of now."""
        kept = self._kept
        kept.since = {name: min(since, at) for name, since in kept.since.items()}
        kept.gateway_since = {name: min(since, at) for name, since in kept.gateway_since.items()}
        self._began, kept.answered_at, kept.gateway_busy_at = (
            min(moment, at) if moment is not None else None
            for moment in (self._began, kept.answered_at, kept.gateway_busy_at)
        )

    def _add_pod(self, pod: PodSample, now: float) -> tuple[float, float] | None:
        """How long since this pod's look before, and the requests since then."""
        self._kept.meter.add(pod)
        track = self._kept.pods.get(pod.pod)
        if track is None or pod.at >= track.last.at:
            self._kept.told[pod.pod] = pod
        before = track.last.at if track is not None else pod.at
        look = _pod_look(pod)
        added = self._follow(self._kept.pods, pod.pod, look, now, self._kept.of_pods)
        return (look.at - before, float(added[0])) if added is not None else None

    def _add_gateway(self, gateway: GatewaySample, now: float) -> None:
        kept = self._kept
        kept.gateway_fault = faults.gateway_fault(gateway, now)
        if kept.gateway_fault:
            return
        parts = faults.gateway_parts(gateway)
        kept.gateway_here = frozenset(part.instance for part in parts)
        kept.gateway_since = {name: kept.gateway_since.get(name, now) for name in kept.gateway_here}
        for part in parts:
            added = self._follow(kept.gateways, part.instance, _gateway_look(part), now, kept.of_gateway)
            if added is not None and added[0] > 0:
                kept.gateway_busy_at = now

    def _follow(
        self, tracks: dict[str, Track], name: str, look: Look, now: float, accrued: Accrued
    ) -> Floats | None:
        track = tracks.get(name)
        if track is None:
            track = tracks[name] = Track.begin(look)
            # What a server counted before anybody looked here may be in the budget already.
            seen_born = track.born is not None and self._began is not None and track.born >= self._began
            added = look.values if seen_born else None
        else:
            added = track.follow(look, now)
        if added is not None:
            accrued.add(added, look.edges)
        return added

    def _note_arrivals(self, steps: Sequence[tuple[float, float] | None]) -> None:
        known = [step for step in steps if step is not None]
        if known and len(known) == len(self._kept.expected):
            seconds = sum(step[0] for step in known) / len(known)
            self._kept.dispersion.add(seconds, sum(step[1] for step in known))
        elif known:
            self._kept.dispersion.interrupt()


def _pod_look(pod: PodSample) -> Look:
    total, failed = (pod.answered or 0.0) + (pod.failed or 0.0), pod.failed or 0.0
    histogram = pod.histogram
    edges = true_edges(histogram.edges_ms, "Triton") if histogram is not None else ()
    counts = histogram.counts if histogram is not None else ()
    return Look(pod.at, np.array([total, failed, 0.0, *counts]), edges, pod.started)


def _gateway_look(part: GatewaySample) -> Look:
    counts = part.histogram.counts
    least = max(counts[-1] if counts else 0.0, part.failed + part.refused)
    total = least if part.ended is None else max(part.ended, least)
    edges = true_edges(part.histogram.edges_ms, "Gateway")
    return Look(part.at, np.array([total, part.failed, part.refused, *counts]), edges)


def _forget(tracks: dict[str, Track], here: Collection[str], now: float) -> None:
    gone = [name for name, track in tracks.items() if track.last.at < now - FORGET_SECONDS]
    for name in gone:
        if name not in here:
            del tracks[name]

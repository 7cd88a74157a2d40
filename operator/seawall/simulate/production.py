"""Seawall's own policy: the operator's decision function, given what the operator would be given."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from seawall.simulate.briefing import Briefing
from seawall.simulate.hpa import SYNC_SECONDS
from seawall.simulate.observe import View
from seawall.sizing.calibration import BatchCount, Calibration, update
from seawall.sizing.law import decide
from seawall.sizing.state import Bounds, Decision, LawSettings, LawState, Signals

CALIBRATE_SECONDS = 60.0


@dataclass
class Seawall:
    """Writes the scale itself, as `scaling.mode: Direct` does."""

    briefing: Briefing
    settings: LawSettings = field(default_factory=LawSettings)
    name: str = "seawall"
    sync: float = SYNC_SECONDS
    last: Decision | None = None
    calibration: Calibration = field(default_factory=Calibration)
    _state: LawState = field(default_factory=LawState)
    _calibrated: float = 0.0

    def replicas(self, view: View) -> int:
        bounds = Bounds(self.briefing.minimum, self.briefing.maximum)
        if view.fresh and view.now - self._calibrated >= CALIBRATE_SECONDS:
            self._calibrated = view.now
            ran = {"all pods": batch_counts(view, CALIBRATE_SECONDS)}
            self.calibration = update(self.calibration, self.briefing.profile, ran)
        margin = max(self.settings.margin, self.calibration.margin)
        self.last, self._state = decide(
            self.briefing.table,
            self.briefing.slo_ms,
            bounds,
            self.signals(view),
            self._state,
            replace(self.settings, margin=margin),
        )
        return self.last.replicas

    def signals(self, view: View) -> Signals:
        fresh = view.fresh
        return Signals(
            now=view.now,
            rate_15s=view.rate(15.0) if fresh else None,
            rate_60s=view.rate(60.0) if fresh else None,
            replicas=view.replicas,
            ready=view.ready,
            p99_ms=view.p99_ms(60.0),
            p99_age_seconds=view.age,
            late_share=view.late_share(60.0) if fresh else None,
            pending=float(view.waiting()) if fresh else None,
            busiest_rps=view.busiest_rps(60.0) if fresh else None,
            service_scale=self.calibration.scale if self.calibration.trusted else None,
            cold_start_seconds=self.briefing.profile.cold_start_seconds,
        )


def batch_counts(view: View, window: float) -> list[BatchCount]:
    """What Triton's batch statistics would have grown by."""
    counts, seconds = view.batches(window)
    return [
        BatchCount(size, int(counts[size]), round(1e9 * float(seconds[size])))
        for size in range(1, len(counts))
        if counts[size] > 0
    ]

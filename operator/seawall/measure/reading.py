"""The last minute of one revision, in numbers that are true or in a sentence about why there are none.

Every number comes from differences of counters divided by the counters' own times. Doubts are gone through
from the worst to the least; the first one found is the trouble.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from seawall.measure import latency
from seawall.measure.kept import Kept
from seawall.measure.latency import FEWEST_REQUESTS, Sums
from seawall.measure.track import Grown, Track
from seawall.measure.types import Counts, Reading, Source, Trouble

FRESH_SECONDS = 30.0
"""Older counters say nothing: two scrapes at Prometheus' usual 15 s."""
SHORT, LONG = 15.0, 60.0
FIRST_WINDOW_SECONDS = 9.0
"""Two looks at 5 s: less is no rate."""
BUSIEST_SECONDS = 45.0
"""What a pod gets is told from so much of it; requests in a shorter time are luck."""
GATEWAY_MISSED_SECONDS = 300.0
"""A gateway that carried the traffic is waited for this long before the servers' own word counts instead."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Servers of one kind: those that are heard, and what those that left did in the window."""

    short: Mapping[str, Grown]
    long: Mapping[str, Grown]
    heard: Collection[str]
    at: float | None

    @staticmethod
    def of(tracks: Mapping[str, Track], here: Collection[str], now: float) -> _Group:
        heard = [name for name in here if name in tracks and _fresh(tracks[name], now)]
        at = max((tracks[name].last.at for name in heard), default=None)
        windows: list[dict[str, Grown]] = []
        for span in (SHORT, LONG):
            found = {name: tracks[name].grown(span) for name in heard}
            if at is not None:
                found |= {name: t.grown(span, at) for name, t in tracks.items() if name not in here}
            windows.append({name: grown for name, grown in found.items() if grown is not None})
        return _Group(windows[0], windows[1], heard, at)

    @property
    def watched(self) -> float:
        """Seconds of the longest window there is."""
        return max((grown.seconds for grown in self.long.values()), default=0.0)

    def rates(self) -> tuple[float, float] | None:
        if self.watched < FIRST_WINDOW_SECONDS:
            return None
        return self._rate(self.short), self._rate(self.long)

    def _rate(self, window: Mapping[str, Grown]) -> float:
        """Servers that came or left in the window were there for none of the rest of it."""
        whole = max(grown.seconds for grown in window.values())
        return sum(float(g.values[0]) / (whole if g.part else g.seconds) for g in window.values())


@dataclass(frozen=True, slots=True)
class _View:
    kept: Kept
    now: float
    pods: _Group
    gateway: _Group
    wrong: Mapping[str, str]
    """pods whose numbers contradict themselves"""
    silent: tuple[str, ...] = field(default=())
    """pods that serve and were not heard"""


def read(kept: Kept, now: float, slo_ms: float) -> Reading:
    view = _look(kept, now)
    source, trouble, message = _verdict(view)
    batches, joules = kept.meter.take()
    known = [at for at in (view.pods.at, view.gateway.at) if at is not None]
    reading = Reading(
        at=max(known, default=now),
        source=source,
        pending=_pending(view),
        busiest_rps=_busiest(view),
        ca2=kept.dispersion.index(),
        counts=_counts(kept, source, slo_ms),
        complete=_complete(view),
        batches=batches,
        joules_per_request=joules,
        trouble=trouble,
        message=message,
    )
    rates = [found for found in (view.pods.rates(), view.gateway.rates()) if found is not None]
    if rates:
        reading = replace(reading, rate_15s=max(r[0] for r in rates), rate_60s=max(r[1] for r in rates))
    if trouble is not None or source is None:
        return reading
    if source == "TritonSummary":
        return _by_summary(reading, view)
    group = view.gateway if source == "Gateway" else view.pods
    return _by_histogram(reading, latency.joined(group.long), slo_ms, source)


def _fresh(track: Track, now: float) -> bool:
    return track.last.at >= now - FRESH_SECONDS


def _look(kept: Kept, now: float) -> _View:
    wrong = {name: phrase for name, phrase in kept.faults.items() if name in kept.expected}
    fresh = [name for name in kept.expected if name in kept.pods and _fresh(kept.pods[name], now)]
    for name in fresh:
        phrase = kept.pods[name].problem
        grown = kept.pods[name].grown(LONG)
        phrase = phrase or (latency.contradiction(grown) if grown is not None else "")
        if phrase:
            wrong.setdefault(name, phrase)
    pods = _Group.of(
        {name: track for name, track in kept.pods.items() if name not in wrong},
        kept.expected,
        now,
    )
    silent = tuple(sorted(name for name in kept.expected - wrong.keys() if name not in pods.long))
    gateway = _Group.of(kept.gateways, kept.gateway_here, now)
    return _View(kept, now, pods, gateway, wrong, silent)


def _verdict(view: _View) -> tuple[Source | None, Trouble | None, str]:
    """Where p99 comes from, or why it does not."""
    gateway = _gateway_verdict(view)
    if gateway is not None:
        return gateway
    kept, pods = view.kept, view.pods
    if kept.newest is None:
        return None, "NotStarted", "Nothing was measured yet."
    if view.wrong:
        name, phrase = min(view.wrong.items())
        more = f" ({len(view.wrong)} pods are wrong.)" if len(view.wrong) > 1 else ""
        return None, "MetricsInvalid", f"Pod {name} {phrase}.{more}"
    if not pods.heard:
        return (None, *_unheard(view))
    if pods.watched < FIRST_WINDOW_SECONDS:
        return None, "NotStarted", "The first seconds are being measured."
    return _pod_verdict(view)


def _gateway_verdict(view: _View) -> tuple[Source | None, Trouble | None, str] | None:
    """None where the pods are to be asked instead."""
    kept, gateway = view.kept, view.gateway
    if kept.gateway_fault:
        return "Gateway", "MetricsInvalid", f"The gateway {kept.gateway_fault}."
    requests = sum(float(grown.values[0]) for grown in gateway.long.values())
    if gateway.rates() is not None:
        of_pods = sum(float(grown.values[0]) for grown in view.pods.long.values())
        if requests > 0:
            return "Gateway", None, ""
        if view.pods.heard and of_pods == 0:
            return "Gateway", "NoTraffic", "No request came through the gateway in the last minute."
        return None
    seconds = view.now - kept.gateway_busy_at if kept.gateway_busy_at is not None else GATEWAY_MISSED_SECONDS
    if not gateway.heard and seconds < GATEWAY_MISSED_SECONDS:
        message = f"The gateway's statistics are missing; they were last heard {seconds:.0f} s ago."
        return "Gateway", "MetricsUnavailable", message
    return None


def _pod_verdict(view: _View) -> tuple[Source | None, Trouble | None, str]:
    kept, pods = view.kept, view.pods
    busy = {name: grown for name, grown in pods.long.items() if grown.values[0] > 0}
    if not busy and view.silent:
        return None, "MetricsUnavailable", f"{_silence(view)} The others had no requests."
    if not pods.long:
        return None, "NotStarted", "The first seconds are being measured."
    told = [kept.told[name] for name in pods.heard if name in kept.told]
    source: Source | None = None
    if any(pod.histogram is not None for pod in told):
        source = "Triton"
    elif any(pod.summary_p99_ms is not None for pod in told):
        source = "TritonSummary"
    if not busy:
        return source, "NoTraffic", "No request came in the last minute."
    if source is None:
        return None, "P99Unavailable", "The servers tell counters and means only, and no gateway was heard."
    blind = sorted(name for name, grown in busy.items() if not grown.edges)
    if source == "Triton" and blind:
        return source, "MetricsInvalid", f"Pod {blind[0]} tells no histogram, unlike the others."
    if source == "TritonSummary":
        mute = [pod.pod for pod in told if pod.pod in busy and pod.summary_p99_ms is None]
        if mute:
            return source, "P99Unavailable", f"Pod {mute[0]} has requests and no p99 of them."
    return source, None, ""


def _unheard(view: _View) -> tuple[Trouble, str]:
    kept = view.kept
    newest = kept.newest
    if newest is not None and newest.trouble is not None:
        return newest.trouble, newest.message
    if not kept.expected:
        return "NotStarted", "No pod serves yet."
    known = [kept.pods[name].last.at for name in kept.expected if name in kept.pods]
    if known:
        age = view.now - max(known)
        return "MetricsStale", f"The newest counters are {age:.0f} s old, or a clock is wrong by that much."
    return "MetricsUnavailable", _silence(view)


def _silence(view: _View) -> str:
    newest = view.kept.newest
    if newest is not None and newest.message:
        return newest.message if newest.message.endswith(".") else f"{newest.message}."
    return f"{len(view.silent)} of {len(view.kept.expected)} pods tell nothing, {view.silent[0]} among them."


def _complete(view: _View) -> bool:
    """A read that failed leaves the numbers of the one before: true, and perhaps too low by now."""
    failed = view.kept.newest is None or view.kept.newest.trouble is not None
    return not failed and not view.silent and not view.wrong and bool(view.kept.expected)


def _pending(view: _View) -> float | None:
    told = [view.kept.told[name].pending for name in view.pods.heard if name in view.kept.told]
    known = [pending for pending in told if pending is not None]
    return sum(known) if known else None


def _busiest(view: _View) -> float | None:
    """None while any of them has not been watched for a whole window: what it gets is not known yet."""
    here = [view.pods.long[name] for name in view.pods.heard if name in view.pods.long]
    if not here or min(grown.seconds for grown in here) < BUSIEST_SECONDS:
        return None
    return max(float(grown.values[0]) / grown.seconds for grown in here)


def _counts(kept: Kept, source: Source | None, slo_ms: float) -> Counts:
    if source == "Gateway":
        return kept.of_gateway.counts(slo_ms, "Gateway")
    return kept.of_pods.counts(slo_ms, "Triton")


def _by_summary(reading: Reading, view: _View) -> Reading:
    """The slowest pod's own p99; how many requests were late, no summary tells."""
    sums = latency.joined(view.pods.long)
    reading = replace(reading, approximate=True)
    if sums.total < FEWEST_REQUESTS:
        return replace(reading, trouble="NotEnoughRequests", message=_too_few(sums.total))
    told = [view.kept.told[name].summary_p99_ms for name in view.pods.heard if name in view.kept.told]
    slowest = max(p99 for p99 in told if p99 is not None)
    message = "The p99 is the slowest pod's own; this server cannot tell how many requests were late."
    return replace(reading, p99_ms=slowest, message=message)


def _by_histogram(reading: Reading, sums: Sums, slo_ms: float, source: Source) -> Reading:
    good = sums.good(slo_ms, source)
    message = ""
    if good is None:
        message = f"No bucket's edge lies at or below {slo_ms:g} ms, so no request can be called good."
    elif not good.exact:
        message = (
            f"The servers have no exact bucket at {slo_ms:g} ms: "
            f"requests faster than {good.edge_ms:g} ms are counted as good."
        )
    reading = replace(reading, approximate=good is None or not good.exact, message=message)
    if good is not None and sums.asked >= FEWEST_REQUESTS:
        reading = replace(reading, late_share=1 - good.count / sums.asked)
    p99 = sums.p99() if sums.answered >= FEWEST_REQUESTS else None
    if p99 is None:
        lost = f"; {sums.removed:.0f} of {sums.total:.0f} failed or were refused" if sums.removed > 0 else ""
        return replace(reading, trouble="NotEnoughRequests", message=_too_few(sums.answered, lost))
    return replace(reading, p99_ms=p99.ms, p99_low_ms=p99.low_ms, p99_high_ms=p99.high_ms)


def _too_few(requests: float, lost: str = "") -> str:
    return (
        f"A p99 needs {FEWEST_REQUESTS} answered requests in a minute, and {requests:.0f} were counted{lost}."
    )

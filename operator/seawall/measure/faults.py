"""What makes a sample unbelievable. Better no data than a number that somebody acts on."""

from __future__ import annotations

import math
from collections import Counter

from seawall.measure import quantile
from seawall.measure.track import SKEW_SECONDS
from seawall.measure.types import ArmSample, GatewaySample, PodSample


def pod_faults(sample: ArmSample) -> dict[str, str]:
    """Pod -> why its numbers are not used, as a phrase that follows its name."""
    told = Counter(pod.pod for pod in sample.pods)
    faults = {name: "is told twice" for name, times in told.items() if times > 1}
    for pod in sample.pods:
        phrase = pod.problem or _pod_fault(pod, sample.at)
        if phrase:
            faults.setdefault(pod.pod, phrase)
    return faults


def gateway_parts(gateway: GatewaySample) -> tuple[GatewaySample, ...]:
    return gateway.parts or (gateway,)


def gateway_fault(gateway: GatewaySample, now: float) -> str:
    """Why the gateway's numbers are not used, as a phrase that follows its name; empty if they are."""
    if gateway.problem:
        return gateway.problem
    parts = gateway_parts(gateway)
    if len({part.instance for part in parts}) < len(parts):
        return "is told twice"
    for part in parts:
        numbers = (part.failed, part.refused, part.ended if part.ended is not None else 0.0)
        phrase = _time_fault(part.at, now) or _numbers_fault(numbers)
        if not phrase and part.histogram.edges_ms:
            phrase = quantile.fault(part.histogram)
        if phrase:
            return phrase
    return ""


def _pod_fault(pod: PodSample, now: float) -> str:
    if pod.answered is None or pod.failed is None:
        return "tells no counters of the model"
    optional = (pod.pending, pod.summary_p99_ms, pod.joules)
    numbers = (pod.answered, pod.failed, *(number for number in optional if number is not None))
    phrase = _time_fault(pod.at, now) or _numbers_fault(numbers)
    if not phrase and pod.histogram is not None:
        phrase = quantile.fault(pod.histogram)
    return phrase


def _time_fault(at: float, now: float) -> str:
    if not math.isfinite(at):
        return "tells numbers without their time"
    if at > now + SKEW_SECONDS:
        return f"tells numbers that are {at - now:.0f} s ahead of this clock"
    return ""


def _numbers_fault(numbers: tuple[float, ...]) -> str:
    for number in numbers:
        if not math.isfinite(number) or number < 0:
            return f"tells {number:g} where a number of requests belongs"
    return ""

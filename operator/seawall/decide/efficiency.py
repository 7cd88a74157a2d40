"""What a thousand requests cost in money and in energy."""

from __future__ import annotations

from seawall.decide.arms import Arm
from seawall.sizing.profile import PodProfile


def cost_per_1k(arm: Arm) -> float | None:
    """Of all pods there are, at the last minute's rate; None without a price or without requests."""
    rate = arm.reading.rate_60s if arm.reading is not None else None
    if arm.price_per_hour is None or not rate or rate <= 0:
        return None
    return 1000 * arm.price_per_hour * arm.replicas / 3600 / rate


def joules_per_1k(
    arm: Arm, request_seconds: float | None, profile: PodProfile | None
) -> tuple[float | None, bool]:
    """(per thousand requests, estimated): by the meter of devices that nobody shares, or by what the class
    says of idle and peak and the share of time that the pods were busy.

    `request_seconds`: of an instance, per request, as last measured.
    """
    reading = arm.reading
    if reading is None:
        return None, False
    if arm.owns_device and reading.joules_per_request is not None:
        return 1000 * reading.joules_per_request, False
    rate, seconds = reading.rate_60s, request_seconds
    if seconds is None and profile is not None:
        seconds = profile.service_time(1) / 1000
    if arm.idle_watts is None or arm.peak_watts is None or not rate or not arm.ready or seconds is None:
        return None, False
    busy = min(1.0, rate * seconds / (arm.ready * arm.instances))
    watts = arm.ready * (arm.idle_watts + (arm.peak_watts - arm.idle_watts) * busy)
    return 1000 * watts / rate, True

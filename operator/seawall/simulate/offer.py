"""A profile file, whole: how the pod serves, and what it costs in money and power where the file says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seawall.sizing.profile import PodProfile, ProfileError


@dataclass(frozen=True)
class Offer:
    """One way to serve the model: an accelerator with a preset, measured."""

    name: str
    profile: PodProfile
    price_per_hour: float | None = None
    idle_watts: float | None = None
    peak_watts: float | None = None


def read_offer(path: Path) -> Offer:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ProfileError(f"{path.name}: cannot be read as JSON: {problem}") from None
    try:
        profile = PodProfile.parse(document)
        power = document.get("power")
        if power is not None and not isinstance(power, Mapping):
            raise ProfileError("power is not an object with idleWatts and peakWatts")
        idle, peak = (_amount(power or {}, name) for name in ("idleWatts", "peakWatts"))
        if (idle is None) != (peak is None):
            raise ProfileError("power needs both idleWatts and peakWatts")
        if idle is not None and peak is not None and idle > peak:
            raise ProfileError(f"idleWatts {idle:g} is greater than peakWatts {peak:g}")
        price = _amount(document, "pricePerHour")
    except ProfileError as problem:
        raise ProfileError(f"{path.name}: {problem}") from None
    labels = [document.get(key) for key in ("accelerator", "preset")]
    name = " ".join(label for label in labels if isinstance(label, str) and label)
    return Offer(name or path.stem, profile, price, idle, peak)


def _amount(document: Mapping[str, Any], name: str) -> float | None:
    value = document.get(name)
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:
        raise ProfileError(f"{name} is {value!r}, not a number of at least 0")
    return float(value)

"""Joules per thousand requests: from what a device draws and how long it is held, or from its own sensor.

An estimate takes a device's power as rising in a straight line with how much it is in use, from idle to peak
(L. A. Barroso and U. Hölzle, "The Case for Energy-Proportional Computing", IEEE Computer 40 (2007) 33). A
device that serves nothing else draws its idle power for as long as it is held, so that an unused share of it
is paid for by the requests that do come.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

from seawall.optimize.types import Profile, Refused, Target

SAMPLE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Energy:
    joules_per_1k: float
    watts: float
    """mean power while it served"""
    batch: int
    estimated: bool
    """True: from the watts of the accelerator class; False: sampled from the device"""


def estimated(profile: Profile, target: Target, utilisation: float = 1.0) -> Energy | None:
    """At the batch size that costs least, with the device in use for this share of the time."""
    if not 0 < utilisation <= 1:
        raise ValueError(f"a utilisation of {utilisation} is none")
    # In full use, what it draws when idle plays no part.
    idle = target.peak_watts if target.idle_watts is None and utilisation == 1.0 else target.idle_watts
    if idle is None or target.peak_watts is None or not profile.batches:
        return None
    best = min(profile.batches, key=lambda timing: timing.mean_ms / timing.size)
    watts = idle + (target.peak_watts - idle) * utilisation
    per_request = best.mean_ms / 1000 / best.size / profile.instances / utilisation
    return Energy(watts * per_request * 1000, watts, best.size, estimated=True)


def measured(samples: Sequence[tuple[float, float]], requests: int, batch: int) -> Energy:
    """From (seconds, watts): the trapezoids between samples, over what was answered meanwhile."""
    if len(samples) < 2 or requests < 1:
        raise ValueError("energy needs two samples of power and one request")
    joules = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(samples))
    watts = joules / (samples[-1][0] - samples[0][0])
    return Energy(joules / requests * 1000, watts, batch, estimated=False)


class PowerMeter:
    """Samples the device's power in a thread while the block runs; `samples` holds (seconds, watts)."""

    def __init__(self, read: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        self.samples: list[tuple[float, float]] = []
        self._read, self._clock = read, clock
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def _take(self) -> None:
        self.samples.append((self._clock(), self._read()))

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            self._take()

    def __enter__(self) -> Self:
        self._take()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._take()


def nvml_power(index: int = 0) -> Callable[[], float]:
    """Reads the GPU's sensor through NVML, in watts. Raises Refused where there is no GPU."""
    try:
        import pynvml  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
    except ImportError as error:
        raise Refused("ProfileFailed", "reading a GPU's power needs nvidia-ml-py") from error
    library: Any = pynvml
    try:
        library.nvmlInit()
        handle = library.nvmlDeviceGetHandleByIndex(index)
    except library.NVMLError as error:
        raise Refused("ProfileFailed", f"there is no NVIDIA GPU here: {error}") from error

    def read() -> float:
        return float(library.nvmlDeviceGetPowerUsage(handle)) / 1000

    return read

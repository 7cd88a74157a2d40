"""Turns a trace into arrivals, slice by slice, the same for every policy that is given the same seed."""

from __future__ import annotations

import math

import numpy as np

from seawall.simulate import kernel
from seawall.simulate.fleet import random_words
from seawall.simulate.kernel import Floats
from seawall.simulate.traces import Trace


class Arrivals:
    def __init__(self, trace: Trace, seed: int) -> None:
        self.trace = trace
        self._words = random_words(seed, 0)
        self._out = np.empty(1024)
        self._position = 0

    def between(self, start: float, end: float) -> Floats:
        """Arrival times in [start, end); to be asked in order, without gaps. Valid until the next call."""
        times = self.trace.times
        if times is not None:
            first, self._position = self._position, int(np.searchsorted(times, end, side="left"))
            return times[first : self._position]
        step = self.trace.step
        steps = self.trace.rates[int(start / step) : math.ceil(end / step) + 1]
        expected = float(steps.max(initial=0.0)) * (end - start)
        self._reserve(int(expected + 12 * math.sqrt(expected) + 64))
        count = kernel.poisson(self._words, self.trace.rates, step, start, end, self._out)
        if count == len(self._out):
            raise RuntimeError("more arrivals in one slice than a Poisson process could make")
        return self._out[:count]

    def _reserve(self, count: int) -> None:
        if len(self._out) <= count:
            self._out = np.empty(2 * count)

"""Made-up demands of six hours, one CSV each, for `seawall simulate --period 60`: bench/families.py DIR"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MINUTES = 360
PER_MINUTE = 36_000
FLASHES = ((80, 1.2), (170, 2.0), (290, 0.8))
"""Minute and height, over a level of 1; four minutes up, then down with a time constant of twelve."""


def noise(seed: int, deviation: float) -> Floats:
    return np.exp(np.random.default_rng(seed).normal(0, deviation, MINUTES))


def families() -> dict[str, Floats]:
    at = np.arange(MINUTES)
    day = 1 - 0.7 * np.cos(2 * np.pi * at / MINUTES)
    flash = noise(5, 0.05)
    for start, height in FLASHES:
        shape = np.minimum((at - start + 1) / 4, 1) * np.exp(-np.maximum(at - start - 4, 0) / 12)
        flash = flash + height * np.where(at >= start, shape, 0)
    walk = np.exp(np.cumsum(np.random.default_rng(6).normal(0, 0.04, MINUTES)))
    return {
        "diurnal": day * noise(1, 0.05),
        "diurnal-noisy": day * noise(2, 0.12),
        "ramp": np.interp(at, [0, 60, 180, 240, 360], [0.4, 0.4, 1.8, 1.8, 0.4]) * noise(3, 0.04),
        "steps": np.select([at < 70, at < 150, at < 200, at < 290], [0.5, 1.2, 0.8, 1.8], 0.6)
        * noise(4, 0.04),
        "flash": flash,
        "walk": walk * noise(7, 0.03),
    }


def main() -> int:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, rates in families().items():
        counts = np.rint(rates / rates.mean() * PER_MINUTE).astype(int)
        lines = ["period,count", *(f"{minute},{count}" for minute, count in enumerate(counts))]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

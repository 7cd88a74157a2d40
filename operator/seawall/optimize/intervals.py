"""The few formulas behind the intervals, each with its source."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from seawall.optimize.types import AccuracyDrop, Array

Z = 1.959963984540054
"""two-sided 95 %"""


def wilson(successes: int, count: int) -> tuple[float, float]:
    """Score interval of a proportion: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209."""
    share = successes / count
    spread = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    centre, scale = share + Z**2 / (2 * count), 1 + Z**2 / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def students_t(freedom: int) -> float:
    """97.5 % quantile, by Fisher's expansion: Abramowitz and Stegun 26.7.5; within 0.002 from 7 on."""
    z, n = Z, freedom
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / n + second / n**2 + third / n**3


def mean_interval(values: Array) -> tuple[float, float]:
    """Student's t interval of a mean; the values need not be normal, their mean nearly is."""
    count = len(values)
    if count < 2:
        return -math.inf, math.inf
    spread = students_t(count - 1) * float(np.std(values, ddof=1)) / math.sqrt(count)
    mean = float(np.mean(values))
    return mean - spread, mean + spread


def paired_drop(original_right: Array, result_right: Array) -> AccuracyDrop:
    """Difference of matched proportions, in points of percent.

    Adjusted Wald interval, half an observation added to each of the four cells: A. Agresti and Y. Min,
    Statistics in Medicine 24 (2005) 729.
    """
    count = len(original_right)
    lost = int(np.sum(original_right & ~result_right))
    won = int(np.sum(~original_right & result_right))
    n, b, c = count + 2, lost + 0.5, won + 0.5
    centre = (b - c) / n
    spread = Z * math.sqrt((b + c) - (b - c) ** 2 / n) / n
    return AccuracyDrop(
        original=100.0 * float(np.mean(original_right)),
        compressed=100.0 * float(np.mean(result_right)),
        drop=100.0 * (lost - won) / count,
        low=100.0 * (centre - spread),
        high=100.0 * (centre + spread),
    )


def median_interval(ordered: Sequence[float]) -> tuple[float, float]:
    """Order statistics that hold the median at 95 %, by the normal form of the binomial.

    W. J. Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2.
    """
    count = len(ordered)
    reach = Z * math.sqrt(count) / 2
    first = max(0, math.floor(count / 2 - reach) - 1)
    last = min(count - 1, math.ceil(count / 2 + reach))
    return ordered[first], ordered[last]

"""Numbers as the status spells them: rounded, so that noise writes nothing, and never with an exponent."""

from __future__ import annotations

import math
from decimal import Decimal

MOST = 1e12
"""What is beyond is no measurement."""


def milliseconds(value: float | None) -> str | None:
    """Whole milliseconds; `<1ms` below the first."""
    if value is None or not 0 <= value < MOST:
        return None
    return f"{round(value)}ms" if value >= 0.5 else "<1ms"


def percent(share: float | None, digits: int = 2) -> str | None:
    """Rounded down: 100 % says that nothing was missed."""
    if share is None or not abs(share) < MOST:
        return None
    scale = 10**digits
    floored = math.floor(share * 100 * scale + 1e-7) / scale
    return f"{max(floored, -999.0):.{digits}f}%" if digits else f"{max(floored, -999.0):.0f}%"


def significant(value: float | None, digits: int = 3) -> str | None:
    """Three digits and no exponent."""
    if value is None or not abs(value) < MOST:
        return None
    if value == 0:
        return "0"
    rounded = round(value, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{Decimal(repr(rounded)).normalize():f}"


def hundredths(value: float | None) -> str | None:
    return None if value is None or not abs(value) < MOST else f"{value:.2f}"

"""Durations and quantities as users spell them, turned into numbers. Nothing here guesses a missing unit."""

from __future__ import annotations

import re
from decimal import Decimal

SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SUFFIXES = {
    "": Decimal(1),
    **{s: Decimal(1000) ** n for n, s in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{s: Decimal(1024) ** n for n, s in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
    "m": Decimal("0.001"),
    "u": Decimal("0.000001"),
    "n": Decimal("0.000000001"),
}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h|d)")
_QUANTITY = re.compile(
    r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]{1,3}))?"
)


def parse_duration(text: str) -> float:
    """Seconds: `20ms` is 0.02. One number, one unit: us, ms, s, m, h or d."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration: a number and a unit are needed, such as 20ms or 1.5s")
    return float(match[1]) * SECONDS[match[2]]


def parse_quantity(text: str | int) -> Decimal:
    """A Kubernetes quantity, exactly: `64Mi` is 67108864, `500m` is 0.5."""
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise ValueError(
            f"{text!r} is not a quantity: a number is needed, with a suffix such as Mi or G if any"
        )
    if match[3] is not None:
        return Decimal(match[1]).scaleb(int(match[3]))
    return Decimal(match[1]) * SUFFIXES[match[2] or ""]

"""NGC releases of Triton (YY.MM), and which release first knew a flag or a configuration field."""

from __future__ import annotations

HISTOGRAMS = "26.01"
"""First-response latency histograms for ordinary (not decoupled) models."""
RESTRICTED_APIS = "24.01"
"""HTTP learnt it at the end of 2023, gRPC before."""
MODEL_METRICS = "24.11"
HTTP_MAX_INPUT_SIZE = "25.06"
ALLOW_CLIENT_SHM = "26.04"

CONFIG_FIELDS = {"model_metrics": MODEL_METRICS}
"""Top-level ModelConfig fields that an older server refuses the whole model for."""


def release(text: str) -> tuple[int, int]:
    """`26.06` as numbers that compare."""
    year, dot, month = text.partition(".")
    if not dot or not year.isdecimal() or not month.isdecimal():
        raise ValueError(f"{text!r} is not an NGC release such as 26.06")
    return int(year), int(month)


def at_least(version: str, minimum: str) -> bool:
    return release(version) >= release(minimum)

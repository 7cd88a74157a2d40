"""How the page of one service asks: its labels, the revision that serves, the servers' counters."""

from __future__ import annotations

from dashboards.parts import THE_REVISION

NAMED = 'namespace="$namespace",inferenceservice="$inferenceservice"'
SERVER = f'{NAMED},model="$inferenceservice"'
"""A model in stages has series of each stage; the service's own model has its name."""
SPAN = "[$__rate_interval]"
REVISION = "{{revision}}"


def of(metric: str, by: str = "revision") -> str:
    return f"max by ({by}) ({metric}{{{NAMED}}})"


def stable(metric: str) -> str:
    """Of the revision that serves: the target is told under its name."""
    return f"max({metric}{{{NAMED}}} and on ({THE_REVISION}) seawall_slo_target_seconds{{{NAMED}}})"


def served(counter: str, by: str = "revision", more: str = "") -> str:
    return f"sum by ({by}) (rate({counter}{{{SERVER}{more}}}{SPAN}))"


def each_request(what: str) -> str:
    """Mean seconds of a request in one of Triton's stages."""
    return (
        f"sum(rate(nv_inference_{what}_duration_us{{{SERVER}}}{SPAN}))"
        f" / sum(rate(nv_inference_request_success{{{SERVER}}}{SPAN})) / 1e6"
    )

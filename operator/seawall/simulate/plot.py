"""The course of one run per policy as a picture: rate, replicas, p99, violated minutes. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

from seawall.simulate.study import PolicyResult, StudyResult

COLOURS = ("#0b6e99", "#c2571a", "#3a7d44", "#7a4b94", "#a61b1b", "#8a7a00", "#444444")


def draw(study: StudyResult, path: Path) -> None:
    """The first seed of each policy. The file's suffix decides the format."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - the backend must be chosen first
    from matplotlib import ticker  # noqa: PLC0415

    figure, (rate, pods, latency) = plt.subplots(
        3, 1, sharex=True, figsize=(12, 9), height_ratios=(2, 3, 3), constrained_layout=True
    )
    results = list(study.policies.values())
    course = results[0].first.course
    rate.plot(course.times / 60, course.rate, color="#444444", linewidth=1)
    rate.set_ylabel("requests/s")
    rate.set_title(f"{study.order.trace.name}, p99 at most {study.order.slo_ms:g} ms")
    for number, result in enumerate(results):
        course, colour = result.first.course, COLOURS[number % len(COLOURS)]
        pods.step(course.times / 60, course.replicas, where="post", color=colour, label=_label(result))
        latency.plot(course.times / 60, course.p99_ms, color=colour, linewidth=1)
        latency.plot(
            np.asarray(course.violating, dtype=float),
            np.full(len(course.violating), _strip(results, study.order.slo_ms, number)),
            linestyle="none", marker="|", markersize=6, color=colour,
        )  # fmt: skip
    pods.set_ylabel("replicas")
    pods.yaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    pods.legend(loc="upper left", fontsize="small")
    latency.axhline(study.order.slo_ms, color="black", linewidth=0.8, linestyle="--")
    latency.set_yscale("log")
    latency.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    latency.yaxis.set_minor_formatter(ticker.StrMethodFormatter("{x:g}"))
    latency.set_ylabel("p99 of the minute, ms\n(marks: violated minutes)")
    latency.set_xlabel("minutes")
    figure.savefig(path)
    plt.close(figure)


def _label(result: PolicyResult) -> str:
    run = result.first
    return f"{result.name}: {100 * run.attainment:.2f} %, {run.replica_hours:.1f} h"


def _strip(results: Sequence[PolicyResult], slo_ms: float, number: int) -> float:
    """Height of a policy's marks: one line each, beneath everything."""
    lowest = min(
        (
            float(np.nanmin(r.first.course.p99_ms))
            for r in results
            if np.isfinite(r.first.course.p99_ms).any()
        ),
        default=slo_ms,
    )
    return float(lowest * 0.9 ** (number + 1))

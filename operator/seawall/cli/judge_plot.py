"""A replayed rollout as a picture: both arms' rates, and the evidence against its thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from seawall.canary.judge import Settings
from seawall.canary.replay import Look, Report
from seawall.canary.window import Metric

COLOURS: dict[Metric, str] = {"latency": "#0b6e99", "errors": "#a61b1b", "disagreement": "#7a4b94"}
FURTHER = ("#2e7d32", "#c77700", "#5d4037", "#00838f", "#ad1457")
SHOWN_FLOOR = -8.0
"""Evidence far below 0 says only that the other side is right; it would squeeze the rest."""


def draw(reports: Sequence[tuple[str, Report]], settings: Settings, path: Path) -> None:
    """One row for each file. The path's suffix decides the format."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - the backend must be chosen first

    count = len(reports)
    figure, axes = plt.subplots(count, 2, squeeze=False, figsize=(14, 4.5 * count), constrained_layout=True)
    for row, (name, report) in zip(axes, reports, strict=True):
        _rates(row[0], name, report)
        _evidence(row[1], report, settings)
    figure.savefig(path)
    plt.close(figure)


def _minutes(looks: Sequence[Look]) -> np.ndarray[Any, Any]:
    return (np.asarray([look.end for look in looks]) - looks[0].end) / 60 if looks else np.zeros(0)


def _colours(report: Report) -> dict[Metric, str]:
    further = (metric for metric in report.needed if metric not in COLOURS)
    return COLOURS | dict(zip(further, cycle(FURTHER), strict=False))


def _rates(axes: Any, name: str, report: Report) -> None:
    minutes = _minutes(report.looks)
    for metric, colour in _colours(report).items():
        for arm, style in (("stable", "--"), ("candidate", "-")):
            counts = [getattr(look, arm).seen(metric) for look in report.looks]
            rates = [100 * bad / total if total else math.nan for bad, total in counts]
            if any(rate > 0 for rate in rates):
                axes.plot(
                    minutes, rates, style, color=colour, linewidth=1,
                    label=f"{'slow' if metric == 'latency' else metric}, {arm}",
                )  # fmt: skip
    axes.set_title(f"{name}: {report.verdict}")
    axes.set_ylabel("% of requests in the window")
    axes.set_xlabel("minutes")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", fontsize="small")


def _evidence(axes: Any, report: Report, settings: Settings) -> None:
    minutes = _minutes(report.looks)
    for metric in report.needed:
        for field, style, label in (("rollback", "-", "worse"), ("promote", ":", "sound")):
            values = [getattr(look.metrics[metric], field) for look in report.looks]
            axes.plot(
                minutes, np.maximum(values, SHOWN_FLOOR), style, color=_colours(report)[metric],
                label=f"{metric}: {label}",
            )  # fmt: skip
    for level, text in (
        (-math.log(settings.alpha), f"roll back, ln 1/{settings.alpha:g}"),
        (-math.log(settings.beta), f"promote when every dotted line is above, ln 1/{settings.beta:g}"),
    ):
        axes.axhline(level, color="black", linewidth=0.8, linestyle="--")
        axes.annotate(text, (0, level), textcoords="offset points", xytext=(2, 3), fontsize="small")
    axes.set_ylabel("evidence, ln E")
    axes.set_xlabel("minutes")
    axes.legend(loc="lower left", fontsize="small")

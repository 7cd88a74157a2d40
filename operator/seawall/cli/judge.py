"""`seawall judge`: recorded canary windows through the very analysis that the operator runs."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seawall.api.units import parse_duration

if TYPE_CHECKING:
    from seawall.canary.judge import Settings
    from seawall.canary.replay import Look, Report
    from seawall.canary.window import Metric, Window

EPILOG = """\
examples:
  seawall judge rollout.jsonl
  seawall judge monday.jsonl tuesday.jsonl --json --plot evidence.png
  seawall judge rollout.jsonl --alpha 0.001 --floor errors=0.01 --slo 200ms

One window a line:
  {"windowEnd": 1800000015,
   "stable": {"requests": 675, "slow": 6, "errors": 0, "compared": 0, "disagreements": 0, "readyPods": 9},
   "candidate": {"requests": 75, "slow": 1, "errors": 0, "readyPods": 1}}
slow counts requests above the SLO; compared, disagreements and readyPods may be left out. With --slo an arm
may have "buckets": {"0.1": 600, "0.25": 670} instead, cumulative counts by upper edge in seconds.
Further metrics, as of spec.rollout.analysis.templates: "metrics": {"fallbacks": {"bad": 2, "total": 675}} in
each arm; their floor is 0.01, their ratios are 1.25 and 2.

exit codes: 0 every file: Promote; 1 Rollback, Inconclusive or NoData; 2 bad usage or unreadable input
"""
NAMES: dict[Metric, str] = {"latency": "slow", "errors": "errors", "disagreement": "disagree"}


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "judge",
        help="replay recorded canary windows: the evidence of each, and the verdict",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", nargs="+", metavar="FILE", help="JSON lines; - reads standard input")
    parser.add_argument(
        "--alpha", type=_share, default=0.01, metavar="P",
        help="most probable false rollback (default: 0.01)",
    )  # fmt: skip
    parser.add_argument(
        "--beta", type=_share, default=0.05, metavar="P",
        help="most probable promotion of a bad candidate (default: 0.05)",
    )  # fmt: skip
    for option, meaning, example in (
        ("--floor", "share of bad requests that is no fault", "errors=0.01"),
        ("--ratio-ok", "times the stable arm's share that is sound", "latency=1.25"),
        ("--ratio-bad", "times the stable arm's share that is bad", "latency=2"),
    ):
        parser.add_argument(
            option, type=_assigned, action="append", default=[], metavar="METRIC=N",
            help=f"{meaning}, such as {example}",
        )  # fmt: skip
    parser.add_argument(
        "--slo", type=_duration, metavar="TIME", help="counts slow requests from buckets, such as 200ms"
    )
    parser.add_argument(
        "--warmup-windows", type=_natural, default=0, metavar="N",
        help="the candidate's first windows, whose latency does not count (default: 0)",
    )  # fmt: skip
    parser.add_argument(
        "--max-windows", type=_positive, default=480, metavar="N",
        help="Inconclusive after so many with requests to the candidate (default: 480)",
    )  # fmt: skip
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="picture of rates and evidence (.png, .svg)"
    )
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    try:
        files = [(name, _windows(name, args.slo)) for name in args.file]
        settings = _settings(args, {metric for _, windows in files for metric in _further(windows)})
        reports = [(name, _judged(windows, settings)) for name, windows in files]
        if args.plot is not None:
            _plot(reports, settings, args.plot)
    except (ValueError, OSError) as problem:
        print(f"seawall judge: {problem}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps([_as_json(name, report) for name, report in reports], indent=2, allow_nan=False))
    else:
        for name, report in reports:
            _show(name, report, settings)
    return 0 if all(report.verdict == "Promote" for _, report in reports) else 1


def _settings(args: argparse.Namespace, further: set[Metric]) -> Settings:
    from dataclasses import replace  # noqa: PLC0415

    from seawall.canary.judge import Settings  # noqa: PLC0415
    from seawall.canary.templates import dealt, rule_of  # noqa: PLC0415

    settings = Settings(
        alpha=args.alpha, beta=args.beta, warmup_windows=args.warmup_windows, max_windows=args.max_windows
    )
    rules = {rule.metric: rule for rule in (*settings.rules, *(rule_of(name) for name in sorted(further)))}
    for option, field in (("floor", "floor"), ("ratio_ok", "ratio_ok"), ("ratio_bad", "ratio_bad")):
        for metric, value in getattr(args, option):
            if metric not in rules:
                raise ValueError(f"no metric is called {metric!r}; there are {', '.join(rules)}")
            rules[metric] = replace(rules[metric], **{field: value})
    for rule in rules.values():
        if not 0 < rule.floor < 0.5:
            raise ValueError(f"--floor {rule.metric}={rule.floor:g}: a share between 0 and 0.5 is needed")
        if not 1 <= rule.ratio_ok < rule.ratio_bad:
            raise ValueError(
                f"{rule.metric}: --ratio-ok {rule.ratio_ok:g} must be at least 1"
                f" and below --ratio-bad {rule.ratio_bad:g}"
            )
    return replace(settings, rules=dealt(rules.values()) if further else tuple(rules.values()))


def _further(windows: Sequence[Window]) -> set[Metric]:
    return {metric for window in windows for metric in window.stable.further}


def _judged(windows: Sequence[Window], settings: Settings) -> Report:
    """By the built-in metrics and by the further ones that this very file has."""
    from dataclasses import replace  # noqa: PLC0415

    from seawall.canary.replay import replay  # noqa: PLC0415
    from seawall.canary.templates import dealt  # noqa: PLC0415
    from seawall.canary.window import BUILT_IN  # noqa: PLC0415

    told = {*BUILT_IN, *_further(windows)}
    used = tuple(rule for rule in settings.rules if rule.metric in told)
    if len(used) < len(settings.rules):
        settings = replace(settings, rules=dealt(used))
    return replay(windows, settings)


def _windows(name: str, slo: float | None) -> list[Window]:
    from seawall.canary.record import Unreadable, read  # noqa: PLC0415

    try:
        # Read to its end before it is judged: a fault after the verdict is a fault of the file all the same.
        if name == "-":
            return list(read(sys.stdin, slo))
        with Path(name).open(encoding="utf-8") as lines:
            return list(read(lines, slo))
    except Unreadable as problem:
        raise ValueError(f"{name}: {problem}") from None
    except UnicodeDecodeError as problem:
        raise ValueError(f"{name}: not UTF-8: {problem.reason} at byte {problem.start}") from None


def _plot(reports: Sequence[tuple[str, Report]], settings: Settings, path: Path) -> None:
    try:
        from seawall.cli.judge_plot import draw  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise ValueError(f"--plot needs {missing.name}; install seawall[simulate]") from None
    draw(reports, settings, path)


def _as_json(name: str, report: Report) -> dict[str, Any]:
    last = report.looks[-1] if report.looks else None
    metrics = {
        metric: {
            "logERollback": _figure(last.metrics[metric].rollback if last else 0.0),
            "logEPass": _figure(last.metrics[metric].promote if last else 0.0),
            "ratio": _figure(report.ratios[metric]),
            "designEffect": _figure(last.metrics[metric].effect if last else 1.0),
        }
        for metric in report.needed
    }
    return {
        "file": name,
        "verdict": report.verdict,
        "windows": report.windows,
        "candidateRequests": _figure(report.candidate_requests),
        "seconds": _figure(report.seconds),
        "metrics": metrics,
        "designEffect": metrics["latency"]["designEffect"],
        "notes": _notes(report),
    }


def _figure(value: float | None) -> float | int | None:
    if value is None or not math.isfinite(value):
        return None
    return int(value) if value == int(value) else round(value, 4)


def _notes(report: Report) -> list[str]:
    last = report.looks[-1] if report.looks else None
    mismatched = sum(look.mismatched for look in report.looks)
    notes = []
    if report.windows and not report.effect_known:
        notes.append(
            "too few windows to estimate how far requests cling together; a cautious value is assumed"
        )
    if mismatched:
        notes.append(
            f"LoadMismatch: the latency of {mismatched} windows does not count; pods bore unlike load"
        )
    breaching = [metric for metric in report.needed if last and last.metrics[metric].breaching]
    if breaching:
        notes.append(f"StableBreaching: the stable arm is above the floor itself in {', '.join(breaching)}")
    if report.repeated:
        notes.append(f"{report.repeated} windows were repeated or out of order, and are counted once")
    return notes


def _show(name: str, report: Report, settings: Settings) -> None:
    metrics = report.needed
    print(f"{name}: roll back at {-math.log(settings.alpha):.2f}, promote at {-math.log(settings.beta):.2f}")
    if report.looks:
        heads = "".join(
            f" | {NAMES.get(metric, metric)[:8]:>8} {'stable':>6} {'worse':>7} {'sound':>7}"
            for metric in metrics
        )
        print(f"{'window end':>12} {'requests':>8}{heads}")
    for look in report.looks:
        print(_row(look, metrics))
    amounts = f"{report.candidate_requests:g} candidate requests, {report.windows} windows"
    print(f"{report.verdict} after {amounts}, {report.seconds:g} s")
    for metric in metrics:
        ratio = report.ratios[metric]
        if ratio is not None:
            print(f"  {metric}: {ratio:.2f} times the stable arm's share")
    for note in _notes(report):
        print(f"  {note}")
    print()


def _row(look: Look, metrics: Sequence[Metric]) -> str:
    cells = []
    for metric in metrics:
        told = look.metrics[metric]
        candidate, stable = look.candidate.seen(metric)[0], look.stable.seen(metric)[0]
        cells.append(f" | {candidate:>8g} {stable:>6g} {told.rollback:>7.2f} {told.promote:>7.2f}")
    mark = " *" if look.mismatched else ""
    return f"{look.end:>12.10g} {look.candidate.requests:>8g}{''.join(cells)}{mark}"


def _argument(convert: Callable[[str], Any], wanted: str, fits: Callable[[Any], bool]) -> Any:
    def parse(text: str) -> Any:
        try:
            value = convert(text)
        except ValueError:
            value = None
        if value is None or not fits(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return value

    return parse


def _assigned(text: str) -> tuple[str, float]:
    name, equals, number = text.partition("=")
    try:
        value = float(number) if equals else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not METRIC=NUMBER, such as errors=0.01")
    return name, value


_share = _argument(float, "a probability between 0 and 1", lambda value: 0 < value < 1)
_natural = _argument(int, "a whole number of at least 0", lambda value: value >= 0)
_positive = _argument(int, "a whole number above 0", lambda value: value > 0)
_duration = _argument(parse_duration, "a duration such as 200ms", lambda value: value > 0)

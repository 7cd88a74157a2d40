"""`seawall simulate`: replays an arrival trace through autoscalers and serving pods, request by request."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seawall.api.units import parse_duration

if TYPE_CHECKING:
    from seawall.simulate.offer import Offer
    from seawall.simulate.study import Order
    from seawall.simulate.traces import Trace
    from seawall.sizing.behavior import Behavior

POLICIES = (
    "seawall", "clairvoyant", "static-peak", "hpa-p99", "hpa-p99-80", "cpu-duty", "gpu-duty", "kpa",
    "rps-tuned", "rps-high", "rps-low", "faro",
)  # fmt: skip
EPILOG = (
    """\
examples:
  seawall simulate --trace requests.csv --profile l4.json --slo 20ms --policy seawall hpa-p99-80 clairvoyant
  seawall simulate --trace jobs.jsonl --series serve-cluster7 --mean-rps 600 --profile l4.json --slo 20ms \\
    --policy all --seeds 5 --plot course.png
  seawall simulate --trace day.csv --period 60 --profile l4-fp16.json l4-int8.json --slo 20ms --frontier

policies: """
    + ", ".join(POLICIES)
    + """, or all

exit codes: 0 done; 1 the policy seawall was among them and its p99 over a whole run was above the SLO;
2 bad usage, unusable input, or an SLO that no number of pods can meet
"""
)
_WHEN = re.compile(r"(?:(?P<times>[0-9.]+)@)?(?P<start>[0-9.]+[a-z]+)\+(?P<length>[0-9.]+[a-z]+)")


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "simulate",
        help="replay a trace: what each way of autoscaling would attain, cost and consume",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--trace", required=True, type=Path, metavar="FILE", help="CSV or JSON lines")
    parser.add_argument(
        "--profile", required=True, type=Path, nargs="+", metavar="FILE",
        help="JSON as `seawall optimize` measures; several with --frontier only",
    )  # fmt: skip
    parser.add_argument("--slo", required=True, type=_slo, metavar="TIME", help="p99, such as 20ms")
    parser.add_argument(
        "--policy", nargs="+", action="extend", metavar="NAME", help="see below (default: seawall)"
    )
    _add_trace(parser)
    _add_world(parser)
    parser.add_argument("--frontier", action="store_true", help="every profile at margins of 0, 10 and 20 %%")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="picture of the first seed (.png, .svg)")
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
    parser.set_defaults(func=run)


def _add_trace(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--period", type=_positive, metavar="SECONDS", help="of one row of period,count")
    parser.add_argument("--series", metavar="NAME", help="which of several series in the file")
    parser.add_argument("--mean-rps", type=_positive, metavar="N", help="rescale to this mean rate")
    parser.add_argument("--seed", type=_natural, default=0, metavar="N", help="the first seed (default: 0)")
    parser.add_argument("--seeds", type=_natural, default=1, metavar="N", help="how many (default: 1)")


def _add_world(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cold-start", type=_at_least_zero, metavar="S", help="seconds until a pod is ready")
    parser.add_argument(
        "--drift", type=_percent, default=0.0, metavar="PERCENT",
        help="service takes this much longer from a quarter of the trace on",
    )  # fmt: skip
    parser.add_argument(
        "--profile-error", type=_percent, default=0.0, metavar="PERCENT",
        help="pods take this much longer than the profile says; negative: they are faster",
    )  # fmt: skip
    parser.add_argument(
        "--canary", type=_percent, default=0.0, metavar="PERCENT", help="one pod in ten is this much slower"
    )
    parser.add_argument(
        "--elsewhere", metavar="TIME@AT",
        help="every request takes so much longer from then on, outside of the pods, such as 14ms@30m",
    )  # fmt: skip
    parser.add_argument(
        "--summary", action="store_true",
        help="policies see the slowest pod's own p99 of a minute, as Triton's summaries tell it",
    )  # fmt: skip
    parser.add_argument("--outage", metavar="AT+LENGTH", help="no metrics then, such as 1h+5m")
    parser.add_argument("--burst", metavar="TIMES@AT+LENGTH", help="so many times the rate, such as 4@1h+5m")
    parser.add_argument(
        "--dispatch", choices=("random", "round-robin", "least-request", "p2c"), default="p2c",
        help="how requests reach pods (default: p2c, as Envoy's least-request)",
    )  # fmt: skip
    parser.add_argument(
        "--connections", type=_natural, metavar="N",
        help="so many at the start, each stays with its pod, new ones as needed (with --dispatch random)",
    )  # fmt: skip
    parser.add_argument(
        "--max-replicas", type=_natural, metavar="N", help="default: twice what the peak needs"
    )
    parser.add_argument(
        "--behavior", type=Path, metavar="FILE", help="JSON of spec.behavior for the HPAs that are compared"
    )


def run(args: argparse.Namespace) -> int:
    try:
        from seawall.simulate import frontier, report, study  # noqa: PLC0415
        from seawall.simulate.offer import read_offer  # noqa: PLC0415
        from seawall.simulate.progress import Bar  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        print(
            f"seawall simulate: {missing.name} is not installed; install seawall[simulate]", file=sys.stderr
        )
        return 2
    bar = Bar()
    try:
        names = _names(args.policy)
        offers = [replace_cold_start(read_offer(path), args.cold_start) for path in args.profile]
        _check(args, names)
        order = _order(args, offers[0])
        if args.frontier:
            explored = frontier.explore(order, offers, bar)
            bar.clear()
            return _show_frontier(args, explored, report)
        result = study.run_study(order, names, bar)
        bar.clear()
        if args.plot is not None:
            _plot(result, args.plot)
    except (ValueError, OSError) as problem:
        bar.clear()
        print(f"seawall simulate: {problem}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(report.study_json(result, _spelt(args.slo)), indent=2))
    else:
        _head(order, result.requests)
        print(report.study_table(result))
    return 1 if _missed(result.policies.get("seawall"), args.slo) else 0


def _names(given: list[str] | None) -> list[str]:
    names = [part for entry in given or ["seawall"] for part in entry.split(",") if part]
    unknown = [name for name in names if name not in POLICIES and name != "all"]
    if unknown:
        raise ValueError(f"no policy is called {unknown[0]!r}; there are {', '.join(POLICIES)}, all")
    return list(dict.fromkeys(POLICIES if "all" in names else names))


def _check(args: argparse.Namespace, names: list[str]) -> None:
    if len(args.profile) > 1 and not args.frontier:
        raise ValueError("several profiles are compared by --frontier only")
    if args.frontier and args.policy and names != ["seawall"]:
        raise ValueError("--frontier compares profiles and margins of the policy seawall; leave --policy out")
    if args.frontier and args.plot is not None:
        raise ValueError("--plot shows policies; leave it out with --frontier")
    if args.connections is not None and args.dispatch != "random":
        raise ValueError("--connections needs --dispatch random: a gateway spreads requests, not connections")
    if args.seeds < 1:
        raise ValueError("--seeds must be at least 1")


def replace_cold_start(offer: Offer, seconds: float | None) -> Offer:
    if seconds is None:
        return offer
    return replace(offer, profile=replace(offer.profile, cold_start_seconds=seconds))


def _order(args: argparse.Namespace, offer: Offer) -> Order:
    from seawall.simulate.frontier import priced  # noqa: PLC0415
    from seawall.simulate.run import Scenario  # noqa: PLC0415
    from seawall.simulate.study import Order  # noqa: PLC0415

    trace = _trace(args)
    scenario = Scenario(args.drift, args.profile_error, canary_slower=args.canary)
    if args.outage is not None:
        times, start, length = _when(args.outage, "--outage", trace.seconds)
        if times is not None:
            raise ValueError("--outage takes AT+LENGTH, such as 1h+5m")
        scenario = replace(scenario, outage=(start, length))
    if args.elsewhere is not None:
        scenario = replace(scenario, elsewhere=_from(args.elsewhere, trace.seconds))
    order = Order(
        trace=trace,
        profile=offer.profile,
        slo_ms=args.slo,
        dispatch=args.dispatch,
        summaries=args.summary,
        connections=args.connections,
        scenario=scenario,
        seeds=tuple(range(args.seed, args.seed + args.seeds)),
        maximum=args.max_replicas,
        behavior=_behavior(args.behavior),
    )
    return priced(order, offer)


def _trace(args: argparse.Namespace) -> Trace:
    from seawall.simulate.traces import read  # noqa: PLC0415

    trace = read(args.trace, args.period, args.series)
    if args.mean_rps is not None:
        trace = trace.scaled_to(args.mean_rps)
    if args.burst is not None:
        times, start, length = _when(args.burst, "--burst", trace.seconds)
        if times is None:
            raise ValueError("--burst takes TIMES@AT+LENGTH, such as 4@1h+5m")
        trace = trace.with_burst(times, start, length)
    return trace


def _when(text: str, option: str, seconds: float) -> tuple[float | None, float, float]:
    match = _WHEN.fullmatch(text)
    try:
        if match is None:
            raise ValueError("")
        start, length = parse_duration(match["start"]), parse_duration(match["length"])
        times = None if match["times"] is None else float(match["times"])
    except ValueError:
        raise ValueError(f"{option} {text!r}: a start and a length are needed, such as 1h+5m") from None
    if start >= seconds:
        raise ValueError(f"{option} {text!r}: begins after the trace's end at {seconds:g} s")
    return times, start, length


def _from(text: str, seconds: float) -> tuple[float, float]:
    """Milliseconds, and from when in seconds."""
    length, _, start = text.partition("@")
    try:
        more, begin = 1000 * parse_duration(length), parse_duration(start)
    except ValueError:
        raise ValueError(f"--elsewhere {text!r}: a time and a start are needed, such as 14ms@30m") from None
    if begin >= seconds:
        raise ValueError(f"--elsewhere {text!r}: begins after the trace's end at {seconds:g} s")
    return more, begin


def _behavior(path: Path | None) -> Behavior | None:
    from seawall.sizing.behavior import parse_behavior  # noqa: PLC0415

    if path is None:
        return None
    try:
        return parse_behavior(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise ValueError(f"{path.name}: no behavior block of autoscaling/v2: {problem!r}") from None


def _plot(result: Any, path: Path) -> None:
    try:
        from seawall.simulate.plot import draw  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise ValueError(f"--plot needs {missing.name}; install seawall[simulate]") from None
    draw(result, path)


def _show_frontier(args: argparse.Namespace, explored: Any, report: Any) -> int:
    if args.json:
        print(json.dumps(report.frontier_json(explored, _spelt(args.slo)), indent=2))
    elif explored.points:
        print(report.frontier_table(explored))
        print("* nothing else here is at least as good in lateness, money and energy, and better in one")
    for name, reason in explored.refused:
        print(f"seawall simulate: {name}: {reason}", file=sys.stderr)
    if not explored.points:
        return 2
    return 0 if any(not _missed(point.result, args.slo) for point in explored.points) else 1


def _missed(result: Any, slo_ms: float) -> bool:
    return result is not None and not result.p99_ms.mean <= slo_ms


def _head(order: Order, requests: int) -> None:
    trace = order.trace
    source = "exact times" if trace.exact else f"Poisson within {trace.step:g} s, rates x{trace.factor:.4g}"
    print(
        f"{trace.name}: {trace.seconds / 3600:.2f} h at {trace.mean_rps:.4g} requests/s ({source});"
        f" {requests} requests over {len(order.seeds)} seed{'s' if len(order.seeds) > 1 else ''}"
    )
    for sentence in order.profile.interpolated:
        print(f"profile: {sentence}")


def _spelt(slo_ms: float) -> str:
    return f"{slo_ms:g}ms"


def _argument(convert: Callable[[str], float], wanted: str, fits: Callable[[float], bool]) -> Any:
    def parse(text: str) -> float:
        try:
            value = convert(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or not fits(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return value

    return parse


_positive = _argument(float, "a number above 0", lambda value: value > 0)
_at_least_zero = _argument(float, "a number of at least 0", lambda value: value >= 0)
_natural = _argument(int, "a whole number of at least 0", lambda value: value >= 0)
_percent = _argument(
    lambda text: float(text.rstrip("%")) / 100, "a percentage above -90", lambda value: value > -0.9
)
_slo = _argument(lambda text: 1000 * parse_duration(text), "a duration such as 20ms", lambda value: value > 0)

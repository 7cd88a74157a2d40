"""`seawall doctor`: what this cluster lacks for Seawall, and what to do about it. It changes nothing."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seawall.cli.doctor_types import Finding, Situation

EPILOG = """\
example:
  seawall doctor
  seawall doctor -n seawall-system --json | jq -r '.findings[] | select(.level == "fail") | .advice'

ok: as it should be; none: optional, not there, and nobody asks for it; warn: look at it; fail: something that
is asked for cannot work; unknown: this account may not look, or the answer did not come.

exit codes: 0 nothing fails, 1 something does, 2 no cluster to look at
"""
COLOURS = {"ok": "32", "none": "2", "warn": "33", "fail": "31", "unknown": "36"}


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    from seawall.cli.terminal import add_color, add_context  # noqa: PLC0415

    parser = subparsers.add_parser(
        "doctor",
        help="say what this cluster lacks for Seawall",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-n", "--namespace", metavar="NS", help="where the operator is (default: looked for everywhere)"
    )
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
    add_context(parser)
    add_color(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    from seawall.cli.doctor_reader import ClusterReader  # noqa: PLC0415
    from seawall.cli.doctor_types import Situation  # noqa: PLC0415
    from seawall.cli.services import ClusterError  # noqa: PLC0415
    from seawall.cli.terminal import painter  # noqa: PLC0415

    try:
        reader = ClusterReader(args.context)
    except ClusterError as error:
        print(f"seawall doctor: {error}", file=sys.stderr)
        return 2
    situation = Situation(reader, datetime.now(UTC), args.namespace, reader.address)
    version = situation.get("/version")
    if version.state != "Found":
        print(f"seawall doctor: {version.message}", file=sys.stderr)
        return 2
    findings = examine(situation)
    counts = Counter(finding.level for finding in findings)
    if args.json:
        told = [{k: getattr(f, k) for k in ("level", "topic", "message", "advice")} for f in findings]
        print(json.dumps({"findings": told, "counts": dict(counts)}, indent=2))
    else:
        print(report(findings, painter(args.color, sys.stdout)))
    return 1 if counts["fail"] else 0


def examine(situation: Situation) -> list[Finding]:
    from seawall.cli import doctor_cluster, doctor_devices, doctor_install  # noqa: PLC0415

    checks = (
        doctor_install.api_server,
        doctor_install.definitions,
        doctor_install.operator,
        doctor_install.rights,
        doctor_cluster.metrics_api,
        doctor_cluster.keda,
        doctor_cluster.prometheus,
        doctor_cluster.gateways,
        doctor_devices.accelerators,
        doctor_cluster.storage,
        doctor_cluster.artifacts,
        doctor_cluster.services,
    )
    return [finding for check in checks for finding in check(situation)]


def report(findings: Sequence[Finding], paint: Callable[[str, str], str]) -> str:
    width = max(len(f.topic) for f in findings)
    lines = []
    for finding in findings:
        mark = paint(finding.level.ljust(7), COLOURS[finding.level])
        lines.append(f"{mark}  {finding.topic.ljust(width)}  {finding.message}")
        if finding.advice:
            lines.append(f"{'':7}  {'':{width}}  -> {finding.advice}")
    return "\n".join([*lines, "", _sum(f.level for f in findings)])


def _sum(levels: Iterable[str]) -> str:
    counts = Counter(levels)
    return ", ".join(f"{counts[level]} {level}" for level in COLOURS if counts[level])

"""`seawall status`: what the InferenceServices know about themselves, readable."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from seawall.cli.status_details import details
from seawall.cli.status_fleet import ordered, summed_up, table, totals
from seawall.cli.status_rollout import thresholds
from seawall.cli.terminal import Paint, add_color, add_context, painter

if TYPE_CHECKING:
    from seawall.cli.services import Services

Shown = tuple[int, str]
"""exit code, and what is shown"""
EPILOG = """\
example:
  seawall status -A
  seawall status digits -n vision --watch

What is in trouble comes first. READY is about serving; an objective that is missed does not make a service
unready, and changes no exit code.

exit codes: 0 all that is shown is Ready, 1 something is not, 2 no such service, or nobody answers
"""
UNSEEN = "SpecNotSeenYet"
"""The operator has not looked at the latest spec: what the status says is about an earlier one."""


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "status",
        help="show InferenceServices, or everything about one",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="an InferenceService; all when absent")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-n", "--namespace", metavar="NS", help="default: that of the current context")
    where.add_argument("-A", "--all-namespaces", action="store_true", help="every namespace")
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
    parser.add_argument("-w", "--watch", action="store_true", help="show it again whenever it changes")
    parser.add_argument(
        "--every", type=float, default=2.0, metavar="SECONDS", help="how often --watch looks (default: 2)"
    )
    add_context(parser)
    add_color(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    from seawall.cli.services import ClusterError, Services  # noqa: PLC0415

    if args.name and args.all_namespaces:
        print("seawall status: NAME needs one namespace; leave -A out", file=sys.stderr)
        return 2
    try:
        services = Services(args.context)
        code, text = _look(services, args, watched=args.watch)
    except ClusterError as error:
        print(f"seawall status: {error}", file=sys.stderr)
        return 2
    _print(text, redraw=args.watch and not args.json)
    return code if not args.watch else _watch(lambda: _look(services, args, watched=True), args, (code, text))


def _watch(look: Callable[[], tuple[int, str]], args: argparse.Namespace, last: tuple[int, str]) -> int:
    """Until somebody stops it. A cluster that does not answer for a while is waited for."""
    from seawall.cli.services import ClusterError  # noqa: PLC0415

    try:
        while True:
            time.sleep(max(args.every, 0.1))
            try:
                found = look()
            except ClusterError as error:
                print(f"seawall status: {error}", file=sys.stderr)
                continue
            if found[1] != last[1]:
                _print(found[1], redraw=not args.json)
            last = found
    except KeyboardInterrupt:
        return last[0]


def _print(text: str, *, redraw: bool) -> None:
    if not text:
        return
    if redraw and sys.stdout.isatty():
        text = f"\x1b[H\x1b[2J{text}"
    print(text, flush=True)


def _look(services: Services, args: argparse.Namespace, *, watched: bool) -> Shown:
    """While it is watched, JSON is one line for each change."""
    namespace = args.namespace or services.default_namespace
    if args.name:
        return _one(services, namespace, args, None if watched else 2)
    return _all(services, None if args.all_namespaces else namespace, args, watched=watched)


def _one(services: Services, namespace: str, args: argparse.Namespace, indent: int | None) -> Shown:
    row = summary(services.get(namespace, args.name))
    wanted = {row["rollout"].get("build"), row["servedModel"].get("buildRef")} - {None}
    row["builds"] = [build_summary(name, services.build(namespace, name)) for name in sorted(wanted, key=str)]
    return _code(row), json.dumps(row, indent=indent) if args.json else details(row, _paint(args))


def _all(services: Services, namespace: str | None, args: argparse.Namespace, *, watched: bool) -> Shown:
    rows = ordered([summary(service) for service in services.list(namespace)])
    code = max(map(_code, rows), default=0)
    if args.json:
        return code, json.dumps(rows, indent=None if watched else 2)
    if rows:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        shown = table(rows, _paint(args), with_namespace=namespace is None, width=width)
        return code, f"{shown}\n\n{summed_up(totals(rows, services.prices()))}"
    nothing = f"no InferenceService in {'any namespace' if namespace is None else f'namespace {namespace}'}"
    if watched:
        return 0, nothing
    print(nothing, file=sys.stderr)
    return 0, ""


def _code(row: Mapping[str, Any]) -> int:
    return 0 if row["ready"] == "True" and not row["behind"] else 1


def _paint(args: argparse.Namespace) -> Paint:
    return painter(args.color, sys.stdout)


def summary(service: Mapping[str, Any]) -> dict[str, Any]:
    """What both outputs show, with the absent left out rather than guessed."""
    meta, spec, status = service["metadata"], service.get("spec", {}), service.get("status", {})
    conditions = status.get("conditions", [])
    ready: Mapping[str, Any] = next((c for c in conditions if c["type"] == "Ready"), {})
    behind = status.get("observedGeneration") not in (None, meta.get("generation"))
    return {
        "namespace": meta["namespace"],
        "name": meta["name"],
        "model": spec.get("model", {}).get("uri"),
        "accelerator": spec.get("accelerator", {}).get("class"),
        "slo": spec.get("slo", {}).get("p99"),
        "ready": ready.get("status", "Unknown"),
        "behind": behind,
        "sloMet": next((c["status"] for c in conditions if c["type"] == "SLOMet"), "Unknown"),
        "devices": spec.get("accelerator", {}).get("count", 1),
        "reason": UNSEEN if behind else ready.get("reason", "NotSeenYet"),
        "message": ready.get("message", ""),
        "p99": status.get("slo", {}).get("p99"),
        "attainment": status.get("slo", {}).get("attainment"),
        "replicas": status.get("replicas"),
        "desiredReplicas": status.get("scaling", {}).get("desiredReplicas"),
        "objective": {k: v for k, v in status.get("slo", {}).items() if k != "days"},
        "scaling": status.get("scaling", {}),
        "efficiency": status.get("efficiency", {}),
        "conditions": conditions,
        "servedModel": status.get("model", {}),
        "rollout": status.get("rollout", {}),
        "thresholds": thresholds(spec),
        "endpoints": status.get("endpoints", {}),
    }


def build_summary(name: str, build: Mapping[str, Any] | None) -> dict[str, Any]:
    """One ModelBuild that the service wants or serves."""
    if build is None:
        return {"name": name, "phase": "Gone", "reason": "", "message": "", "progress": {}}
    status = build.get("status", {})
    told: Mapping[str, Any] = next(iter(status.get("conditions", [])), {})
    return {
        "name": name,
        "phase": status.get("phase", "Pending"),
        "reason": told.get("reason", "NotSeenYet"),
        "message": told.get("message", ""),
        "progress": status.get("progress", {}),
    }

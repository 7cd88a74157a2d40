"""`seawall status`: what the InferenceServices know about themselves, readable."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from seawall.cli.status_rollout import evidence, progress, revisions, thresholds

if TYPE_CHECKING:
    from seawall.cli.services import Services

HEADER = ("NAME", "MODEL", "ACCEL", "SLO", "P99", "ATTAINED", "REPLICAS", "REVISION", "READY", "REASON")
UNSEEN = "SpecNotSeenYet"
"""The operator has not looked at the latest spec: what the status says is about an earlier one."""


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "status",
        help="show InferenceServices, or everything about one",
        description=(
            "Show the InferenceServices of a namespace, or the conditions, revisions and endpoints of one. "
            "Exit code 1: the named service is not Ready; 2: it does not exist or nobody answers."
        ),
        epilog="example: seawall status digits -n vision --watch",
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
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    from seawall.cli.services import ClusterError, Services  # noqa: PLC0415

    if args.name and args.all_namespaces:
        print("seawall status: NAME needs one namespace; leave -A out", file=sys.stderr)
        return 2
    try:
        services = Services()
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


def _look(services: Services, args: argparse.Namespace, *, watched: bool) -> tuple[int, str]:
    """(exit code, what is shown). While it is watched, JSON is one line for each change."""
    indent = None if watched else 2
    namespace = args.namespace or services.default_namespace
    if args.name:
        row = summary(services.get(namespace, args.name))
        wanted = {row["rollout"].get("build"), row["servedModel"].get("buildRef")} - {None}
        row["builds"] = [
            build_summary(name, services.build(namespace, name)) for name in sorted(wanted, key=str)
        ]
        code = 0 if row["ready"] == "True" and row["reason"] != UNSEEN else 1
        return code, json.dumps(row, indent=indent) if args.json else details(row)
    found = services.list(None if args.all_namespaces else namespace)
    rows = sorted((summary(s) for s in found), key=lambda s: (s["namespace"], s["name"]))
    if args.json:
        return 0, json.dumps(rows, indent=indent)
    if rows:
        return 0, table(rows, with_namespace=args.all_namespaces)
    where = "any namespace" if args.all_namespaces else f"namespace {namespace}"
    nothing = f"no InferenceService in {where}"
    if watched:
        return 0, nothing
    print(nothing, file=sys.stderr)
    return 0, ""


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


def table(rows: Sequence[Mapping[str, Any]], *, with_namespace: bool) -> str:
    lines = [(("NAMESPACE",) if with_namespace else ()) + HEADER]
    lines += [((r["namespace"],) if with_namespace else ()) + _cells(r) for r in rows]
    return aligned(lines)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    replicas, desired = row["replicas"], row["desiredReplicas"]
    rollout = row["rollout"]
    stable, candidate = rollout.get("stableRevision"), rollout.get("candidateRevision")
    revision = f"{stable or '-'} -> {candidate}" if candidate else stable
    texts = (
        row["name"],
        row["model"],
        row["accelerator"],
        row["slo"],
        row["p99"],
        row["attainment"],
        None if replicas is None else f"{replicas}/{desired}" if desired is not None else replicas,
        revision,
        row["ready"],
        row["reason"],
    )
    return tuple("-" if text in (None, "") else str(text) for text in texts)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def details(row: Mapping[str, Any]) -> str:
    """One service in full: the table's line, then what it is made of."""
    parts = [table([row], with_namespace=False)]
    conditions = [(c["type"], c["status"], c["reason"], c.get("message", "")) for c in row["conditions"]]
    if conditions:
        parts.append(aligned([("CONDITION", "STATUS", "REASON", "MESSAGE"), *conditions]))
    said = [*_objective(row["objective"]), *_scaling(row["scaling"]), *_efficiency(row["efficiency"])]
    if said:
        parts.append(aligned(said))
    if model := _model(row["servedModel"]):
        parts.append(aligned(model))
    if row.get("builds"):
        lines = [(b["name"], b["phase"], _stage(b), b["reason"], b["message"]) for b in row["builds"]]
        parts.append(aligned([("BUILD", "PHASE", "STAGE", "REASON", "MESSAGE"), *lines]))
    if going := progress(row["rollout"]):
        parts.append(aligned(going))
    if judged := evidence(row["rollout"], row["thresholds"]):
        parts.append(aligned(judged))
    if found := revisions(row["rollout"]):
        parts.append(aligned([("REVISION", "IS", "WHY"), *found]))
    if row["endpoints"]:
        parts.append(aligned([("ENDPOINT", "ADDRESS"), *sorted(row["endpoints"].items())]))
    return "\n\n".join(parts)


def _model(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What serves, where a build has made it; nothing of a model that is served as it came."""
    if "format" not in model:
        return []
    accuracy = model.get("accuracy", {})
    proof = f"{accuracy.get('metric')} {accuracy.get('value')} (at least {accuracy.get('low')})"
    size = f"{model.get('originalBytes')} -> {model.get('compressedBytes')} bytes"
    lines = [
        ("PRESET", str(model.get("preset"))),
        ("FORMAT", str(model["format"])),
        ("SIZE", f"{size}, {model['compressionRatio']} times smaller" if "compressionRatio" in model else ""),
        ("ACCURACY", proof + (", unproven" if model.get("unproven") else "") if accuracy else ""),
    ]
    return [line for line in lines if line[1]]


def _objective(slo: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "attainment" not in slo:
        return []
    left = slo.get("errorBudgetRemaining", "unknown")
    since = f" since {slo['since']}" if "since" in slo else ""
    said = f"{slo['attainment']} within {slo.get('target')}{since}; {left} of the error budget is left"
    return [("OBJECTIVE", f"{said} (window {slo.get('window')})")]


def _scaling(scaling: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "mode" not in scaling:
        return []
    lines = [("SCALING", f"{scaling['mode']}, {scaling.get('reason', 'unknown')}")]
    if "message" in scaling:
        lines.append(("WHY", scaling["message"]))
    if "demandRps" in scaling and "capacityRps" in scaling:
        each = f"{scaling['demandRps']} requests/s expected, one replica carries {scaling['capacityRps']}"
        predicted = f"; predicted p99 {scaling['predictedP99']}" if "predictedP99" in scaling else ""
        lines.append(("LOAD", f"{each}{predicted}"))
    return lines


def _efficiency(efficiency: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Of a thousand requests; the currency is the AcceleratorClass's."""
    lines = []
    if "costPer1k" in efficiency:
        lines.append(("COST", f"{efficiency['costPer1k']} per 1000 requests"))
    if "joulesPer1k" in efficiency:
        how = ", estimated from the class's watts" if efficiency.get("estimated") else ", metered"
        lines.append(("ENERGY", f"{efficiency['joulesPer1k']} J per 1000 requests{how}"))
    return lines


def _stage(build: Mapping[str, Any]) -> str:
    progress = build["progress"]
    percent = f" {progress['percent']} %" if "percent" in progress else ""
    return f"{progress['stage']}{percent}" if progress.get("stage") else "-"

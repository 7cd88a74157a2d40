"""`seawall rollout`: a person's word to a rollout, as an annotation that names the very rollout meant."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

VERBS = ("promote", "promote-full", "skip", "pause", "resume", "abort", "retry")
ANNOTATION = "serving.seawall.dev/rollout-command"
INSTEAD = {
    "pause": "set spec.rollout.paused to true",
    "resume": "set spec.rollout.paused to false",
    "abort": "apply the previous spec again",
}


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "rollout",
        help="tell a rollout what to do",
        description=(
            "Tell the rollout of an InferenceService what to do. The strategy Direct knows retry: try a "
            "rejected revision once more. Exit code 1: there is nothing to act on; 2: the service does not "
            "exist or the cluster is out of reach."
        ),
        epilog="example: seawall rollout retry digits -n vision",
    )
    parser.add_argument("verb", choices=VERBS, metavar="VERB", help=", ".join(VERBS))
    parser.add_argument("name", metavar="NAME", help="an InferenceService")
    parser.add_argument("-n", "--namespace", metavar="NS", help="default: that of the current context")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    from seawall.cli.services import ClusterError, Services  # noqa: PLC0415

    try:
        services = Services()
        namespace = args.namespace or services.default_namespace
        service = services.get(namespace, args.name)
        refusal = refused(args.verb, service)
        if refusal:
            print(f"seawall rollout: {refusal}", file=sys.stderr)
            return 1
        rollout = service["status"]["rollout"]
        services.annotate(namespace, args.name, {ANNOTATION: f"{args.verb}@{rollout['id']}"})
    except ClusterError as error:
        print(f"seawall rollout: {error}", file=sys.stderr)
        return 2
    print(f"{args.name}: revision {rollout['lastRejected']['revision']} will be tried again")
    return 0


def refused(verb: str, service: Mapping[str, Any]) -> str | None:
    """Why the operator would not act on this, None if it would."""
    if verb != "retry":
        instead = f"; {INSTEAD[verb]} instead" if verb in INSTEAD else ""
        return f"the strategy Direct has no {verb}, only retry{instead}"
    name = service["metadata"]["name"]
    rollout = service.get("status", {}).get("rollout", {})
    if not rollout.get("id"):
        return f"{name} has had no rollout yet"
    if not rollout.get("lastRejected"):
        serving = rollout.get("stableRevision")
        state = f"; revision {serving} serves" if serving else ""
        return f"{name} has no rejected revision to retry{state}"
    return None

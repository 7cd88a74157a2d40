"""`seawall rollout`: a person's word to a rollout, as an annotation that names the very rollout meant."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from seawall.desired.names import COMMAND_ANNOTATION

if TYPE_CHECKING:
    from seawall.decide.rollout_state import RolloutState

VERBS = {
    "promote": "go on to the next step where it waits for a person",
    "promote-full": "leave all steps out and promote",
    "skip": "leave the step at hand out",
    "pause": "hold the weight as it is",
    "resume": "go on with the step at hand, from its beginning",
    "abort": "all traffic back to the old revision; also while the new one is watched",
    "retry": "try the rejected revision once more",
}


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    verbs = "; ".join(f"{verb}: {what}" for verb, what in VERBS.items())
    parser = subparsers.add_parser(
        "rollout",
        help="tell a rollout what to do",
        description=(
            f"Tell the rollout of an InferenceService what to do. {verbs}. The word is for this rollout"
            " and for no later one. Exit code 1: there is nothing to act on; 2: the service does not exist or"
            " the cluster is out of reach."
        ),
        epilog="example: seawall rollout abort digits -n vision",
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
            print(f"seawall rollout: {args.name}: {refusal}", file=sys.stderr)
            return 1
        for line in announced(args.verb, service):
            print(line)
        # The seconds make a word that was said before another one.
        word = f"{args.verb}@{service['status']['rollout']['id']}:{int(time.time())}"
        services.annotate(namespace, args.name, {COMMAND_ANNOTATION: word})
    except ClusterError as error:
        print(f"seawall rollout: {error}", file=sys.stderr)
        return 2
    return 0


def _state(service: Mapping[str, Any]) -> RolloutState:
    from seawall.decide.rollout_state import RolloutState  # noqa: PLC0415

    return RolloutState.of((service.get("status") or {}).get("rollout"))


def _held_by_spec(service: Mapping[str, Any]) -> bool:
    return bool(((service.get("spec") or {}).get("rollout") or {}).get("paused"))


def refused(verb: str, service: Mapping[str, Any]) -> str:
    """Why the operator would not act on this, in its own words; empty if it would."""
    from seawall.decide.rollout_commands import refusal  # noqa: PLC0415

    state = _state(service)
    if not state.id:
        return "it has had no rollout yet"
    why = refusal(verb, state, state.steps or 0)
    if why and verb == "resume" and _held_by_spec(service):
        return f"{why}; spec.rollout.paused holds it, set it to false"
    if why and verb == "pause" and state.candidate is None:
        why = f"{why}; spec.rollout.paused keeps the next one from starting"
    serves = f"; revision {state.stable} serves" if state.stable and state.candidate is None else ""
    return f"{why}{serves}" if why else ""


def announced(verb: str, service: Mapping[str, Any]) -> list[str]:
    """What will happen."""
    state = _state(service)
    lines = [
        f"{service['metadata']['name']}: rollout {state.id}, {_where(state)}",
        f"{verb}: {_then(verb, state)}",
    ]
    if _held_by_spec(service) and verb not in ("abort", "pause"):
        lines.append("spec.rollout.paused holds it all the same")
    return lines


def _where(state: RolloutState) -> str:
    if state.candidate is None:
        return f"revision {state.stable or 'none'} serves"
    beside = f"revision {state.candidate}" + (f" beside {state.stable}" if state.stable else "")
    if state.step is None or state.steps is None:
        return f"{beside}, {state.phase}"
    at = f"step {state.step + 1} of {state.steps}" if state.step < state.steps else "promotion"
    return f"{beside}, {at}, {state.weight}% of the traffic"


def _then(verb: str, state: RolloutState) -> str:
    last, following = state.steps or 0, (state.step or 0) + 1
    onward = f"step {following + 1} of {last} begins" if following < last else "it is promoted"
    rejected = state.rejected.revision if state.rejected else "none"
    stays = "stays rejected until the spec changes or retry is said"
    pace = "at once" if (state.displaced or 0) <= 1 else "as its pods come back"
    if verb == "abort" and state.candidate is None:
        return f"revision {state.previous} serves again, in one switch; {state.stable} {stays}"
    return {
        "promote": onward,
        "promote-full": "no further step; it gets pods for all of the traffic and takes over",
        "skip": onward,
        "pause": f"the weight stays at {state.weight}%; a proven regression still takes it back",
        "resume": "the step at hand is gone through from its beginning",
        "abort": f"all traffic goes to {state.stable} {pace}; {state.candidate} goes and {stays}",
        "retry": f"revision {rejected} will be tried again, under an id of its own",
    }[verb]

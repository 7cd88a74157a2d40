"""The sentence beside every count: what it follows from, in the words of whoever pays for the pods."""

from __future__ import annotations

from dataclasses import dataclass

from seawall.sizing.state import Bounds, Reason, Terms


@dataclass(frozen=True, slots=True)
class Story:
    slo_ms: float
    current: int
    replicas: int
    wanted: int
    terms: Terms
    bounds: Bounds
    demand_rps: float
    rate_rps: float
    capacity_rps: float
    recurring: bool
    correction: float
    pending: float
    floor_ms: float
    p99_ms: float | None
    elsewhere_ms: float
    """of the p99, where that is above the SLO: a delay that no pod takes away"""
    enough: int | None
    """replicas with which the SLO would hold in spite of it"""
    reachable: bool
    uneven: float | None
    """what the busiest pod gets, as a multiple of the mean, where that keeps the SLO from being met"""


def describe(story: Story) -> tuple[Reason, str]:
    reason, message = _described(story)
    if story.uneven is not None:
        message += (
            f" But one pod gets {story.uneven:.1f} times the mean: connections stay with the pods that they"
            " were opened to, and only new ones reach new pods."
        )
    return reason, message


def _described(story: Story) -> tuple[Reason, str]:
    if not story.reachable:
        return "Infeasible", (
            f"p99 {story.slo_ms:g} ms cannot be met: even without load a request takes"
            f" {story.floor_ms:.1f} ms at p99. {count(story.replicas)} keep the queue short;"
            " more would not be faster."
        )
    if story.elsewhere_ms > 0:
        return "Infeasible", _from_elsewhere(story)
    if story.wanted > story.bounds.max_replicas:
        return "MaxReplicas", (
            f"{count(story.wanted)} would be needed for {_why(story)}, and maxReplicas is"
            f" {story.bounds.max_replicas}."
        )
    if story.replicas == 0:
        return "Idle", "No request came for a while, and minReplicas is 0."
    if story.replicas > story.wanted and story.replicas == story.bounds.min_replicas:
        return "MinReplicas", f"{count(story.wanted)} would do; minReplicas is {story.bounds.min_replicas}."
    if story.replicas == story.current:
        return "Stable", f"{count(story.replicas)}: enough for {_why(story)}." + _waiting(story)
    verb = "up" if story.replicas > story.current else "down"
    return _winner(story), (
        f"{verb} from {story.current} to {story.replicas} for {_why(story)};"
        f" one pod carries {story.capacity_rps:.0f} requests/s within {story.slo_ms:g} ms."
    )


def _from_elsewhere(story: Story) -> str:
    now = f"p99 is {story.p99_ms:.1f} ms" if story.p99_ms is not None else "p99 was last"
    room = "more replicas cannot help, so none are added for it"
    if story.enough is not None:
        room = f"{count(story.enough)} would make up for it, but would not take it away, so none are added"
    return (
        f"{now}, above {story.slo_ms:g} ms, and {story.elsewhere_ms:.1f} ms of it come from elsewhere than"
        f" the pods and their load: {room}. Look at the network, the gateway, and what else runs on the"
        f" nodes. {count(story.wanted)} would do for the load alone."
    )


def count(replicas: int) -> str:
    return "1 replica" if replicas == 1 else f"{replicas} replicas"


def _winner(story: Story) -> Reason:
    terms = story.terms
    if terms.backlog > max(terms.feed_forward, terms.feedback):
        return "Backlog"
    return "Latency" if terms.feedback > terms.feed_forward else "Demand"


def _why(story: Story) -> str:
    match _winner(story):
        case "Backlog":
            return f"{story.rate_rps:.0f} requests/s and {story.pending:.0f} waiting in the queues"
        case "Latency":
            return (
                f"up to {story.demand_rps:.0f} requests/s that weigh {story.correction:.2f} times what the"
                " profile says, by the observed p99"
            )
        case _:
            again = ", a rise that has come back before" if story.recurring else ""
            return (
                f"up to {story.demand_rps:.0f} requests/s by the time new pods are ready"
                f" ({story.rate_rps:.0f} now{again})"
            )


def _waiting(story: Story) -> str:
    fewer = story.replicas - story.wanted
    return f" {fewer} fewer would do; the count falls slowly and seldom." if fewer > 0 else ""

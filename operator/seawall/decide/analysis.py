"""What the newest windows say about a candidate: the evidence for the status, and a look at it in words.

Nothing here depends on the clock: between two windows every look says the same, so that it writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from seawall.canary import course, judge, session
from seawall.canary.session import Place, Said, Session
from seawall.canary.templates import FEWEST_LOST, further
from seawall.canary.window import Metric, Window
from seawall.decide.rollout_plan import RolloutPlan, WeightStep
from seawall.decide.rollout_state import AHEAD, Look, RolloutState
from seawall.decide.types import Windows

QUIET_SECONDS, QUIET_WINDOWS = 60.0, 2
"""Without a request to the candidate for so long, and for so many windows, there is no data."""
OLD_SECONDS = 120.0
AHEAD_SECONDS = AHEAD.total_seconds()
WHOLE_SECOND = 1.0
"""The status cuts off the rest of the second in which a step's weight was in force."""
VERDICTS: Mapping[int, Any] = {judge.OPEN: "Open", judge.ROLLBACK: "Rollback", judge.PROMOTE: "Pass"}
BAD: Mapping[Metric, str] = {
    "latency": "requests late",
    "errors": "requests failed",
    "disagreement": "requests answered otherwise",
}
FIGURES = 0.001
NO_HISTOGRAMS = (
    "The pods tell no latencies that two revisions can be compared by: provider Replicas needs the histograms"
    " of Triton 26.01 or later. Leave latency out of analysis.metrics, or split by a gateway that measures"
)


def analysed(
    state: RolloutState, plan: RolloutPlan, windows: Windows, now: datetime
) -> tuple[Mapping[str, Any] | None, Look]:
    """The evidence with the windows that were not counted yet, as status.rollout.analysis keeps it, and what
    it says. Nothing before the first weight."""
    index = state.step
    if state.candidate is None or index is None or plan.strategy == "Direct":
        return None, Look()
    here = plan.steps[index] if index < len(plan.steps) else None
    if here is not None and not isinstance(here, WeightStep):
        return None, Look()
    place = _place(state, plan, index)
    known = session.restore(state.analysis, state.id, plan.settings) if state.analysis else None
    moment = now.timestamp() + WHOLE_SECOND
    if known is not None and known.end > moment + AHEAD_SECONDS:
        known = session.put_back(known, now.timestamp())
    closed = [window for window in windows.closed if window.end <= moment]
    found = session.read(known, closed, place, plan.settings)
    if found is None or not math.isfinite(found.end):
        return None, Look(message="No window has been counted yet", **_trouble(None, plan, windows, now))
    said = found.said(plan.settings)
    look = _look(found, said, state, plan, windows, now)
    return session.keep(found, said, plan.settings), look


def _place(state: RolloutState, plan: RolloutPlan, index: int) -> Place:
    started = state.step_started_at
    weighs = index < len(plan.steps) and started is not None
    return Place(
        id=state.id,
        step=index,
        weight=state.weight,
        since=started.timestamp() + WHOLE_SECOND if weighs and started is not None else None,
        seconds=plan.window_seconds,
        warmup_seconds=plan.warmup_seconds,
        warmup_requests=plan.warmup_requests,
        by_pods=plan.by_pods,
    )


def _look(
    found: Session,
    said: Sequence[Said],
    state: RolloutState,
    plan: RolloutPlan,
    windows: Windows,
    now: datetime,
) -> Look:
    settings = plan.settings
    current = (found.step, found.weight) == (state.step, state.weight) and state.step_started_at is not None
    last = found.step >= _last(plan)
    must = course.asked(found.course, settings, last or _even(state, plan, windows.closed))
    outcome = found.outcome(said, must, settings, last=last)
    if outcome == judge.PROMOTE and not current:
        outcome = judge.OPEN
    asked = [each for each, one in zip(said, must, strict=True) if one]
    return Look(
        verdict=VERDICTS[outcome],
        message=_words(said, must, found, plan, last=last),
        failing=outcome == judge.ROLLBACK
        and any(e.metric == "errors" and e.evidence.rollback >= -math.log(settings.alpha) for e in said),
        candidate_requests=found.requests if current else 0.0,
        seconds=found.seen * plan.window_seconds if current else 0.0,
        breaching=any(bool(each.evidence.breaching) for each in asked),
        mismatched=current and found.uneven and any(each.metric == "latency" for each in asked),
        share=found.share.told() if current else None,
        share_due=found.share.due() if current else None,
        share_wrong=current and found.share.wrong(by_pods=plan.by_pods),
        **_trouble(found, plan, windows, now),
    )


def _last(plan: RolloutPlan) -> int:
    """The step after which all of the traffic moves."""
    return max((i for i, step in enumerate(plan.steps) if isinstance(step, WeightStep)), default=0)


def _even(state: RolloutState, plan: RolloutPlan, closed: Sequence[Window]) -> bool:
    """Whether pods of both revisions are equally loaded while the routes do what the weight says."""
    newest = closed[-1] if closed else None
    stable = (newest.stable.ready_pods if newest else None) or state.floor
    candidate = (newest.candidate.ready_pods if newest else None) or state.pods
    if plan.by_pods or not stable or not candidate or state.weight >= 100:
        return True
    return not judge.unlike((100 - state.weight) / stable, state.weight / candidate, plan.settings)


def _trouble(found: Session | None, plan: RolloutPlan, windows: Windows, now: datetime) -> dict[str, Any]:
    """Why the last windows say nothing; of the worst first."""
    judged = {rule.metric for rule in plan.settings.rules}
    trouble: str = windows.trouble
    message = windows.message
    if trouble == "NoLatency" and "latency" not in judged:
        trouble = ""
    if trouble == "NoLatency" and plan.by_pods:
        message = NO_HISTOGRAMS
    if not trouble and _old(windows, plan, now):
        trouble, message = "ProviderDown", "No window of measurements has been closed for minutes"
    if trouble != "ProviderDown" and found is not None and found.quiet >= _quiet(plan):
        trouble, message = "NoData", "No request has come to the candidate for a minute or longer"
    untold = _untold(plan, windows)
    if untold and trouble in ("", "NoLatency"):
        trouble, message = "ProviderDown", untold
    return {"trouble": trouble, "trouble_message": message if trouble else ""}


def _untold(plan: RolloutPlan, windows: Windows) -> str:
    """Why the newest windows have no counts of a metric of the user's."""
    newest = windows.closed[-FEWEST_LOST:] if further(plan.settings.rules) else ()
    lost = len(newest) == FEWEST_LOST and all(window.untold for window in newest)
    return newest[-1].untold if lost else ""


def _quiet(plan: RolloutPlan) -> int:
    return max(QUIET_WINDOWS, math.ceil(QUIET_SECONDS / plan.window_seconds))


def _old(windows: Windows, plan: RolloutPlan, now: datetime) -> bool:
    newest = windows.closed[-1].end if windows.closed else math.inf
    return newest < now.timestamp() - OLD_SECONDS - 2 * plan.window_seconds


def _words(
    said: Sequence[Said], must: Sequence[bool], found: Session, plan: RolloutPlan, *, last: bool
) -> str:
    settings = plan.settings
    beta = settings.beta if last else max(settings.beta, course.INNER_BETA)
    told = [
        _metric(each, asked, -math.log(settings.alpha), -math.log(beta))
        for each, asked in zip(said, must, strict=True)
        if each.metric != "disagreement" or each.total > 0
    ]
    if not judge.correlation_known(found.course.whole):
        told.append("how far requests depend on each other is not known yet and taken to be much")
    return "; ".join(told)


def _metric(said: Said, asked: bool, back: float, on: float) -> str:
    if not said.total > 0:
        return f"{said.metric}: nothing to compare yet"
    rate, stable = _rate(said.bad, said.total), _rate(said.stable_bad, said.stable_total)
    counted = f"{said.total:,.0f}".replace(",", " ")
    for_on = f"{float(said.evidence.promote):.1f} of {on:.1f}" if asked else "not asked"
    return (
        f"{said.metric}: {rate} of {counted} {BAD.get(said.metric, 'bad')}, {stable} on the stable revision; "
        f"evidence {float(said.evidence.rollback):.1f} of {back:.1f} for rollback, {for_on} for going on"
    )


def _rate(bad: float, total: float) -> str:
    if not total > 0:
        return "none"
    return f"{bad / total:.2%}" if bad / total < FIGURES else f"{bad / total:.1%}"

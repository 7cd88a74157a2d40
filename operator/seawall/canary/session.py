"""One rollout's evidence from window to window, as a status keeps it: whoever reads the same windows from the
same status comes to the same evidence, to the last digit.

After every window the numbers are rounded as they will be written, so that it makes no difference whether
windows are read one by one or, by an operator that was away, all at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from seawall.canary import course as courses
from seawall.canary import judge
from seawall.canary.course import Course
from seawall.canary.judge import Evidence, Settings, State
from seawall.canary.kept import BOTH_LENGTH, keep_both, numbers, restore_both, texts
from seawall.canary.share import LENGTH as SHARE_LENGTH
from seawall.canary.share import Share
from seawall.canary.window import Arm, Metric, Window

SAME_MOMENT = 1e-3
UNLIKE = 0.5
SUMS = 10
"""Numbers that are kept of a session beside its share."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the rollout stands, and what its plan says of windows."""

    id: str
    step: int
    weight: int
    """percent"""
    since: float | None
    """when the weight was in force; None: it is not yet, or not any more"""
    seconds: float = 15.0
    warmup_seconds: float = 0.0
    warmup_requests: float = 0.0
    by_pods: bool = False
    """the share is that of the ready pods, whatever the weight was at the step's start"""

    def part(self, window: Window) -> float:
        """Of a window's requests, that the candidate is meant to get."""
        pods = window.stable.ready_pods, window.candidate.ready_pods
        if self.by_pods and pods[0] is not None and pods[1] is not None and pods[0] + pods[1] > 0:
            return pods[1] / (pods[0] + pods[1])
        return self.weight / 100


@dataclass(frozen=True, slots=True)
class Said:
    """What one metric says; counts are of all windows in which it was compared."""

    metric: Metric
    evidence: Evidence
    bad: float
    total: float
    stable_bad: float
    stable_total: float

    @property
    def ratio(self) -> float | None:
        if not self.stable_bad > 0 or not self.total > 0:
            return None
        return (self.bad / self.total) / (self.stable_bad / self.stable_total)


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    id: str
    step: int
    weight: int
    origin: float
    """when the candidate got its first weight: nothing that it did before counts"""
    course: Course
    stable: tuple[tuple[float, float], ...]
    """(bad, total) by metric, in the windows in which the candidate's counted"""
    share: Share = field(default_factory=Share)
    """of the requests of both arms, in this step"""
    seen: int = 0
    """windows of this step"""
    quiet: int = 0
    """windows of this step since the candidate's last request"""
    unlike: float = 0.0
    """fading share of this step's windows in which the arms were under unlike load"""
    alarmed: bool = False
    """the evidence has once been enough for a rollback, whatever came later"""

    @property
    def uneven(self) -> bool:
        """Not by the chance of one window, which is large where requests are few."""
        return self.unlike > UNLIKE

    @property
    def end(self) -> float:
        return float(self.course.whole.last_end)

    @property
    def requests(self) -> float:
        """Of the candidate, in this step."""
        return float(self.course.step.requests)

    def said(self, settings: Settings) -> tuple[Said, ...]:
        return tuple(
            Said(rule.metric, evidence, float(trail.bad), float(trail.total), *sums)
            for rule, evidence, trail, sums in zip(
                settings.rules,
                courses.weigh(self.course, settings),
                self.course.whole.trails,
                self.stable,
                strict=True,
            )
        )

    def outcome(self, said: Sequence[Said], must: Sequence[bool], settings: Settings, *, last: bool) -> int:
        """OPEN, ROLLBACK, or PROMOTE where this step is passed."""
        if self.alarmed:
            return judge.ROLLBACK
        found = int(courses.outcome([each.evidence for each in said], must, settings, last=last))
        return judge.OPEN if found == judge.PROMOTE and not self.requests > 0 else found


def put_back(session: Session, now: float) -> Session:
    """What was counted stays; windows that end from now on are new, whatever the clock had said before."""
    whole, step = (state._replace(last_end=min(state.last_end, now)) for state in session.course)
    return replace(session, origin=min(session.origin, now), course=Course(whole, step))


def read(
    session: Session | None, windows: Iterable[Window], place: Place, settings: Settings
) -> Session | None:
    """With the windows that were not counted yet; None until the first weight of a rollout is in force."""
    settings = replace(settings, warmup_windows=0)
    if session is None or session.id != place.id:
        if place.since is None:
            return None
        none = tuple((0.0, 0.0) for _ in settings.rules)
        session = Session(place.id, place.step, place.weight, place.since, courses.begin(settings), none)
    if place.since is not None and (session.step, session.weight) != (place.step, place.weight):
        session = replace(
            session,
            step=place.step,
            weight=place.weight,
            course=courses.next_step(session.course, settings),
            share=Share(),
            seen=0,
            quiet=0,
            unlike=0.0,
        )
    for window in windows:
        # One that overlaps the last was cut by another length of windows.
        if window.end > session.end and window.end - place.seconds >= session.end - SAME_MOMENT:
            session = _after(session, window, place, settings)
    return session


def _after(session: Session, window: Window, place: Place, settings: Settings) -> Session:
    began = window.began if window.began is not None else window.end - place.seconds
    if began < session.origin:
        window = replace(window, candidate=Arm())
    of_step = _in_step(session, window, began, place)
    warming = (
        not of_step
        or began < (place.since or 0.0) + place.warmup_seconds
        or float(session.course.whole.requests) < place.warmup_requests
    )
    window = replace(window, warming=warming or window.warming)
    before, course = session.course, courses.advance(session.course, window, settings, of_step)
    asked = float(np.asarray(window.candidate.requests)) > 0
    stable = tuple(
        (sums[0] + bad, sums[1] + total) if told.windows > known.windows else sums
        for sums, known, told, (bad, total) in zip(
            session.stable,
            before.whole.trails,
            course.whole.trails,
            ((float(b), float(t)) for b, t in (window.stable.seen(rule.metric) for rule in settings.rules)),
            strict=True,
        )
    )
    after = replace(session, course=course, stable=stable)
    if of_step:
        unlike = float(course.whole.mismatched > before.whole.mismatched)
        faded = judge.MEMORY * session.unlike + (1 - judge.MEMORY) * unlike
        after = replace(
            after,
            share=session.share.seen(
                float(window.stable.requests), float(window.candidate.requests), place.part(window)
            ),
            seen=session.seen + 1,
            quiet=0 if asked else session.quiet + 1,
            unlike=float(f"{faded:.9g}") if asked else session.unlike,
        )
    if asked and not after.alarmed:
        after = replace(after, alarmed=bool(judge.alarm(judge.weigh(course.whole, settings), settings)))
    return _rounded(after)


def _in_step(session: Session, window: Window, began: float, place: Place) -> bool:
    """The whole of it lies in the step at hand, and there was a pod that could be asked."""
    if place.since is None or (session.step, session.weight) != (place.step, place.weight):
        return False
    return began >= place.since and window.candidate.ready_pods != 0


def _rounded(session: Session) -> Session:
    trails = [
        restore_both(keep_both(whole, step))
        for whole, step in zip(session.course.whole.trails, session.course.step.trails, strict=True)
    ]
    whole, step = session.course
    return replace(
        session,
        course=Course(
            whole._replace(trails=tuple(pair[0] for pair in trails)),
            step._replace(trails=tuple(pair[1] for pair in trails)),
        ),
    )


def keep(session: Session, said: Sequence[Said], settings: Settings) -> dict[str, Any]:
    """As status.rollout.analysis has it; strings where a number has a fraction. `said`: by the session."""
    share = session.share.told()
    metrics = [
        _metric(each, keep_both(*trails), sums)
        for each, trails, sums in zip(
            said,
            zip(session.course.whole.trails, session.course.step.trails, strict=True),
            session.stable,
            strict=True,
        )
        if each.metric != "disagreement" or each.total > 0
    ]
    kept: dict[str, Any] = {
        "windowEnd": int(session.end) if math.isfinite(session.end) else None,
        "step": session.step,
        "designEffect": f"{max((float(each.evidence.effect) for each in said), default=1.0):.1f}",
        "share": f"{share:.1%}" if share is not None else None,
        "metrics": metrics,
        "kept": [session.id, _bounds(settings), *_sums(session)],
    }
    return {name: value for name, value in kept.items() if value is not None}


def _metric(said: Said, trails: list[str], stable: tuple[float, float]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "metric": said.metric,
        "logERollback": f"{float(said.evidence.rollback):.2f}",
        "logEPass": f"{float(said.evidence.promote):.2f}",
        "ratio": f"{said.ratio:.2f}" if said.ratio is not None else None,
        "candidateRequests": round(said.total),
        "stableRequests": round(said.stable_total),
        "kept": [*trails, *texts(stable)],
    }
    return {name: value for name, value in shown.items() if value is not None}


def _bounds(settings: Settings) -> str:
    """Evidence is for or against these; with others it begins anew."""
    return ";".join(
        f"{r.metric}:{r.floor:g}:{r.ratio_ok:g}:{r.ratio_bad:g}" + f":{r.of}" * bool(r.of)
        for r in settings.rules
    )


def _sums(session: Session) -> list[str]:
    whole, step = session.course
    moments = [f"{moment:.3f}" for moment in (session.end, session.origin)]
    counts = [whole.requests, step.requests, session.seen, session.quiet, session.weight, session.step]
    return [*moments, *texts([*counts, session.unlike, session.alarmed, *session.share.kept()])]


def restore(kept: object, rollout: str, settings: Settings) -> Session | None:
    """None where it is not what `keep` wrote of this very rollout: the evidence then begins anew."""
    try:
        return _restored(kept, rollout, settings)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError):
        return None


def _restored(kept: Any, rollout: str, settings: Settings) -> Session | None:
    name, bounds, *sums = kept["kept"]
    if name != rollout or bounds != _bounds(settings):
        return None
    told = numbers(sums, SUMS + SHARE_LENGTH)
    end, origin, requests, of_step, seen, quiet, weight, step, unlike, alarmed = told[:SUMS]
    if not 0 <= weight <= 100 or min(requests, of_step, seen, quiet) < 0 or step < 0:
        return None
    by_metric: Mapping[str, Sequence[str]] = {each["metric"]: each["kept"] for each in kept["metrics"]}
    empty = courses.begin(settings)
    trails, stable = [], []
    for rule, fresh, fresh_step in zip(settings.rules, empty.whole.trails, empty.step.trails, strict=True):
        if rule.metric not in by_metric and rule.metric == "disagreement":
            trails.append((fresh, fresh_step))
            stable.append((0.0, 0.0))
            continue
        texts_of = by_metric[rule.metric]
        trails.append(restore_both(texts_of[:BOTH_LENGTH]))
        bad, total = numbers(texts_of[BOTH_LENGTH:], 2)
        stable.append((float(bad), float(total)))
    whole = State(tuple(pair[0] for pair in trails), 0, np.asarray(requests), float(end), 0)
    here = State(tuple(pair[1] for pair in trails), 0, np.asarray(of_step), float(end), 0)
    return Session(
        rollout, int(step), int(weight), float(origin), Course(whole, here), tuple(stable),
        Share.restored(told[SUMS:].tolist()), int(seen), int(quiet), float(unlike), bool(alarmed),
    )  # fmt: skip

"""The Direct rollout, transition by transition: previous state + world -> step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall.cli.rollout import VERBS
from seawall.decide import rollout_commands
from seawall.decide.diagnose import Trouble
from seawall.decide.rollout import DRAIN, UNREACHABLE_LIMIT, advance
from seawall.decide.rollout_plan import RolloutPlan
from seawall.decide.rollout_state import Command, Phase, Rejection, RevisionState, RolloutState, Step, World
from seawall.decide.types import PlatformUpdate, Verdict, Verification
from support.fuzz import EXAMPLES

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
A, B, C = "aaaaaaaa", "bbbbbbbb", "cccccccc"
READY, UNREADY = RevisionState(ready=True, available=1), RevisionState(ready=False)
SERVING_A = RolloutState(id=f"1-{A}", stable=A)
UPDATING_TO_B = RolloutState(
    id=f"2-{B}", phase=Phase.STARTING, stable=A, candidate=B, started_at=NOW - timedelta(seconds=30)
)
PASSED_B = Verification(B, Verdict.PASSED)
WRONG_B = Verification(B, Verdict.WRONG, "output y holds NaN")
UNREACHABLE_B = Verification(B, Verdict.UNREACHABLE, "connection refused")
PAUSED = RolloutPlan(paused=True)


def retry(rollout: str) -> Command:
    return Command("retry", rollout, f"retry@{rollout}")


def world(target: str | None, **over: object) -> World:
    base = World(generation=2, now=NOW, revisions={}, target=target)
    return replace(base, **over)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Expected:
    serving: str | None
    keep: set[str]
    phase: Phase
    stable: str | None
    candidate: str | None = None
    verify: str | None = None
    events: tuple[str, ...] = ()
    platform: PlatformUpdate = PlatformUpdate.NONE


CASES: dict[str, tuple[RolloutState, World, Expected]] = {
    "a new service starts its first revision and routes to it": (
        RolloutState(),
        world(A),
        Expected(A, {A}, Phase.STARTING, None, A),
    ),
    "a first revision that became ready is asked for an answer": (
        RolloutState(id=f"1-{A}", candidate=A, phase=Phase.STARTING),
        world(A, revisions={A: READY}, selected=A),
        Expected(A, {A}, Phase.VERIFYING, None, A, verify=A),
    ),
    "a first revision that answers right is installed": (
        RolloutState(id=f"1-{A}", candidate=A, phase=Phase.STARTING),
        world(A, revisions={A: READY}, selected=A, verification=Verification(A, Verdict.PASSED)),
        Expected(A, {A}, Phase.IDLE, A, events=("Installed",)),
    ),
    "a first revision that answers wrong gets no traffic": (
        RolloutState(id=f"1-{A}", candidate=A, phase=Phase.STARTING),
        world(A, revisions={A: READY}, selected=A, verification=Verification(A, Verdict.WRONG, "NaN")),
        Expected(None, {A}, Phase.VERIFYING, None, A, events=("VerificationFailed",)),
    ),
    "a withheld first revision stays withheld until it answers right": (
        RolloutState(id=f"1-{A}", candidate=A, rejected=Rejection(A, "VerificationFailed", "NaN")),
        world(A, revisions={A: READY}),
        Expected(None, {A}, Phase.VERIFYING, None, A, verify=A),
    ),
    "a changed spec during the first install replaces the first revision": (
        RolloutState(id=f"1-{A}", candidate=A, phase=Phase.STARTING),
        world(B, revisions={A: UNREADY}),
        Expected(B, {B}, Phase.STARTING, None, B),
    ),
    "nothing to do when the spec asks for what is served": (
        SERVING_A,
        world(A, revisions={A: READY}, selected=A),
        Expected(A, {A}, Phase.IDLE, A),
    ),
    "a deleted stable Deployment is made again": (
        SERVING_A,
        world(A, revisions={}, selected=A),
        Expected(A, {A}, Phase.IDLE, A),
    ),
    "a change starts beside the serving revision": (
        SERVING_A,
        world(B, revisions={A: READY}, selected=A),
        Expected(A, {A, B}, Phase.STARTING, A, B, events=("RolloutStarted",)),
    ),
    "an unready candidate does not move traffic": (
        UPDATING_TO_B,
        world(B, revisions={A: READY, B: UNREADY}, selected=A),
        Expected(A, {A, B}, Phase.STARTING, A, B),
    ),
    "a ready candidate is asked for an answer first": (
        UPDATING_TO_B,
        world(B, revisions={A: READY, B: READY}, selected=A),
        Expected(A, {A, B}, Phase.VERIFYING, A, B, verify=B),
    ),
    "an answer of another revision does not count": (
        UPDATING_TO_B,
        world(B, revisions={A: READY, B: READY}, selected=A, verification=Verification(A, Verdict.PASSED)),
        Expected(A, {A, B}, Phase.VERIFYING, A, B, verify=B),
    ),
    "a right answer moves traffic and drains the old revision": (
        UPDATING_TO_B,
        world(B, revisions={A: READY, B: READY}, selected=A, verification=PASSED_B),
        Expected(B, {A, B}, Phase.DRAINING, B, events=("Promoted",)),
    ),
    "a wrong answer rejects the candidate and leaves traffic alone": (
        UPDATING_TO_B,
        world(B, revisions={A: READY, B: READY}, selected=A, verification=WRONG_B),
        Expected(A, {A}, Phase.ROLLED_BACK, A, events=("RolledBack",)),
    ),
    "silence says nothing about the model, so the rollout waits": (
        UPDATING_TO_B,
        world(B, revisions={A: READY, B: READY}, selected=A, verification=UNREACHABLE_B),
        Expected(A, {A, B}, Phase.VERIFYING, A, B),
    ),
    "silence for too long ends the rollout": (
        replace(UPDATING_TO_B, started_at=NOW - UNREACHABLE_LIMIT - timedelta(seconds=1)),
        world(B, revisions={A: READY, B: READY}, selected=A, verification=UNREACHABLE_B),
        Expected(A, {A}, Phase.ROLLED_BACK, A, events=("RolledBack",)),
    ),
    "a candidate past its deadline is rolled back": (
        UPDATING_TO_B,
        world(B, revisions={A: READY, B: RevisionState(False, deadline_exceeded=True)}, selected=A),
        Expected(A, {A}, Phase.ROLLED_BACK, A, events=("RolledBack",)),
    ),
    "a candidate that can never get better is rolled back at once": (
        UPDATING_TO_B,
        world(
            B,
            revisions={
                A: READY,
                B: RevisionState(False, trouble=Trouble("ModelReady", "DigestMismatch", "differs", True)),
            },
            selected=A,
        ),
        Expected(A, {A}, Phase.ROLLED_BACK, A, events=("RolledBack",)),
    ),
    "a rejected revision stays rejected when applied again": (
        replace(SERVING_A, rejected=Rejection(B, "VerificationFailed", "NaN"), phase=Phase.ROLLED_BACK),
        world(B, revisions={A: READY}, selected=A),
        Expected(A, {A}, Phase.ROLLED_BACK, A),
    ),
    "a retry command tries the rejected revision again": (
        replace(SERVING_A, rejected=Rejection(B, "VerificationFailed", "NaN"), phase=Phase.ROLLED_BACK),
        world(B, revisions={A: READY}, selected=A, command=retry(f"1-{A}")),
        Expected(A, {A, B}, Phase.STARTING, A, B, events=("CommandAccepted", "RolloutStarted")),
    ),
    "a retry command counts once": (
        replace(SERVING_A, rejected=Rejection(B, "X", "x"), last_command=f"retry@1-{A}"),
        world(B, revisions={A: READY}, selected=A, command=retry(f"1-{A}")),
        Expected(A, {A}, Phase.ROLLED_BACK, A),
    ),
    "the old revision stays while connections drain": (
        replace(SERVING_A, stable=B, switched_at=NOW - DRAIN / 2, phase=Phase.DRAINING),
        world(B, revisions={A: READY, B: READY}, selected=B),
        Expected(B, {A, B}, Phase.DRAINING, B),
    ),
    "the old revision goes after the drain time": (
        replace(SERVING_A, stable=B, switched_at=NOW - DRAIN, phase=Phase.DRAINING),
        world(B, revisions={A: READY, B: READY}, selected=B),
        Expected(B, {B}, Phase.IDLE, B),
    ),
    "an operator killed between switch and status goes forward, not back": (
        UPDATING_TO_B,
        world(B, revisions={A: READY, B: READY}, selected=B),
        Expected(B, {A, B}, Phase.DRAINING, B),
    ),
    "a reverted spec drops the candidate": (
        UPDATING_TO_B,
        world(A, revisions={A: READY, B: UNREADY}, selected=A),
        Expected(A, {A}, Phase.IDLE, A, events=("RolloutAborted",)),
    ),
    "a third spec in the middle replaces the candidate": (
        UPDATING_TO_B,
        world(C, revisions={A: READY, B: READY}, selected=A),
        Expected(A, {A, C}, Phase.STARTING, A, C, events=("RolloutStarted",)),
    ),
    "a refused spec changes nothing that runs": (
        UPDATING_TO_B,
        world(None, revisions={A: READY, B: READY}, selected=A),
        Expected(A, {A, B}, Phase.STARTING, A, B),
    ),
    "a refused spec with a lost status keeps what the Service selects": (
        RolloutState(),
        world(None, revisions={A: READY}, selected=A),
        Expected(A, {A}, Phase.IDLE, A),
    ),
    "a lost status is taken up from the Service": (
        RolloutState(),
        world(B, revisions={A: READY}, selected=A),
        Expected(A, {A, B}, Phase.STARTING, A, B, events=("RolloutStarted",)),
    ),
    "paused: a change does not start": (
        SERVING_A,
        world(B, revisions={A: READY}, selected=A, plan=PAUSED),
        Expected(A, {A}, Phase.PAUSED, A),
    ),
    "paused: a candidate under way is held before the switch": (
        UPDATING_TO_B,
        world(B, revisions={A: READY, B: READY}, selected=A, plan=PAUSED, verification=PASSED_B),
        Expected(A, {A, B}, Phase.PAUSED, A, B),
    ),
    "a platform change without a slot waits": (
        SERVING_A,
        world(B, revisions={A: READY}, selected=A, platform_only=True, platform_slot=False),
        Expected(A, {A}, Phase.IDLE, A, platform=PlatformUpdate.WAITING),
    ),
    "a platform change with a slot runs": (
        SERVING_A,
        world(B, revisions={A: READY}, selected=A, platform_only=True),
        Expected(
            A, {A, B}, Phase.STARTING, A, B, events=("RolloutStarted",), platform=PlatformUpdate.RUNNING
        ),
    ),
    "a platform change under way keeps its slot": (
        replace(UPDATING_TO_B, trigger="Platform"),
        world(B, revisions={A: READY, B: UNREADY}, selected=A, platform_only=True, platform_slot=False),
        Expected(A, {A, B}, Phase.STARTING, A, B, platform=PlatformUpdate.RUNNING),
    ),
    "a lost stable revision leaves the wanted one to serve": (
        UPDATING_TO_B,
        world(B, revisions={B: UNREADY}, selected=A),
        Expected(B, {B}, Phase.STARTING, None, B),
    ),
}


def seen(step: Step) -> Expected:
    return Expected(
        step.serving,
        set(step.keep),
        step.state.phase,
        step.state.stable,
        step.state.candidate,
        step.verify,
        tuple(e.reason for e in step.events),
        step.platform_update,
    )


@pytest.mark.parametrize("name", CASES)
def test_transition(name: str) -> None:
    state, around, expected = CASES[name]
    assert seen(advance(state, around)) == expected


@pytest.mark.parametrize("name", CASES)
def test_state_survives_the_status(name: str) -> None:
    step = advance(*CASES[name][:2])
    assert RolloutState.of(step.state.to_status()).to_status() == step.state.to_status()


def test_trying_again_gets_an_id_of_its_own() -> None:
    rejected = RolloutState(id=f"2-{B}", stable=A, rejected=Rejection(B, "X", "x"))
    step = advance(rejected, world(B, revisions={A: READY}, selected=A, command=retry(f"2-{B}")))
    assert step.state.id == f"2-{B}-2"


REVISIONS = st.sampled_from([A, B, C])
STATES = st.builds(
    RolloutState,
    id=st.sampled_from(["", f"1-{A}", f"2-{B}"]),
    phase=st.sampled_from(list(Phase)),
    stable=st.none() | REVISIONS,
    candidate=st.none() | REVISIONS,
    trigger=st.sampled_from(["Spec", "Platform"]),
    started_at=st.none() | st.just(NOW - timedelta(seconds=30)),
    switched_at=st.none() | st.integers(-40, 0).map(lambda s: NOW + timedelta(seconds=s)),
    rejected=st.none() | REVISIONS.map(lambda r: Rejection(r, "VerificationFailed", "NaN")),
)
WORLDS = st.builds(
    World,
    generation=st.integers(1, 9),
    now=st.just(NOW),
    revisions=st.dictionaries(REVISIONS, st.sampled_from([READY, UNREADY])),
    target=st.none() | REVISIONS,
    platform_only=st.booleans(),
    platform_slot=st.booleans(),
    selected=st.none() | REVISIONS,
    verification=st.none() | st.builds(Verification, REVISIONS, st.sampled_from(list(Verdict)), st.just("m")),
    plan=st.booleans().map(lambda paused: RolloutPlan(paused=paused)),
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(state=STATES, around=WORLDS)
def test_traffic_only_ever_moves_to_a_verified_revision(state: RolloutState, around: World) -> None:
    step = advance(state, around)
    if step.switches:
        answer = around.verification
        assert answer is not None
        assert (answer.revision, answer.verdict) == (step.serving, Verdict.PASSED)
        assert around.revisions[step.serving].ready


@settings(max_examples=EXAMPLES, deadline=None)
@given(state=STATES, around=WORLDS)
def test_what_is_served_is_never_thrown_away(state: RolloutState, around: World) -> None:
    step = advance(state, around)
    if step.serving is not None:
        assert step.serving in step.keep


@settings(max_examples=EXAMPLES, deadline=None)
@given(state=STATES, around=WORLDS)
def test_a_step_repeated_in_the_same_world_changes_nothing_more(state: RolloutState, around: World) -> None:
    first = advance(state, around)
    after = replace(
        around, selected=first.serving, revisions={r: around.revisions.get(r, UNREADY) for r in first.keep}
    )
    second = advance(first.state, after)
    third = advance(second.state, replace(after, selected=second.serving))
    assert third.state == advance(third.state, replace(after, selected=third.serving)).state


def test_the_command_line_offers_the_words_that_are_obeyed() -> None:
    assert tuple(VERBS) == rollout_commands.VERBS

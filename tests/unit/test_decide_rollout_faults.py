"""What may go wrong during a canary, fault by fault: where the traffic goes, and whom it counts against."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from seawall.decide.diagnose import Trouble
from seawall.decide.rollout_state import Look, Phase
from seawall.decide.types import Verdict
from support.rollout_cases import canary, hold, pause, rejected, watching
from support.rollout_sim import (
    CRASHING,
    NO_GPU,
    OPEN,
    PASS,
    WORSE,
    WRITES,
    A,
    B,
    C,
    D,
    Pods,
    Sim,
)

# --- the operator killed between any two writes; two operators; a status that lags or is refused


@pytest.mark.parametrize("killed_after", ["nothing", *WRITES])
def test_an_operator_killed_after_any_write_comes_to_the_same_end_without_a_jump(killed_after: str) -> None:
    sim, weights, killed = Sim.serving(), [0], 0
    sim.edit(B)
    for number in range(120):
        before = sim.state.weight
        # Killed every other look, so that each transition is met both ways.
        sim.look(killed_after if number % 2 else None)
        killed += number % 2
        assert sim.weight <= max(before, weights[-1])
        weights.append(sim.weight)
        sim.wait(1)
    rises = [w for w, after in pairwise(weights) if after > w]
    assert rises == [0, 20, 50]  # to 20, to 50, to 100, each once
    assert (sim.selected, sim.state.phase, killed) == (B, Phase.WATCHING, 60)
    assert sim.reasons().count("Promoted") <= 1


def test_two_operators_on_the_same_status_do_the_same() -> None:
    sim = canary()
    sim.look_says = PASS
    for _ in range(30):
        step, again = sim.decide(), sim.decide()
        assert step == again
        sim.look()


def test_a_status_write_that_is_refused_moves_no_traffic() -> None:
    sim = Sim.serving()
    sim.edit(B)
    sim.until(lambda s: s.step == 1 and s.pods == 1)
    for _ in range(10):
        sim.look("deletions")  # all but the status
    assert sim.weight == 0
    sim.looks(2)
    assert sim.weight == 20


def test_a_lost_status_in_the_middle_of_a_canary() -> None:
    sim = canary()
    sim.status = None
    sim.look()
    assert (sim.weight, sim.selected, sim.state.stable) == (0, A, A)
    sim.look_says = PASS
    sim.until(lambda s: s.phase is Phase.WATCHING)


# --- the spec changes


def test_new_spec_mid_run_and_then_a_third() -> None:
    sim = canary()
    old = sim.state.id
    sim.edit(C)
    sim.look()
    assert (sim.weight, sim.state.candidate, set(sim.revisions)) == (0, B, {A, B})
    sim.edit(D)
    sim.look()
    assert (sim.state.candidate, sim.state.id != old) == (D, True)
    assert (sim.state.step, sim.state.analysis, sim.state.rejected) == (None, None, None)
    assert C not in sim.revisions
    assert [h["outcome"] for h in sim.state.history] == ["Aborted"]
    assert B in sim.revisions  # for the drain time
    sim.wait(20)
    sim.looks(2)
    assert B not in sim.revisions
    sim.look_says = PASS
    sim.until(lambda s: s.phase is Phase.WATCHING)
    assert sim.selected == D


def test_the_old_candidate_keeps_its_pods_until_the_gateways_have_taken_the_weight_in() -> None:
    sim = canary()
    sim.instant = False
    sim.edit(C)
    sim.looks(5)
    assert (sim.weight, sim.state.candidate, hold(sim)) == (0, B, "TrafficLeaves")
    assert (sim.trial, B in sim.revisions) == (A, True)  # its Service selects others at once
    for route in sim.routes or ():
        route.settled = True
    sim.look()
    assert sim.state.candidate == C


def test_spec_reverted_to_stable_mid_run_aborts_without_analysis() -> None:
    sim = canary()
    sim.edit(A)
    sim.look()
    assert (sim.weight, sim.state.phase) == (0, Phase.ROLLING_BACK)
    sim.look()
    assert sim.reasons()[-1] == "RolloutAborted"
    assert rejected(sim) == ("", "")
    sim.wait(20)
    sim.looks(2)
    assert (sim.state.phase, set(sim.revisions)) == (Phase.IDLE, {A})


def test_spec_reverted_to_the_previous_revision_while_watching_switches_at_once() -> None:
    sim = watching()
    sim.edit(A)
    sim.look()
    assert (sim.selected, sim.trial, sim.weight) == (A, A, 0)
    assert sim.state.history[0]["reason"] == "SpecReverted"
    sim.wait(20)
    sim.looks(2)
    assert (sim.state.phase, set(sim.revisions)) == (Phase.IDLE, {A})


def test_the_way_back_by_the_spec_waits_a_minute_for_all_pods_of_the_old_revision() -> None:
    sim = watching()
    sim.revisions[A] = Pods(4, 1, stuck=True)
    sim.edit(A)
    sim.look()
    assert (sim.selected, hold(sim)) == (B, "PreviousNotReady")
    sim.wait(61)
    sim.look()
    assert sim.selected == A


def test_a_previous_revision_whose_deployment_is_gone_is_rolled_out_like_any_other() -> None:
    sim = watching()
    del sim.revisions[A]
    sim.edit(A)
    sim.look()
    assert (sim.state.candidate, sim.selected) == (A, B)
    sim.until(lambda s: s.phase is Phase.WATCHING)
    assert sim.selected == A


def test_a_new_spec_while_watching_lets_the_warm_revision_go() -> None:
    sim = watching()
    sim.wait(20)
    sim.edit(C)
    sim.looks(2)
    assert (sim.state.candidate, A in sim.revisions) == (C, False)


def test_a_rejected_revision_applied_again_stays_rejected_until_retry_or_change() -> None:
    sim = canary()
    sim.look_says = WORSE
    sim.until(lambda s: s.phase is Phase.ROLLED_BACK)
    sim.look_says = PASS
    for _ in range(5):
        sim.edit(B)  # the same spec, applied again
        sim.wait(600)
        sim.look()
        assert (sim.state.phase, sim.selected, set(sim.revisions)) == (Phase.ROLLED_BACK, A, {A})
    assert sim.reasons().count("RolledBack") == 1
    sim.edit(A)
    sim.looks(2)
    sim.edit(B)
    sim.looks(2)
    assert sim.state.phase is Phase.ROLLED_BACK
    sim.edit(C)
    sim.until(lambda s: s.phase is Phase.WATCHING)
    assert sim.selected == C


def test_a_spec_that_is_refused_mid_run_takes_the_weight_away_and_throws_nothing_away() -> None:
    sim = canary()
    sim.edit(None)
    sim.look()
    assert (sim.weight, sim.selected, set(sim.revisions)) == (0, A, {A, B})
    assert hold(sim) == "SpecRefused"
    sim.edit(B)
    sim.until(lambda s: s.step_started_at is not None)
    assert (sim.weight, sim.state.step, sim.state.conflicts) == (20, 1, 0)


def test_a_spec_that_needs_a_build_mid_run_ends_the_canary() -> None:
    sim = canary()
    sim.edit(C)
    sim.build = "Running"  # type: ignore[assignment]
    sim.looks(2)
    assert (sim.weight, sim.state.candidate, sim.state.phase) == (0, None, Phase.BUILDING)


# --- the candidate


def test_a_candidate_that_never_becomes_ready_is_rolled_back_at_the_deadline() -> None:
    sim = Sim.serving(instant=False)
    sim.edit(B)
    sim.looks(2)
    sim.revisions[B].trouble = CRASHING
    sim.wait(1199)
    sim.look()
    assert sim.state.phase is Phase.STARTING
    sim.wait(2)
    sim.look()
    assert rejected(sim) == (B, "CrashLooping")
    assert set(sim.revisions) == {A}


def test_a_candidate_that_can_never_start_is_rolled_back_at_once() -> None:
    sim = Sim.serving(instant=False)
    sim.edit(B)
    sim.looks(2)
    sim.revisions[B].trouble = Trouble("ModelReady", "DigestMismatch", "is not 9f86", permanent=True)
    sim.look()
    assert rejected(sim) == (B, "DigestMismatch")


def test_a_candidate_that_answers_wrong_gets_no_traffic() -> None:
    sim = Sim.serving(verdict=Verdict.WRONG)
    sim.edit(B)
    sim.looks(4)
    assert rejected(sim) == (B, "VerificationFailed")
    assert (sim.weight, set(sim.revisions)) == (0, {A})


def test_a_crash_after_traffic_takes_the_weight_away_in_the_very_look() -> None:
    sim = canary(2)
    sim.revisions[B] = Pods(4, 0, CRASHING, stuck=True)
    sim.look()
    assert (sim.weight, hold(sim), sim.state.rejected) == (0, "CandidateNotReady", None)
    sim.wait(299)
    sim.look()
    assert sim.state.rejected is None
    sim.wait(2)
    sim.look()
    assert rejected(sim) == (B, "CrashLooping")
    sim.looks(2)
    assert sim.state.candidate is None


def test_pods_that_come_back_in_time_get_the_weight_again() -> None:
    sim = canary(2)
    sim.revisions[B] = Pods(4, 0, stuck=True)
    sim.look()
    sim.revisions[B] = Pods(4, 4)
    sim.until(lambda s: s.step_started_at is not None)
    assert (sim.weight, sim.state.losses) == (50, 1)


def test_a_crash_loop_is_found_out_though_every_single_crash_is_short() -> None:
    sim = canary()
    for _ in range(3):
        assert sim.state.rejected is None
        sim.revisions[B] = Pods(1, 0, CRASHING, stuck=True)
        sim.look()
        assert sim.weight == 0
        sim.wait(30)
        sim.revisions[B] = Pods(1, 1)
        sim.looks(6)
    assert rejected(sim) == (B, "CrashLooping")


def test_a_deployment_deleted_by_hand_counts_as_no_pod() -> None:
    sim = canary()
    sim.instant = False
    del sim.revisions[B]
    sim.look()
    assert (sim.weight, hold(sim), B in sim.revisions) == (0, "CandidateNotReady", True)


@pytest.mark.parametrize("paused", [True, False], ids=["while paused", "on its way"])
def test_an_old_loss_does_not_hasten_the_end_of_a_new_one(paused: bool) -> None:
    sim = canary()
    if paused:
        sim.say("pause")
        sim.look()
    for _ in range(2):
        sim.revisions[B] = Pods(1, 0, stuck=True)
        sim.look()
        sim.revisions[B] = Pods(1, 1)
        sim.looks(6)
        sim.wait(3600)
    assert sim.state.rejected is None


def test_the_candidates_service_selects_the_stable_pods_while_it_has_none_itself() -> None:
    sim = canary()
    sim.revisions[B] = Pods(1, 0, stuck=True)
    sim.look()
    assert sim.trial == A
    sim.revisions[B] = Pods(1, 1)
    sim.look()
    assert sim.trial == B


def test_a_candidate_that_has_answered_takes_the_place_of_a_stable_revision_that_is_gone() -> None:
    sim = canary()
    del sim.revisions[A]
    sim.looks(2)
    assert (sim.selected, sim.trial, sim.state.stable) == (B, B, B)


def test_a_rejected_candidate_does_not_take_that_place() -> None:
    sim = canary(instant=True)
    sim.instant = False
    sim.look_says = WORSE
    sim.look()
    del sim.revisions[A]
    sim.look()
    assert (sim.selected, sim.state.stable) == (None, None)


# --- capacity


def test_no_gpu_for_the_first_pod_holds_then_pauses_and_rejects_nobody() -> None:
    sim = Sim.serving(instant=False)
    sim.edit(B)
    sim.looks(2)
    sim.revisions[B].trouble = NO_GPU
    sim.look()
    assert hold(sim) == "CapacityUnavailable"
    sim.wait(1201)
    sim.look()
    assert (pause(sim), sim.state.rejected, sim.state.phase) == ("CapacityUnavailable", None, Phase.PAUSED)
    sim.revisions[B] = Pods(1, 1)
    sim.instant = True
    sim.say("resume")
    sim.until(lambda s: s.phase is Phase.WATCHING)


def test_no_gpu_for_surge_at_a_later_step_keeps_the_weight_that_its_pods_carry() -> None:
    sim = canary()
    sim.look_says = PASS
    sim.until(lambda s: s.step == 2)
    sim.instant = False
    sim.revisions[B].stuck = True
    sim.looks(3)
    assert (hold(sim), sim.weight) == ("CapacityUnavailable", 20)
    sim.wait(1201)
    sim.look()
    assert (pause(sim), sim.weight, sim.state.rejected) == ("CapacityUnavailable", 20, None)


def test_a_stable_pod_lost_mid_run_holds_and_is_not_blamed_on_the_candidate() -> None:
    sim = canary()
    sim.revisions[A] = Pods(4, 3, stuck=True)
    sim.look_says = PASS
    for _ in range(5):
        sim.wait(3600)
        sim.look()
        assert (hold(sim), sim.weight, sim.state.step) == ("StableNotReady", 20, 1)
    assert (pause(sim), rejected(sim)) == ("", ("", ""))
    sim.revisions[A] = Pods(4, 4)
    sim.until(lambda s: s.phase is Phase.WATCHING)


# --- what is measured


def waits(look: Look) -> tuple[Sim, str]:
    sim = canary()
    sim.look_says = look
    for _ in range(3):
        sim.look()
        sim.wait(30)
    assert (sim.state.step, sim.weight, sim.state.rejected) == (1, 20, None)
    return sim, hold(sim)


MEASURED: dict[str, tuple[Look, str, float, str]] = {
    "both arms breach: hold, neither promoted nor rolled back": (
        replace(PASS, breaching=True), "StableBreaching", 1801, "StableBreaching"
    ),
    "share of the requests is not the weight: no pass": (
        replace(PASS, share=0.02, share_wrong=True), "WeightNotHonoured", 1801, "WeightNotHonoured"
    ),
    "pods are not equally loaded: no pass": (
        replace(OPEN, mismatched=True), "LoadMismatch", 1801, "LoadMismatch"
    ),
    "Prometheus down, stale or contradicting itself: hold": (
        replace(PASS, trouble="ProviderDown", trouble_message="two series"), "ProviderDown", 601, "ProviderDown"
    ),
    "no latency to be had: hold": (
        replace(PASS, trouble="NoLatency", trouble_message="no histogram"), "NoLatency", 601, "NoLatency"
    ),
    "no traffic: hold": (
        replace(OPEN, trouble="NoData", trouble_message="no request"), "NoData", 901, "NoData"
    ),
    "very low traffic: inconclusive when the time is up": (OPEN, "Analysing", 1801, "Inconclusive"),
}  # fmt: skip


@pytest.mark.parametrize("name", MEASURED)
def test_measured(name: str) -> None:
    look, reason, seconds, after = MEASURED[name]
    sim, said = waits(look)
    assert said == reason
    sim.wait(seconds)
    sim.look()
    assert (pause(sim), sim.state.phase, sim.state.rejected) == (after, Phase.PAUSED, None)


def test_a_short_outage_of_the_provider_leaves_no_trace() -> None:
    sim, _ = waits(replace(PASS, trouble="ProviderDown", trouble_message="timeout"))
    sim.look_says = PASS
    sim.until(lambda s: s.phase is Phase.WATCHING)


def test_a_candidate_that_is_proven_worse_goes_also_while_the_last_windows_say_nothing() -> None:
    sim = canary()
    sim.look_says = replace(WORSE, trouble="ProviderDown")
    sim.look()
    assert (sim.weight, rejected(sim)) == (0, (B, "Regression"))


def test_golden_set_missing_or_corrupt_pauses() -> None:
    sim = Sim.serving(answers="Unknown")
    sim.edit(B)
    sim.until(lambda s: s.phase is Phase.PAUSED)
    assert (pause(sim), sim.weight, sim.state.rejected) == ("QualityUnknown", 0, None)


def test_candidate_faster_but_wrong_is_rejected_before_it_has_traffic() -> None:
    sim = Sim.serving(answers="Fail")
    sim.edit(B)
    sim.until(lambda s: s.phase is Phase.ROLLED_BACK)
    assert (rejected(sim), sim.weight) == ((B, "AnswersDiffer"), 0)


def test_answers_that_never_come_pause() -> None:
    sim = Sim.serving(answers="")
    sim.edit(B)
    sim.until(lambda s: s.phase is Phase.QUALITY)
    assert sim.look().compare
    sim.wait(1201)
    sim.look()
    assert pause(sim) == "QualityUnknown"

"""What may go wrong with a rollout, row by row, and the tests that show what happens then.

A row that loses its last test, or names one that is not there, fails here. Where a fault lives in the API
server, a gateway or a server, one of its tests is there too; those need programs and run by their own markers.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
ROWS: dict[str, tuple[str, ...]] = {
    "operator killed between any two steps of the protocol": (
        "unit/test_runtime_rollout_crash.py::test_killed_at_every_write_and_replaced_at_once",
        "unit/test_decide_rollout_faults.py::test_an_operator_killed_after_any_write_comes_to_the_same_end_without_a_jump",
        "apiserver/test_rollouts.py::test_two_rollouts_come_to_their_ends_through_four_ends_of_the_leader",
        "apiserver/test_rollouts.py::test_two_rollouts_by_pods_come_to_their_ends_through_four_ends_of_the_leader",
        "e2e/gateway/test_rollouts_disturbed.py::test_the_operator_is_killed_at_every_step_of_the_way",
    ),
    "two operators alive": (
        "unit/test_decide_rollout_faults.py::test_two_operators_on_the_same_status_do_the_same",
        "unit/test_canary_judge.py::test_a_window_read_again_or_late_changes_nothing",
        "unit/test_runtime_rollout.py::test_without_the_lease_a_rollout_stands_and_the_next_leader_goes_on",
    ),
    "conflict of a status, 409, 429, 5xx": (
        "unit/test_decide_rollout_faults.py::test_a_status_write_that_is_refused_moves_no_traffic",
        "unit/test_runtime_rollout_crash.py::test_every_write_fails_once",
        "apiserver/test_routes.py::test_an_edit_at_the_same_moment_wins_and_the_next_look_follows_it",
    ),
    "a watch that expires": (
        "unit/test_runtime_watch.py::test_the_first_fill_wakes_nobody_and_later_lists_tell_of_every_difference",
        "unit/test_runtime_watch.py::test_a_refused_list_is_followed_by_none",
    ),
    "another spec mid-run, then a third": (
        "unit/test_decide_rollout_faults.py::test_new_spec_mid_run_and_then_a_third",
        "unit/test_runtime_rollout.py::test_a_third_spec_starts_when_the_second_has_no_traffic_any_more",
        "unit/test_decide_rollout_pods.py::test_another_spec_has_the_services_for_itself_first",
    ),
    "spec reverted mid-run": (
        "unit/test_decide_rollout_faults.py::test_spec_reverted_to_stable_mid_run_aborts_without_analysis",
        "e2e/gateway/test_rollouts.py::test_a_spec_that_is_taken_back_in_the_middle_of_a_step",
    ),
    "a rejected revision applied again": (
        "unit/test_decide_rollout_faults.py::test_a_rejected_revision_applied_again_stays_rejected_until_retry_or_change",
        "e2e/gateway/test_rollouts.py::test_what_was_rejected_stays_rejected",
    ),
    "a candidate that never becomes ready": (
        "unit/test_decide_rollout_faults.py::test_a_candidate_that_never_becomes_ready_is_rolled_back_at_the_deadline",
        "unit/test_decide_rollout_faults.py::test_a_candidate_that_can_never_start_is_rolled_back_at_once",
        "unit/test_decide_rollout_faults.py::test_a_spec_that_needs_a_build_mid_run_ends_the_canary",
    ),
    "a candidate that dies under traffic": (
        "unit/test_decide_rollout_faults.py::test_a_crash_after_traffic_takes_the_weight_away_in_the_very_look",
        "unit/test_decide_rollout_faults.py::test_a_crash_loop_is_found_out_though_every_single_crash_is_short",
        "e2e/gateway/test_rollouts_disturbed.py::test_the_candidates_pods_are_taken_away_in_the_middle_of_a_step",
    ),
    "no device for the surge": (
        "unit/test_decide_rollout_faults.py::test_no_gpu_for_the_first_pod_holds_then_pauses_and_rejects_nobody",
        "unit/test_decide_rollout_faults.py::test_no_gpu_for_surge_at_a_later_step_keeps_the_weight_that_its_pods_carry",
        "unit/test_decide_rollout_random.py::test_lives_with_displaced_pods_keep_every_promise",
    ),
    "stable pods lost mid-run": (
        "unit/test_decide_rollout_faults.py::test_a_stable_pod_lost_mid_run_holds_and_is_not_blamed_on_the_candidate",
        "unit/test_runtime_rollout.py::test_a_lost_node_stops_an_analysis_and_counts_against_nobody",
    ),
    "both revisions miss the objective": (
        "unit/test_decide_analysis.py::test_a_stable_revision_that_breaches_is_told_and_nothing_is_passed",
        "unit/test_canary_judge.py::test_nothing_is_promoted_nor_blamed_while_both_arms_breach",
    ),
    "Prometheus silent, slow, stale, contradictory": (
        "unit/test_decide_analysis.py::test_why_the_last_windows_say_nothing",
        "unit/test_decide_rollout_faults.py::test_a_short_outage_of_the_provider_leaves_no_trace",
        "unit/test_adapters_prometheus.py::test_nonsense_is_no_data",
        "unit/test_adapters_prometheus.py::test_a_users_query_is_one_number_or_a_sentence",
        "e2e/gateway/test_gateway.py::test_a_silent_prometheus_takes_no_pod_and_is_told_at_once",
    ),
    "a clock that is wrong or jumps": (
        "unit/test_decide_rollout_clock.py::test_the_analysis_goes_on",
        "unit/test_decide_analysis.py::test_a_clock_that_is_put_back_skips_no_window_and_counts_none_twice",
        "unit/test_canary_cutter.py::test_a_clock_that_is_set_stops_nothing_for_long",
        "unit/test_measure_window.py::test_a_clock_that_was_put_back_is_followed_after_a_while",
    ),
    "counters that begin anew, pods that come and go, gaps": (
        "unit/test_canary_cutter.py::test_the_window_of_a_restart_is_left_out",
        "unit/test_canary_cutter.py::test_the_window_in_which_a_pod_leaves_is_left_out",
        "unit/test_canary_cutter.py::test_after_a_gap_windows_begin_anew",
    ),
    "buckets that differ between the arms": (
        "unit/test_canary_cutter.py::test_the_window_of_another_layout_is_left_out",
        "unit/test_canary_cutter.py::test_late_is_what_lies_above_an_edge_that_both_arms_have",
    ),
    "little or no traffic": (
        "unit/test_decide_rollout_faults.py::test_measured",
        "unit/test_canary_montecarlo.py::test_a_bad_candidate_is_rarely_promoted",
    ),
    "an objective on no edge, counters or summaries alone": (
        "unit/test_canary_judge.py::test_a_candidate_must_pass_by_the_lower_edge_and_fail_by_the_higher",
        "unit/test_canary_cutter.py::test_without_a_histogram_errors_are_counted_and_latency_is_not",
        "unit/test_canary_cutter.py::test_of_summaries_and_histograms_together_no_latency_is_told",
        "unit/test_decide_analysis.py::test_servers_without_histograms_leave_nothing_to_compare_where_pods_split",
    ),
    "requests that depend on each other": (
        "unit/test_canary_montecarlo.py::test_a_sound_candidate_is_rarely_rolled_back",
        "unit/test_canary_montecarlo.py::test_clinging_requests_without_a_design_effect_would_break_the_promise",
    ),
    "routes deleted, edited, shared, set back": (
        "unit/test_decide_rollout_routes.py::test_weights_reset_by_others_are_written_again_and_a_repeated_fight_pauses",
        "unit/test_decide_rollout_pods.py::test_selectors_that_somebody_writes_again_and_again_are_left_to_a_person",
        "apiserver/test_routes.py::test_weights_are_set_in_somebodys_route_and_nothing_else_is",
        "e2e/gateway/test_rollouts_disturbed.py::test_only_our_weights_change_in_a_route_of_the_users",
    ),
    "routes that fail, lag or are not accepted": (
        "unit/test_decide_rollout_routes.py::test_route_problem_holds_then_pauses_with_no_weight",
        "unit/test_decide_rollout_routes.py::test_rollback_lowers_every_route_that_can_be_lowered",
        "unit/test_decide_rollout_routes.py::test_routes_that_can_never_be_lowered_do_not_keep_a_bad_candidate_in_traffic",
        "apiserver/test_routes.py::test_what_the_gateways_say_is_read_at_the_generation_that_counts",
    ),
    "a gateway that ignores weights": (
        "unit/test_decide_analysis.py::test_a_share_that_is_not_the_weight_is_told",
        "unit/test_canary_session.py::test_the_share_of_the_requests",
    ),
    "long-lived connections where no gateway splits": (
        "unit/test_decide_rollout_pods.py::test_clients_that_keep_to_their_pods_let_nobody_pass",
        "unit/test_canary_share.py::test_connections_of_some_minutes_are_told_from_connections_for_good",
    ),
    "an autoscaler moves replicas mid-step": (
        "unit/test_runtime_rollout.py::test_an_autoscaler_takes_no_pods_away_until_there_is_no_way_back",
        "unit/test_runtime_rollout_pods.py::test_an_autoscaler_that_adds_stable_pods_begins_no_step_anew",
        "unit/test_canary_judge.py::test_latency_under_unlike_load_does_not_count_but_errors_do",
    ),
    "back while the stable revision has fewer pods": (
        "unit/test_decide_rollout_displace.py::test_on_the_way_back_the_stable_revision_always_carries_what_it_has",
        "unit/test_decide_rollout_displace.py::test_errors_and_lost_pods_take_all_of_the_traffic_away_at_once",
    ),
    "abort at any time, words that come too late": (
        "unit/test_decide_rollout_canary.py::test_abort_goes_over_promote_full",
        "unit/test_decide_rollout_canary.py::test_abort_in_the_watch_is_the_instant_way_back",
        "unit/test_decide_rollout_canary.py::test_a_command_for_another_rollout_is_answered_and_not_obeyed",
        "e2e/gateway/test_rollouts.py::test_a_word_for_another_rollout_is_refused",
    ),
    "a service deleted mid-run": (
        "unit/test_runtime_rollout_pods.py::test_a_service_deleted_in_the_middle_of_a_step_is_left_to_the_garbage_collection",
    ),
    "a status of another version": (
        "unit/test_decide_rollout_routes.py::test_a_phase_of_another_version_means_no_traffic_until_all_is_derived_again",
        "unit/test_decide_rollout_routes.py::test_garbage_in_any_field_of_the_status_is_no_exception_and_no_jump",
        "unit/test_decide_analysis.py::test_evidence_that_cannot_be_read_begins_anew",
    ),
    "a golden set missing or corrupt, a model that does not repeat itself": (
        "unit/test_decide_rollout_faults.py::test_golden_set_missing_or_corrupt_pauses",
        "unit/test_runtime_compare.py::test_a_config_map_without_a_golden_set",
        "unit/test_canary_agreement.py::test_verdicts",
    ),
    "faster but wrong, right but slow": (
        "unit/test_decide_rollout_faults.py::test_candidate_faster_but_wrong_is_rejected_before_it_has_traffic",
        "e2e/gateway/test_rollouts.py::test_a_subtly_slow_update_is_rolled_back",
        "e2e/gateway/test_rollouts.py::test_a_subtly_wrong_update_gets_no_request",
    ),
}


@cache
def functions(path: str) -> frozenset[str]:
    tree = ast.parse((TESTS / path).read_text())
    found = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in found)


@pytest.mark.parametrize("row", ROWS)
def test_every_fault_has_its_tests(row: str) -> None:
    assert ROWS[row]
    for place in ROWS[row]:
        path, _, name = place.partition("::")
        assert name in functions(path), place

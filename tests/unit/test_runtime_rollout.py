"""Whole rollouts through the real reconciler: what is written in which order, and what is left in the end."""

from __future__ import annotations

from typing import Any

import pytest

from support.golden import config_map
from support.rollout_stage import BROKEN, NAMED, NEXT, OWN, PODS, Stage, begun, new, phase, weighs
from support.rollout_world import TICK
from support.scene import digits

FOREVER = 40
"""Ticks: longer than any window or time limit of these plans."""
CHILDREN = {
    ("PodDisruptionBudget", "digits"),
    ("Service", "digits"),
    ("Service", "digits-candidate"),
    ("Service", "digits-headless"),
    ("ServiceAccount", "seawall-model"),
    ("NetworkPolicy", "seawall-models"),
}
both = pytest.mark.parametrize(
    ("spec", "verb", "http", "grpc"),
    [
        pytest.param(OWN, "apply", "HTTPRoute digits", "GRPCRoute digits-grpc", id="routes of our own"),
        pytest.param(
            NAMED, "patch", "HTTPRoute theirs", "GRPCRoute calls",
            id="routes of the user's", marks=pytest.mark.long,
        ),
    ],
)  # fmt: skip


def left(stage: Stage) -> set[tuple[str, str]]:
    apart = {"InferenceService", "AcceleratorClass", "HTTPRoute", "GRPCRoute"}
    return {(kind, name) for kind, _, name in stage.cluster.objects if kind not in apart}


def alone(stage: Stage, revision: str) -> None:
    """This revision serves, with pods enough, and nothing of another one is there."""
    name = f"digits-{revision}"
    pods = {("Pod", f"{name}-{number}") for number in range(PODS)}
    assert left(stage) == CHILDREN | {("Deployment", name)} | pods
    assert {stage.selected(n) for n in ("digits", "digits-headless", "digits-candidate")} == {revision}
    assert stage.share() == 0
    assert not {"step", "desiredWeight", "candidateRevision", "previousRevision"} & stage.rollout.keys()
    conditions = {c["type"]: c["status"] for c in stage.status["conditions"]}
    assert conditions["Ready"] == "True"


async def at_rest(stage: Stage) -> None:
    """Nothing is written any more, whatever time it is."""
    before = stage.cluster.count
    await stage.pass_by(FOREVER)
    assert stage.cluster.count == before


@both
async def test_a_sound_candidate_takes_over_step_by_step(
    spec: dict[str, Any], verb: str, http: str, grpc: str
) -> None:
    stage, first = await begun(spec)
    after = new(stage)
    await stage.until(phase(stage, "Watching"))
    switched = stage.now
    assert stage.revisions() == {first, after}
    await stage.until(phase(stage, "Idle"))
    assert 60.0 <= (stage.now - switched).total_seconds() <= 60.0 + TICK
    await stage.tick()
    alone(stage, after)
    assert stage.ages[f"digits-{after}-0"] > 30, "the pod that has answered first serves on"

    def weigh(weight: int) -> list[str]:
        return [f"{verb} {http} {weight}", f"{verb} {grpc} {weight}"]

    assert stage.cluster.story() == [
        f"apply Deployment digits-{after} 0",
        f"apply Service digits-candidate {after}",
        *weigh(25),
        f"scale Deployment digits-{after} {PODS}",
        *weigh(50),
        *weigh(100),
        f"apply Service digits-headless {after}",
        f"apply Service digits {after}",
        *weigh(0),
        f"delete Deployment digits-{first} None",
    ]
    assert stage.cluster.recorded() == [0, 25, 50, 100, 0]
    assert stage.rollout["history"][0] | {"finishedAt": ""} == {
        "revision": after, "outcome": "Promoted", "finishedAt": "",
    }  # fmt: skip
    told = [event.reason for event in stage.cluster.events]
    assert told == ["RolloutStarted", "StepAdvanced", "StepAdvanced", "StepAdvanced", "Promoted"]
    await at_rest(stage)


@both
async def test_a_broken_candidate_loses_its_traffic_before_its_pods(
    spec: dict[str, Any], verb: str, http: str, grpc: str
) -> None:
    stage, first = await begun(spec, failing=BROKEN)
    after = new(stage)
    await stage.until(phase(stage, "RolledBack"))
    await stage.until(lambda: after not in stage.revisions())
    await stage.tick()
    alone(stage, first)
    assert stage.cluster.story() == [
        f"apply Deployment digits-{after} 0",
        f"apply Service digits-candidate {after}",
        f"{verb} {http} 25",
        f"{verb} {grpc} 25",
        f"{verb} {http} 0",
        f"{verb} {grpc} 0",
        f"apply Service digits-candidate {first}",
        f"delete Deployment digits-{after} None",
    ]
    assert stage.rollout["lastRejected"]["reason"] == "Regression"
    assert "errors: 6.0%" in stage.rollout["lastRejected"]["message"]
    stage.cluster.touch(stage.cluster.live("InferenceService", "digits"))  # a pipeline applies it again
    await at_rest(stage)


async def test_one_status_at_most_is_written_for_a_window_and_nothing_between_two() -> None:
    stage, _ = await begun()
    await stage.until(weighs(stage, 50))
    writes, closed = [], []
    while weighs(stage, 50)():
        stage.cluster.log.clear()
        windows = stage.clients.windows[-1].end
        await stage.tick()
        writes.append([written.verb for written in stage.cluster.log])
        closed.append(stage.clients.windows[-1].end > windows)
    assert sum(closed) >= 2
    assert writes[:-1] == [["status"] if news else [] for news in closed[:-1]]


@pytest.mark.long
@pytest.mark.parametrize("weight", [25, 50])
async def test_abort_takes_a_candidate_back_at_any_weight(weight: int) -> None:
    stage, first = await begun()
    await stage.until(weighs(stage, weight))
    stage.say("abort")
    await stage.tick()
    assert stage.share() == 0
    assert stage.ready(stage.rollout["candidateRevision"]) > 0
    await stage.until(lambda: len(stage.revisions()) == 1)
    await stage.tick()
    alone(stage, first)
    assert stage.rollout["lastRejected"]["reason"] == "Aborted"
    await at_rest(stage)


@pytest.mark.long
async def test_abort_after_the_promotion_brings_the_old_revision_back_in_one_switch() -> None:
    stage, first = await begun()
    await stage.until(phase(stage, "Watching"))
    await stage.tick()
    stage.cluster.log.clear()
    stage.say("abort")
    await stage.tick()
    assert stage.selected("digits") == first
    await stage.until(lambda: len(stage.revisions()) == 1)
    await stage.tick()
    alone(stage, first)
    shares = stage.cluster.shares("HTTPRoute"), stage.cluster.shares("GRPCRoute")
    assert shares == ([], []), "the routes send everything by the name of what serves"
    await at_rest(stage)


@pytest.mark.long
async def test_the_old_spec_ends_a_rollout_without_an_analysis() -> None:
    stage, first = await begun()
    await stage.until(weighs(stage, 25))
    stage.edit(model=digits()["spec"]["model"])
    await stage.tick()
    assert stage.share() == 0
    await stage.until(lambda: len(stage.revisions()) == 1)
    await stage.tick()
    alone(stage, first)
    assert "lastRejected" not in stage.rollout
    assert stage.rollout["history"][0]["outcome"] == "Aborted"
    await at_rest(stage)


@pytest.mark.long
async def test_a_third_spec_starts_when_the_second_has_no_traffic_any_more() -> None:
    stage, first = await begun()
    await stage.until(weighs(stage, 25))
    second = stage.rollout["candidateRevision"]
    stage.edit(model={"uri": "s3://models/digits-3.onnx"})
    await stage.tick()
    assert (stage.share(), stage.revisions()) == (0, {first, second})
    await stage.until(phase(stage, "Idle"))
    await stage.tick()
    third = stage.rollout["stableRevision"]
    assert third not in (first, second)
    alone(stage, third)
    assert stage.cluster.shares("HTTPRoute") == [25, 0, 25, 50, 100, 0]


async def test_answers_that_differ_end_a_rollout_before_any_traffic_moves() -> None:
    quality = {"goldenSet": {"configMapRef": "golden"}, "maxDisagreement": "0.01"}
    steps = [{"quality": quality}, {"weight": "matched"}]
    stage = Stage({**OWN, "rollout": {"steps": steps}})
    stage.cluster.add(config_map({"golden.npz": b"recorded"}))
    first = await stage.serving()
    stage.looks_twice = True
    stage.operator.servers.answers = "Fail"
    stage.edit(model=NEXT)
    await stage.until(phase(stage, "RolledBack"))
    await stage.until(lambda: len(stage.revisions()) == 1)
    await stage.tick()
    del stage.cluster.objects["ConfigMap", "ns", "golden"]
    alone(stage, first)
    assert stage.rollout["lastRejected"]["reason"] == "AnswersDiffer"
    assert {golden for _, golden in stage.operator.servers.compared} == {b"recorded"}
    assert set(stage.cluster.recorded()) == {0}
    assert stage.cluster.shares("HTTPRoute") == []


@pytest.mark.parametrize("weight", [25, pytest.param(50, marks=pytest.mark.long)])
async def test_without_the_lease_a_rollout_stands_and_the_next_leader_goes_on(weight: int) -> None:
    stage, _ = await begun()
    await stage.until(weighs(stage, weight))
    stage.operator.holds = False
    stage.looks_twice = False
    before = stage.cluster.count
    await stage.pass_by(3)
    assert stage.cluster.count == before
    stage.start()
    await stage.until(phase(stage, "Idle"))
    assert stage.cluster.shares("HTTPRoute") == [25, 50, 100, 0]


@pytest.mark.long
async def test_an_autoscaler_takes_no_pods_away_until_there_is_no_way_back() -> None:
    stage = Stage({**OWN, "scaling": {"mode": "HPA", "minReplicas": 1, "maxReplicas": 9}})
    stage.busy = PODS
    first = await stage.serving()
    stage.looks_twice = True
    stage.edit(model=NEXT)

    def least(revision: str) -> int:
        return int(stage.cluster.live("HorizontalPodAutoscaler", f"digits-{revision}")["spec"]["minReplicas"])

    await stage.tick()
    stage.busy = 1
    after = new(stage)
    assert least(first) == PODS
    await stage.until(phase(stage, "Watching"))
    await stage.tick()
    assert least(after) == PODS
    assert [hpa["metadata"]["name"] for hpa in stage.cluster.of("HorizontalPodAutoscaler")] == [
        f"digits-{after}"
    ]
    assert stage.deployment(first)["spec"]["replicas"] == PODS
    stage.floor = 1
    await stage.until(phase(stage, "Idle"))
    await stage.tick()
    assert (least(after), stage.deployment(after)["spec"]["replicas"]) == (1, 1)


@pytest.mark.long
async def test_a_lost_node_stops_an_analysis_and_counts_against_nobody() -> None:
    stage, _ = await begun()
    await stage.until(weighs(stage, 50))
    candidate = stage.rollout["candidateRevision"]
    for pod in [pod for pod in stage.ages if pod.startswith(f"digits-{candidate}-")][1:]:
        stage.ages[pod] = -1  # comes up again
        del stage.cluster.objects["Pod", "ns", pod]
    await stage.tick()
    assert stage.rollout["hold"]["reason"] == "CapacityUnavailable"
    await stage.until(phase(stage, "Idle"))
    assert stage.cluster.shares("HTTPRoute") == [25, 50, 100, 0]

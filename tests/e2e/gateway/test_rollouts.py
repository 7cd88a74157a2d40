"""Rollouts on a real gateway, under load all the time: what is promoted, what is refused, who is told.

Every request of every client counts: none may fail, whatever is rolled out meanwhile.
"""

import asyncio
import logging
import time
from typing import Any

import pytest
from demo_gateway import course, share
from demo_kube import Kube, conditions, pod_ready, wait_for

from support.routed import (
    COMMAND,
    NAME,
    RATE,
    ROUTES,
    VERDICT_SECONDS,
    WEIGHT,
    Stand,
    assert_recorded_first,
    assert_windows_counted_once,
    plan,
)

pytestmark = [pytest.mark.node, pytest.mark.asyncio(loop_scope="module")]

Object = dict[str, Any]
say = logging.getLogger(__name__)
"""figures: tools/e2e --gateway --log-cli-level=INFO"""


async def events(kube: Kube, reason: str) -> list[Object]:
    found = [each for each in await kube.listed("event") if each["involvedObject"]["name"] == NAME]
    return [each for each in found if each["reason"] == reason]


async def test_the_routes_lead_to_the_stable_revision(stand: Stand, kube: Any) -> None:
    for route, port in ((ROUTES["http"], 8000), (ROUTES["grpc"], 8001)):
        made = await kube.get(*route)
        assert made["metadata"]["ownerReferences"][0]["name"] == NAME
        (rule,) = made["spec"]["rules"]
        assert {ref["port"] for ref in rule["backendRefs"]} == {port}
        assert share(made, NAME) == 0
    await asyncio.sleep(3)
    assert set(stand.answered()) == {"first"}


async def test_a_good_update_is_promoted(stand: Stand, kube: Any) -> None:
    since, first = stand.mark(), (await stand.rollout())["stableRevision"]
    await stand.change("second")
    await stand.stepping()
    began, before = time.monotonic(), stand.answered()
    candidate = (await stand.rollout())["candidateRevision"]
    pods = {pod["metadata"]["uid"] for pod in await stand.pods(candidate)}

    async def shared() -> tuple[bool, str]:
        now = stand.answered()
        new = {name: count - before.get(name, 0) for name, count in now.items()}
        observed = new.get("second", 0) / max(sum(new.values()), 1)
        return sum(new.values()) > 100 and 0.35 < observed < 0.65, f"{observed:.2f} of {new}"

    took = await wait_for(shared, "the candidate to get its share", 30)
    say.info(f"weight in force to observed share: {took:.1f} s")
    rollout = await stand.until("promotion", lambda r: r.get("stableRevision") == candidate, VERDICT_SECONDS)
    say.info(f"promoted {time.monotonic() - began:.0f} s after the weight was in force")
    assert rollout["history"][0] | {"finishedAt": ""} == {
        "revision": candidate,
        "outcome": "Promoted",
        "finishedAt": "",
    }
    await stand.idle(candidate, "Watching")
    left = {pod["metadata"]["uid"] for pod in await stand.pods(candidate) if pod_ready(pod)}
    assert pods <= left, "the candidate's pods became the stable ones; none was started anew"
    assert await stand.pods(first), "the revision before is kept warm"
    for kind in stand.routes:
        assert stand.course(kind, since)[:3] == [0, WEIGHT, 100]
    assert_recorded_first(stand, since)
    assert assert_windows_counted_once(stand, since) >= 3
    assert await events(kube, "Promoted")
    assert stand.failed() == 0, [load.tally.report() for load in stand.loads]


async def test_back_to_what_is_kept_warm_takes_no_pod_and_no_analysis(stand: Stand) -> None:
    """The promotion of the test before is still watched."""
    rollout = await stand.until("the promotion to be watched", lambda r: r.get("phase") == "Watching")
    since, before = stand.mark(), rollout["previousRevision"]
    pods = {pod["metadata"]["uid"] for pod in await stand.pods(before)}
    began = time.monotonic()
    await stand.change("first")
    await stand.until("the first version to serve", lambda r: r.get("stableRevision") == before, 30)
    say.info(f"back after {time.monotonic() - began:.1f} s")
    assert {pod["metadata"]["uid"] for pod in await stand.pods(before)} == pods
    phases = {seen.rollout.get("phase") for seen in stand.service.since(since)}
    assert not phases & {"Starting", "Verifying", "Quality", "Stepping"}, phases
    await stand.idle(before)
    counted = stand.answered()
    await asyncio.sleep(3)
    assert course(list(stand.answered())) == list(counted)
    assert stand.answered()["second"] == counted["second"], "the second version still answers"
    assert stand.failed() == 0, [load.tally.report() for load in stand.loads]


async def test_a_subtly_slow_update_is_rolled_back(stand: Stand, kube: Any) -> None:
    since, stable = stand.mark(), (await stand.rollout())["stableRevision"]
    await stand.change("slow")
    await stand.stepping()
    candidate, began = (await stand.rollout())["candidateRevision"], time.monotonic()
    rollout = await stand.until(
        "the slow version to be rejected",
        lambda r: (r.get("lastRejected") or {}).get("revision") == candidate,
        VERDICT_SECONDS,
    )
    say.info(f"caught {time.monotonic() - began:.0f} s after the weight was in force")
    assert rollout["lastRejected"]["reason"] == "Regression"
    assert "latency" in rollout["lastRejected"]["message"].lower()
    await stand.idle(stable, "RolledBack")
    verdict = next(s.at for s in stand.service.since(since) if s.rollout.get("lastRejected"))
    for kind in stand.routes:
        took = stand.left(kind, since).at - verdict
        say.info(f"{kind}: weight 0 came {took:+.2f} s after the verdict was written")
        assert took < 15
        assert stand.course(kind, since) == [0, WEIGHT, 0]
    assert_recorded_first(stand, since)
    assert_windows_counted_once(stand, since)
    healthy = conditions(await kube.status(NAME))["RolloutHealthy"]
    assert healthy["status"] == "False"
    assert stand.failed() == 0, [load.tally.report() for load in stand.loads]


async def test_what_was_rejected_stays_rejected(stand: Stand, kube: Any) -> None:
    rejected = (await stand.rollout())["lastRejected"]["revision"]
    await stand.change("slow")
    await kube.run("annotate", "--overwrite", "inferenceservice", NAME, "example.com/touched=again")

    async def gone() -> tuple[bool, str]:
        left = [pod for pod in await stand.pods(rejected) if not pod["metadata"].get("deletionTimestamp")]
        return not left, f"{len(left)} pods"

    await wait_for(gone, "the pods of the rejected version to go", 60)
    await asyncio.sleep(5)
    assert (await gone())[0], "it was started again"
    rollout = await stand.rollout()
    assert rollout["phase"] == "RolledBack"
    assert rollout["lastRejected"]["revision"] == rejected


async def test_a_subtly_wrong_update_gets_no_request(stand: Stand) -> None:
    since, stable = stand.mark(), (await stand.rollout())["stableRevision"]
    await stand.change("wrong", steps=plan(quality=True)["steps"])
    rollout = await stand.until(
        "the wrong version to be rejected",
        lambda r: (r.get("lastRejected") or {}).get("reason") == "AnswersDiffer",
        300,
    )
    say.info(rollout["lastRejected"]["message"])
    await stand.idle(stable, "RolledBack")
    for kind in stand.routes:
        assert not [percent for _, percent in stand.shares(kind, since) if percent]
    assert "wrong" not in stand.answered()
    assert stand.failed() == 0, [load.tally.report() for load in stand.loads]


async def test_a_good_update_passes_the_comparison_of_answers(stand: Stand) -> None:
    await stand.change("third", steps=plan(quality=True)["steps"])
    rollout = await stand.stepping()
    assert rollout["step"] == 1


async def test_abort_says_a_person_in_the_middle_of_a_step(stand: Stand) -> None:
    """Of the rollout that the test before has begun."""
    rollout = await stand.stepping()
    since, stable, candidate = stand.mark(), rollout["stableRevision"], rollout["candidateRevision"]
    await stand.command("abort")
    rollout = await stand.until("the rollout to be aborted", lambda r: r.get("phase") == "RolledBack", 60)
    assert rollout["lastRejected"] | {"message": ""} == {
        "revision": candidate,
        "reason": "Aborted",
        "message": "",
    }
    await stand.idle(stable, "RolledBack")
    for kind in stand.routes:
        assert stand.course(kind, since) == [WEIGHT, 0]
    assert stand.failed() == 0, [load.tally.report() for load in stand.loads]


async def test_a_word_for_another_rollout_is_refused(stand: Stand, kube: Any) -> None:
    words = f"{COMMAND}=promote-full@0-nothing"
    await kube.run("annotate", "--overwrite", "inferenceservice", NAME, words)

    async def answered() -> tuple[bool, str]:
        found = [each["message"] for each in await events(kube, "CommandRejected")]
        return any("0-nothing" in message for message in found), f"{found}"

    await wait_for(answered, "an answer to the command", 60)


async def test_a_spec_that_is_taken_back_in_the_middle_of_a_step(stand: Stand) -> None:
    stable = (await stand.rollout())["stableRevision"]
    await stand.change("fourth", steps=plan()["steps"])
    since = stand.mark()
    candidate = (await stand.stepping())["candidateRevision"]
    await stand.change("first")
    rollout = await stand.idle(stable, "Idle")
    assert (rollout.get("lastRejected") or {}).get("revision") != candidate
    assert rollout["history"][0]["outcome"] == "Aborted"
    for kind in stand.routes:
        assert stand.course(kind, since) == [0, WEIGHT, 0]
    assert_recorded_first(stand, since)
    assert stand.failed() == 0, [load.tally.report() for load in stand.loads]


async def test_no_request_has_failed_so_far(stand: Stand) -> None:
    for load in stand.loads:
        report = load.tally.report()
        say.info(report)
        assert report["failed"] == 0, report
        assert report["requests"] > 60 * RATE

"""Rollouts on a real gateway while the operator dies, and in routes that are somebody else's.

No request may fail but in the last test, which takes the candidate's pods away: those that were on their way to
them are lost.
"""

import logging
import time
from typing import Any

import pytest
from demo_gateway import PARENT, weights
from demo_kube import REVISION_LABEL, wait_for
from updates import versions

from support.routed import (
    RATE,
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
GUEST = "guest"


async def test_the_operator_is_killed_in_the_middle_of_a_step(stand: Stand, operator: Any) -> None:
    await operator.steady()
    since, first = stand.mark(), (await stand.rollout())["stableRevision"]
    await stand.change("fifth")
    candidate = (await stand.stepping())["candidateRevision"]
    await stand.until("the first window", lambda r: "windowEnd" in (r.get("analysis") or {}), 60)
    operator.kill(await operator.leader())
    await stand.until("promotion", lambda r: r.get("stableRevision") == candidate, VERDICT_SECONDS)
    await stand.idle(candidate, "Watching")
    for kind in stand.routes:
        assert stand.course(kind, since)[:3] == [0, WEIGHT, 100]
    assert_recorded_first(stand, since)
    assert_windows_counted_once(stand, since)
    assert first != candidate
    await operator.steady()
    assert stand.failed() == 0, [load.tally.report() for load in stand.loads]


def carrying(percent: int) -> Any:
    return lambda rollout: rollout.get("observedWeight") == percent and rollout["desiredWeight"] == percent


MOMENTS = (
    ("the candidate starts", lambda r: r["phase"] == "Starting" and r.get("candidateRevision")),
    ("the first step begins", lambda r: r.get("step") == 0),
    ("its weight is recorded", lambda r: r.get("desiredWeight") == WEIGHT),
    ("the routes carry it", carrying(WEIGHT)),
    ("a window is counted", lambda r: "windowEnd" in (r.get("analysis") or {})),
    ("all of the weight is recorded", lambda r: r.get("desiredWeight") == 100),
    ("the candidate has become the stable one", lambda r: r["phase"] == "Watching"),
)
"""What the status says for the first time when the operator that has written it dies."""


async def test_the_operator_is_killed_at_every_step_of_the_way(
    stand: Stand, system: Any, operator: Any
) -> None:
    await operator.steady()
    since, before = stand.mark(), (await stand.rollout())["stableRevision"]
    leader = await operator.leader()
    await stand.change("sixth")
    for what, fits in MOMENTS:
        if what.startswith("all of the weight"):
            await stand.command("promote-full")
        await stand.service.until(lambda seen, fits=fits: seen.rollout and fits(seen.rollout), since, 180)
        say.info(what)
        operator.kill(leader)
        # Its container would be started later each time; a new pod starts at once.
        await system.run("delete", "pod", leader, "--force", "--grace-period=0")
        leader = await operator.leader()
    candidate = (await stand.rollout())["stableRevision"]
    assert candidate != before
    await stand.idle(candidate, "Watching")
    for kind in stand.routes:
        assert stand.course(kind, since) in ([0, WEIGHT, 100], [0, WEIGHT, 100, 0])
    assert_recorded_first(stand, since)
    assert_windows_counted_once(stand, since)
    await operator.steady()
    assert stand.failed() == 0, [load.tally.report() for load in stand.loads]


def owned_route(namespace: str) -> Object:
    """A person's own: a tenth of a rule is somebody else's."""
    refs = [{"name": GUEST, "port": 8000, "weight": 900}, {"name": "elsewhere", "port": 8000, "weight": 100}]
    alone = [{"name": "elsewhere", "port": 8000, "weight": 7}]
    path = {"path": {"type": "PathPrefix", "value": "/elsewhere"}}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "mine", "namespace": namespace, "annotations": {"example.com/mine": "yes"}},
        "spec": {
            "parentRefs": [PARENT],
            "hostnames": ["guest.example"],
            "rules": [{"backendRefs": refs}, {"matches": [path], "backendRefs": alone}],
        },
    }


async def test_only_our_weights_change_in_a_route_of_the_users(stand: Stand, kube: Any) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "elsewhere"},
        "spec": {"selector": {"app": "elsewhere"}, "ports": [{"port": 8000}]},
    }
    rollout = plan() | {"traffic": {"httpRoute": "mine"}}
    await kube.apply(service, owned_route(kube.namespace), versions.service(GUEST, "first", rollout))
    await kube.wait_ready(GUEST, 240)
    made = versions.service(GUEST, "second", rollout)
    await kube.patch("inferenceservice", GUEST, {"spec": {"model": made["spec"]["model"]}})

    async def carries(*percents: int) -> Object:
        found: Object = {}

        async def look() -> tuple[bool, str]:
            found.clear()
            found.update(await kube.get("httproute", "mine"))
            first = weights(found)[0]
            return (first[GUEST], first.get(f"{GUEST}-candidate", 0)) == percents, f"{weights(found)}"

        await wait_for(look, f"the route to carry {percents}", 240)
        return found

    route = await carries(450, 450)
    assert weights(route) == [
        {GUEST: 450, "elsewhere": 100, f"{GUEST}-candidate": 450},
        {"elsewhere": 7},
    ]
    await kube.patch("inferenceservice", GUEST, {"spec": {"model": {"uri": versions.uri("first")}}})
    route = await carries(900, 0)
    assert weights(route)[1] == {"elsewhere": 7}
    assert weights(route)[0]["elsewhere"] == 100
    asked = owned_route(kube.namespace)
    assert route["spec"]["hostnames"] == asked["spec"]["hostnames"]
    assert route["metadata"]["annotations"]["example.com/mine"] == "yes"
    assert not route["metadata"].get("ownerReferences")
    await kube.delete("inferenceservice", GUEST)


async def test_no_request_has_failed_so_far(stand: Stand) -> None:
    for load in stand.loads:
        report = load.tally.report()
        say.info(report)
        assert report["failed"] == 0, report
        assert report["requests"] > 60 * RATE


async def test_the_candidates_pods_are_taken_away_in_the_middle_of_a_step(stand: Stand, kube: Any) -> None:
    """Weight 0 comes before the pods are back; only requests that met no server in between are lost."""
    since = stand.mark()
    await stand.change("seventh", steps=plan()["steps"])
    candidate = (await stand.stepping())["candidateRevision"]
    began = time.time()
    await kube.run("delete", "pods", "--selector", f"{REVISION_LABEL}={candidate}", "--wait=false")

    async def away() -> tuple[bool, str]:
        found = {kind: stand.shares(kind, since)[-1] for kind in stand.routes}
        return all(percent == 0 and seen.at > began for seen, percent in found.values()), f"{found}"

    took = await wait_for(away, "the weight to go", 30)
    say.info(f"weight 0 after {took:.1f} s; {stand.failed()} requests failed")
    await stand.stepping()
    await stand.command("abort")
    await stand.until("the rollout to be aborted", lambda r: r.get("phase") == "RolledBack", 60)
    assert stand.failed() < 2 * RATE * 10, "about as many as half of the rate in the seconds until weight 0"

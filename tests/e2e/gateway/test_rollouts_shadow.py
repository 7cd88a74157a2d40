"""The shadow step on a real gateway: Contour's filter copies live requests, Seawall's comparator answers them.

The versions that are compared have marks so close to each other that answers of the good ones count as alike;
the wrong one differs in 3 of 100 classes. What Contour copies is HTTP; gRPC goes on beside it, uncopied. The
judge of latencies has no part in it: a person promotes what has passed.
"""

import asyncio
import json
import logging
import urllib.parse
import urllib.request
from typing import Any

import pytest
from demo_kube import wait_for
from load import Load

from support.routed import NAME, RATE, ROUTES, WEIGHT, Stand, plan

pytestmark = [pytest.mark.node, pytest.mark.asyncio(loop_scope="module")]

Object = dict[str, Any]
say = logging.getLogger(__name__)
SERVES = "sixth"
SHADOW, CANDIDATE = f"{NAME}-shadow", f"{NAME}-candidate"
PERCENT, SECONDS = 50, 75
PROMETHEUS = "http://prometheus.infra.svc.cluster.local:9090/api/v1/query?"


def shadowed() -> list[Object]:
    step = {"percent": PERCENT, "duration": f"{SECONDS}s", "maxDisagreement": "0.01"}
    return [{"shadow": step}, *plan()["steps"]]


def mirrors(route: Object) -> list[str]:
    """The Services that get copies."""
    filters = [each for rule in route["spec"].get("rules") or () for each in rule.get("filters") or ()]
    return [each["requestMirror"]["backendRef"]["name"] for each in filters if "requestMirror" in each]


def _fetched(url: str) -> Object:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=10) as answer:
        found: Object = json.load(answer)
    return found


async def fetched(url: str) -> Object:
    """Beside the load, which runs in this loop."""
    return await asyncio.to_thread(_fetched, url)


async def counts(stand: Stand) -> Object:
    return await fetched(f"http://{SHADOW}.{stand.kube.namespace}.svc.cluster.local:8000/counts")


async def sent(stand: Stand, service: str) -> float:
    """Requests that Envoy has put to this Service by HTTP, by its own count."""
    backend = f"{stand.kube.namespace}_{service}_8000"
    query = f'sum(envoy_cluster_upstream_rq_total{{envoy_cluster_name="{backend}"}})'
    answer = await fetched(PROMETHEUS + urllib.parse.urlencode({"query": query}))
    found = answer["data"]["result"]
    return float(found[0]["value"][1]) if found else 0.0


def http(stand: Stand) -> Load:
    (load,) = [load for load in stand.loads if load.target.protocol == "http"]
    return load


async def copied(stand: Stand) -> Object:
    """Until the comparator has been at work for a while; its counts."""
    found: Object = {}

    async def look() -> tuple[bool, str]:
        rollout = await stand.rollout()
        hold = (rollout.get("hold") or {}).get("reason")
        if hold == "Shadowing":
            found.clear()
            found.update(await counts(stand))
        return found.get("compared", 0) >= 200, f"{hold}: {found}; {rollout.get('pause')}"

    await wait_for(look, "200 answers to be compared", 240)
    return found


async def tidy(stand: Stand) -> None:
    """Neither filter nor comparator is left."""

    async def look() -> tuple[bool, str]:
        names = [
            each["metadata"]["name"]
            for kind in ("deployment", "service")
            for each in await stand.kube.listed(kind)
        ]
        left = [name for name in names if name == SHADOW]
        fed = mirrors(await stand.kube.get(*ROUTES["http"]) or {"spec": {}})
        return not left and not fed, f"objects {left}, filters to {fed}"

    await wait_for(look, "the comparator to be gone", 60)


def unharmed(stand: Stand) -> None:
    assert stand.failed() == 0, [load.tally.report() for load in stand.loads]


async def test_a_good_update_passes_and_no_client_and_no_series_notices(stand: Stand) -> None:
    since, first = stand.mark(), (await stand.rollout())["stableRevision"]
    await stand.change("seventh", steps=shadowed())
    await stand.until("the comparison to begin", lambda r: "stepStartedAt" in r, 240)
    at_stable, at_candidate = await sent(stand, NAME), await sent(stand, CANDIDATE)
    asked = http(stand).tally.requests
    tally = await copied(stand)
    say.info(tally)
    asked = http(stand).tally.requests - asked
    assert tally["differ"] == tally["failed_candidate"] == tally["failed_stable"] == 0
    assert 0.35 < tally["compared"] / tally["seen"] < 0.65, "it draws half of what comes"
    assert mirrors(await stand.kube.get(*ROUTES["http"])) == [SHADOW]
    assert not mirrors(await stand.kube.get(*ROUTES["grpc"]))
    assert "seventh" not in stand.answered(), "no client hears of the candidate"
    # Scraped every five seconds: what was sent meanwhile may be known late, a copy beside each would double it.
    assert await sent(stand, NAME) - at_stable < 1.4 * asked + 10 * RATE
    assert await sent(stand, CANDIDATE) == at_candidate
    rollout = await stand.stepping()
    for kind in stand.routes:
        assert stand.course(kind, since) == [0, WEIGHT]
    assert rollout["step"] == 1
    await tidy(stand)
    candidate = rollout["candidateRevision"]
    await stand.command("promote-full")
    await stand.until("promotion", lambda r: r.get("stableRevision") == candidate)
    await stand.idle(candidate, "Watching")
    assert first != candidate
    unharmed(stand)


async def test_a_wrong_update_is_refused_before_any_weight(stand: Stand) -> None:
    """Its golden set would have told, and there is none."""
    since, stable = stand.mark(), (await stand.rollout())["stableRevision"]
    await stand.change("wrong", steps=shadowed())
    rollout = await stand.until(
        "the wrong version to be rejected",
        lambda r: r.get("pause") or (r.get("lastRejected") or {}).get("reason") == "AnswersDiffer",
        300,
    )
    assert "pause" not in rollout, rollout["pause"]
    say.info(rollout["lastRejected"]["message"])
    await stand.idle(stable, "RolledBack")
    for kind in stand.routes:
        assert not [percent for _, percent in stand.shares(kind, since) if percent]
    assert "wrong" not in stand.answered()
    await tidy(stand)
    unharmed(stand)


async def test_the_operator_is_killed_while_answers_are_compared(stand: Stand, operator: Any) -> None:
    """The comparator goes on counting, and what it has counted is not lost."""
    await operator.steady()
    since = stand.mark()
    await stand.change("fifth", steps=shadowed())
    await stand.until("the comparison to begin", lambda r: "stepStartedAt" in r, 240)
    before = await copied(stand)
    operator.kill(await operator.leader())
    rollout = await stand.stepping()
    assert "pause" not in rollout
    told = [seen.rollout for seen in stand.service.since(since) if "comparator" in seen.rollout]
    assert {each["comparator"] for each in told} == {before["start"]}
    for kind in stand.routes:
        assert stand.course(kind, since) == [0, WEIGHT]
    await stand.command("abort")
    await stand.until("the rollout to be aborted", lambda r: r.get("phase") == "RolledBack", 60)
    await tidy(stand)
    await operator.steady()
    unharmed(stand)

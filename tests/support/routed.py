"""A service behind a real gateway, asked all the time, and every version of it and of its routes.

The model waits instead of computing, so that its versions differ by exactly what examples/updates says.
"""

import itertools
from typing import Any

from demo_gateway import PARENT, Seen, Watch, course, share
from demo_kube import REVISION_LABEL, Kube, summary, wait_for
from load import Load
from updates import versions

Object = dict[str, Any]
NAME = "updates"
HOSTS = {"http": "updates.example", "grpc": "grpc.updates.example"}
ROUTES = {"http": ("httproute", NAME), "grpc": ("grpcroute", f"{NAME}-grpc")}
GOLDEN = "golden"
RATE = 30.0
"""requests a second, of each protocol"""
WEIGHT = 50
VERDICT_SECONDS = 600.0
COMMAND = "serving.seawall.dev/rollout-command"
ANSWERED = {name: scores for name, scores in versions.expected().items() if name != "wrong"}
"""The wrong version must never be heard of by a client, so that any answer of its counts as a failed one."""


def plan(*, quality: bool = False) -> Object:
    golden = {"goldenSet": {"configMapRef": GOLDEN}, "metric": "top1", "maxDisagreement": "0.01"}
    weight = {"weight": WEIGHT, "analyze": {"minRequests": 200, "maxDuration": "9m"}}
    return {
        "strategy": "Canary",
        "steps": [*([{"quality": golden}] if quality else []), weight],
        "analysis": {
            "window": "5s",
            "alpha": "0.01",
            "beta": "0.05",
            "warmup": {"requests": 0, "duration": "5s"},
        },
        "capacity": {"progressDeadline": "4m"},
        "rollbackWindow": "10m",
    }


def served(version: str) -> Object:
    routing = {"gateways": [PARENT], "hostnames": [HOSTS["http"]], "grpcHostnames": [HOSTS["grpc"]]}
    return versions.service(NAME, version, plan(), routing=routing)


class Stand:
    """The service, its routes and its clients."""

    def __init__(self, kube: Kube, service: Watch, routes: dict[str, Watch], loads: list[Load]) -> None:
        self.kube, self.service, self.routes, self.loads = kube, service, routes, loads

    async def change(self, version: str, **rollout: Any) -> None:
        spec: Object = {"model": {"uri": versions.uri(version)}}
        await self.kube.patch(
            "inferenceservice", NAME, {"spec": spec | ({"rollout": rollout} if rollout else {})}
        )

    async def rollout(self) -> Object:
        return (await self.kube.status(NAME)).get("rollout") or {}

    async def until(self, what: str, fits: Any, seconds: float = 120) -> Object:
        found: Object = {}

        async def look() -> tuple[bool, str]:
            status = await self.kube.status(NAME)
            found.clear()
            found.update(status.get("rollout") or {})
            return bool(fits(found)), f"{found}; {summary(status)}"

        await wait_for(look, what, seconds)
        return found

    async def stepping(self) -> Object:
        """Until the candidate has its weight, and the routes carry it."""
        return await self.until(
            f"the candidate to have {WEIGHT}%",
            lambda r: r.get("desiredWeight") == r.get("observedWeight") == WEIGHT and "stepStartedAt" in r,
            240,
        )

    async def idle(self, stable: str, *phases: str, seconds: float = 120) -> Object:
        return await self.until(
            f"revision {stable} to serve alone",
            lambda r: (
                r.get("stableRevision") == stable
                and r.get("phase") in (phases or ("Idle", "RolledBack"))
                and not r.get("candidateRevision")
            ),
            seconds,
        )

    async def pods(self, revision: str) -> list[Object]:
        return await self.kube.listed("pod", **{REVISION_LABEL: revision})

    def answered(self) -> dict[str, int]:
        total: dict[str, int] = {}
        for load in self.loads:
            for name, count in load.tally.answered_by.items():
                total[name] = total.get(name, 0) + count
        return total

    def failed(self) -> int:
        return sum(load.tally.failed for load in self.loads)

    def mark(self) -> int:
        """The newest write that was seen so far."""
        return max(watch.revision for watch in (self.service, *self.routes.values()))

    def shares(self, kind: str, since: int) -> list[tuple[Seen, int]]:
        return [(seen, share(seen.content, NAME)) for seen in self.routes[kind].since(since)]

    def course(self, kind: str, since: int) -> list[int]:
        """The candidate's percents, one after the other, from the one that was there before."""
        before = [seen for seen in self.routes[kind].versions if seen.revision <= since][-1:]
        return course([share(seen.content, NAME) for seen in (*before, *self.routes[kind].since(since))])

    def left(self, kind: str, since: int) -> Seen:
        """The write that took the weight away from the candidate."""
        shares = self.shares(kind, since)
        pairs = itertools.pairwise(shares)
        return next(seen for (_, before), (seen, percent) in pairs if before and not percent)

    async def command(self, verb: str) -> None:
        rollout = (await self.rollout())["id"]
        await self.kube.run(
            "annotate", "--overwrite", "inferenceservice", NAME, f"{COMMAND}={verb}@{rollout}"
        )


def assert_recorded_first(stand: Stand, since: int) -> None:
    """No route carries a weight that the status had not said before."""
    said = [(seen.revision, seen.rollout.get("desiredWeight", 0)) for seen in stand.service.versions]
    for kind in stand.routes:
        before = 0
        for seen, percent in stand.shares(kind, since):
            told = [weight for revision, weight in said if revision < seen.revision]
            assert percent <= before or (told and told[-1] >= percent), (
                f"{kind} carries {percent}% at {seen.revision}, said: {said}"
            )
            before = percent


def assert_windows_counted_once(stand: Stand, since: int) -> int:
    """The newest window's end only rises, and evidence changes with it alone; returns how many there were."""
    told: dict[str, list[tuple[int, Object]]] = {}
    for seen in stand.service.since(since):
        analysis = seen.rollout.get("analysis") or {}
        if "windowEnd" in analysis:
            told.setdefault(seen.rollout["id"], []).append((analysis["windowEnd"], analysis))
    for rollout, of_one in told.items():
        ends = [end for end, _ in of_one]
        assert ends == sorted(ends), f"{rollout}: {ends}"
        sums: dict[tuple[int, int], Any] = {}
        for end, analysis in of_one:
            key = (end, analysis.get("step", 0))
            assert sums.setdefault(key, analysis["metrics"]) == analysis["metrics"], f"{rollout} at {key}"
    return sum(len({end for end, _ in of_one}) for of_one in told.values())

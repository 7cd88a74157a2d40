"""Three updates of one model under load: a good one is promoted, a slow one and a wrong one are not.

    tools/cluster exec --name NAME -- .venv/bin/python tools/demo_rollout.py [--json]

Needs a cluster with `--with prometheus,gateway` and the operator in it, told of that Prometheus. Each update
is subtly what it is: see examples/updates/versions.py.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo_gateway import PARENT, entry, through
from demo_kube import Kube, KubeError, Object, Waited, claims, conditions, namespace_object, wait_for
from demo_show import Show
from load import Load, running
from seawall_cluster.state import MARK
from updates import versions

NAMESPACE, NAME, GOLDEN = "demo-rollout", "classifier", "golden"
HOSTS = {"http": "classifier.example", "grpc": "grpc.classifier.example"}
RATE = 30.0
READY_SECONDS, VERDICT_SECONDS = 240, 900
LINE_SECONDS = 5.0
"""between two lines of what goes on: no window is shorter here"""


class Unproven(Exception):
    """The cluster did what it was told, and the result is not what it must be."""


def plan() -> Object:
    golden = {"goldenSet": {"configMapRef": GOLDEN}, "metric": "top1", "maxDisagreement": "0.01"}
    return {
        "strategy": "Canary",
        "steps": [{"quality": golden}, {"weight": 50, "analyze": {"maxDuration": "10m"}}],
        "analysis": {"window": "5s", "warmup": {"requests": 0, "duration": "5s"}},
        "rollbackWindow": "10m",
    }


def told(rollout: Mapping[str, Any]) -> str:
    """One line of what goes on now."""
    wanted, observed = rollout.get("desiredWeight", 0), rollout.get("observedWeight")
    weight = f"{wanted}%" if observed in (None, wanted) else f"{wanted}% (the routes carry {observed}%)"
    why = rollout.get("pause") or rollout.get("hold") or {}
    said = f"; {why['reason']}: {why['message']}" if why else ""
    return f"{rollout.get('phase', '')}, weight {weight}{said}"


class Scene:
    def __init__(self, show: Show) -> None:
        self.show, self.kube = show, Kube(NAMESPACE)
        self.result: dict[str, Any] = {"updates": {}}
        answers = {name: scores for name, scores in versions.expected().items() if name != "wrong"}
        self.loads = [
            Load(entry(NAME, protocol), versions.inputs(), answers, rate=RATE, connect=through(host))
            for protocol, host in HOSTS.items()
        ]

    async def run(self, folder: Path) -> None:
        self.show.heading("Three updates of one model, while clients ask it through the gateway")
        await self.serve(folder)
        async with running(*self.loads):
            await self.update("second", "a good update", "Promoted")
            await self.update("slow", "one whose p99 is more than twice as high", "Rejected")
            await self.update("wrong", "one that errs in 3 of 100 answers", "Rejected")
        self.finish()

    async def serve(self, folder: Path) -> None:
        models = folder / "models"
        models.mkdir(parents=True, exist_ok=True)
        versions.pack(models)
        routing = {"gateways": [PARENT], "hostnames": [HOSTS["http"]], "grpcHostnames": [HOSTS["grpc"]]}
        service = versions.service(NAME, "first", plan(), routing=routing)
        claimed = claims(NAMESPACE, models, folder / "artifacts")
        await self.kube.apply(namespace_object(NAMESPACE), *claimed)
        with self.show.step("kubectl apply of the first version, until it is Ready behind the gateway"):
            await self.kube.apply(versions.golden_set(GOLDEN), service)
            await self.kube.wait_ready(NAME, READY_SECONDS)

    async def update(self, version: str, what: str, outcome: str) -> None:
        before = Counter(self.answered())
        began = time.monotonic()
        with self.show.step(f"spec.model.uri becomes {version}.tar.gz: {what}") as note:
            lines = len(await self.history())
            change = {"spec": {"model": {"uri": versions.uri(version)}}}
            await self.kube.patch("inferenceservice", NAME, change)
            entry = await self.ended(lines)
            because = f", {entry['reason']}" if entry.get("reason") else ""
            note.text = f"{entry['outcome'].lower()}{because}"
        got = Counter(self.answered()) - before
        told_of = ", ".join(f"{count} by {name}" for name, count in sorted(got.items()))
        self.show.line(f"    answered meanwhile: {told_of}; {await self.why()}")
        self.result["updates"][version] = {
            "outcome": entry["outcome"],
            "reason": entry.get("reason"),
            "seconds": round(time.monotonic() - began, 1),
            "answeredBy": dict(got),
        }
        if entry["outcome"] != outcome:
            raise Unproven(f"{version} was to be {outcome.lower()}, and it is {entry['outcome'].lower()}")

    async def history(self) -> list[Object]:
        return ((await self.kube.status(NAME)).get("rollout") or {}).get("history") or []

    async def ended(self, lines: int) -> Object:
        """The line that is new in the rollout's history; what goes on is told meanwhile."""
        found: list[Object] = []
        last = [-LINE_SECONDS]

        async def look() -> tuple[bool, str]:
            rollout = (await self.kube.status(NAME)).get("rollout") or {}
            found[:] = rollout.get("history") or []
            if time.monotonic() - last[0] >= LINE_SECONDS:
                last[0] = time.monotonic()
                self.show.news(told(rollout))
            return len(found) > lines and not rollout.get("candidateRevision"), told(rollout)

        await wait_for(look, "the rollout to end", VERDICT_SECONDS)
        return found[0]

    def answered(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for load in self.loads:
            total += load.tally.answered_by
        return dict(total)

    def finish(self) -> None:
        reports = {load.target.protocol: load.tally.report() for load in self.loads}
        self.result["load"] = reports
        failed = sum(report["failed"] for report in reports.values())
        requests = sum(report["requests"] for report in reports.values())
        self.show.line(f"Failed requests: {failed} of {requests}")
        if failed:
            raise Unproven(f"{failed} of {requests} requests failed: {reports}")

    async def why(self) -> str:
        found = conditions(await self.kube.status(NAME)).get("RolloutHealthy") or {}
        return f"RolloutHealthy={found.get('status')}: {found.get('message')}"


async def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    scene = Scene(Show(quiet=args.json))
    problem = ""
    try:
        # The cluster's own folder, which goes with it.
        await scene.run(Path(os.environ[MARK]) / "updates")
    except (Unproven, Waited, KubeError) as error:
        problem = str(error)
        print(f"demo: {problem}", file=sys.stderr)
    if args.json:
        print(json.dumps({**scene.result, "ok": not problem, "problem": problem}))
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

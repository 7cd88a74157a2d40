"""One look at one service: observe, decide, act - in that order, once each.

The decision is made again only on better knowledge: when a model server has answered, when the plan moves
traffic or deletes and wants to see the cluster itself, or when the API server has refused an object.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace

from seawall.decide.actuator import MAX_REPLICAS
from seawall.decide.plan import plan
from seawall.decide.types import Key, Manifest, ObjectRef, Observed, Plan, PlatformUpdate, WriteProblem
from seawall.desired.names import COMPONENT
from seawall.ports import ApiUnavailable, Cluster
from seawall.runtime.building import BuildReconciler
from seawall.runtime.compare import Comparer
from seawall.runtime.fence import LeaseLost
from seawall.runtime.figures import service_figures
from seawall.runtime.kinds import AUTOSCALERS, BUILD, BY_NAME, labels_of
from seawall.runtime.observe import Observer
from seawall.runtime.pacing import Pacing
from seawall.runtime.queue import RetryLater
from seawall.runtime.route_writer import RouteWriter
from seawall.runtime.statuses import Statuses
from seawall.runtime.store import USERS, Store
from seawall.runtime.telemetry import Telemetry, current_key
from seawall.runtime.transitions import turned
from seawall.runtime.verify import Verifier
from seawall.runtime.writer import Writer

logger = logging.getLogger(__name__)
REPLANS = 4
"""A plan may want an answer, then a live read, then the answer for what the live read showed."""

_looking_at: ContextVar[Key | None] = ContextVar("looking_at", default=None)


class Reconciler:
    def __init__(
        self,
        *,
        cluster: Cluster,
        store: Store,
        observer: Observer,
        verifier: Verifier,
        comparer: Comparer,
        pacing: Pacing,
        telemetry: Telemetry,
        wake: Callable[[Key], None],
        builds: BuildReconciler,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._observer = observer
        self._verifier = verifier
        self._comparer = comparer
        self._pacing = pacing
        self._telemetry = telemetry
        self._wake = wake
        self._builds = builds
        self._writer = Writer(cluster, store, self._look_again)
        self._routes = RouteWriter(cluster)
        self._statuses = Statuses(cluster, store, wake)

    async def __call__(self, key: Key) -> float | None:
        started = time.perf_counter()
        current_key.set(str(key))
        _looking_at.set(key)
        result = "error"
        try:
            again = await self._look(key)
            result = "requeued" if again is not None else "ok"
            return again
        except ApiUnavailable as trouble:
            result = "retried"
            logger.warning("comes back later: %s", trouble)
            raise RetryLater(str(trouble), trouble.retry_after or 0.0) from trouble
        except LeaseLost as lost:
            result = "fenced"
            raise RetryLater(str(lost)) from lost
        finally:
            current_key.set("")
            self._telemetry.reconciles.labels(result).inc()
            self._telemetry.seconds.observe(time.perf_counter() - started)

    async def _look(self, key: Key) -> float | None:
        if not key.name:
            return await self._namespace(key.namespace)
        if key.kind == BUILD.kind:
            return await self._builds.look(key, self._writer, self._statuses)
        return await self._service(key)

    def _look_again(self) -> None:
        key = _looking_at.get()
        if key is not None:
            self._wake(key)

    async def _service(self, key: Key) -> float | None:
        service = self._store.service(key)
        if service is None or service["metadata"].get("deletionTimestamp"):
            self._forget(key)
            return None
        observed, decided = await self._decide(key, await self._observer.stored(key, service))
        if observed is None or decided is None:
            return None
        if decided.routes_first and _concluded(decided.status) != _concluded(observed.service.get("status")):
            await self._keep_verdict(key, observed.service, decided)
        wrote, problems, observed = await self._write(key, observed, decided)
        if problems:
            for problem in problems:
                logger.warning("%s: %s: %s", problem.ref, problem.reason, problem.message)
            decided = self._plan(key, replace(observed, write_problems=problems))
        elif wrote:
            decided = self._settled(key, observed, decided)
        before = observed.service.get("status")
        if await self._statuses.write(key, observed.service, decided.status):
            await self._statuses.record(observed.service, [*turned(before, decided.status)])
        await self._statuses.record(observed.service, decided.events)
        self._done(key, decided)
        if decided.compare is None:
            self._comparer.cancel(key)
        return decided.requeue_after

    async def _keep_verdict(self, key: Key, service: Manifest, decided: Plan) -> None:
        """Why traffic leaves is written before it does: whoever comes after a crash has not seen it and would
        take the lower weight for somebody else's. Nothing waits for it where it cannot be written."""
        try:
            await self._statuses.write(key, service, decided.status)
        except ApiUnavailable as trouble:
            logger.warning("traffic leaves before it is told why: %s", trouble)

    async def _write(
        self, key: Key, observed: Observed, decided: Plan
    ) -> tuple[bool, list[WriteProblem], Observed]:
        """Objects, routes, counts, then what may go; whether anything was done, and the routes as they are
        now. Traffic that is to leave goes before all else."""
        service = observed.service
        tried = False
        problems: list[WriteProblem] = []
        if decided.routes_first:
            tried, problems, observed = await self._write_routes(observed, decided)
        if decided.services_first:
            first = replace(decided, apply=decided.services_first)
            narrowed, refused = await self._apply(key, service, first)
            tried, problems = tried or bool(narrowed), [*problems, *refused]
        sent, refused = await self._apply(key, service, decided)
        problems += refused
        if not decided.routes_first and not problems:
            tried, problems, observed = await self._write_routes(observed, decided)
        # An autoscaler goes before the first count that is ours to say, or it would have the last word.
        leaving = [ref for ref in decided.delete if BY_NAME[ref.kind] in AUTOSCALERS]
        if problems and leaving:
            return True, problems, observed
        await self._writer.delete(leaving)
        scaled, refused = await self._writer.scale(service, decided.scale)
        problems += refused
        if not problems:
            await self._writer.delete([ref for ref in decided.delete if ref not in leaving])
        return bool(tried or sent or scaled or decided.delete), problems, observed

    async def _apply(
        self, key: Key, service: Manifest, decided: Plan
    ) -> tuple[list[Manifest], list[WriteProblem]]:
        sent, problems = await self._writer.apply(service, decided.apply)
        if sent:
            logger.info("applied %s", ", ".join(str(ObjectRef.of(manifest)) for manifest in sent))
        for made in sent:
            if made["kind"] == BUILD.kind:  # the watch tells nothing of what we have written ourselves
                self._wake(Key(key.namespace, made["metadata"]["name"], BUILD.kind))
        return sent, problems

    async def _write_routes(
        self, observed: Observed, decided: Plan
    ) -> tuple[bool, list[WriteProblem], Observed]:
        written = await self._routes.write(observed.service, observed.routes, decided)
        return written.tried, written.problems, replace(observed, routes=written.routes)

    def _settled(self, key: Key, observed: Observed, decided: Plan) -> Plan:
        """The status as the next look would find it, now that the objects are written: one write, not two.

        The next look's plan is asked for it, with this plan's rollout in place of the one read. When that
        plan wants to do more than tell, it is left to the next look.
        """
        status = {
            **(observed.service.get("status") or {}),
            "rollout": (decided.status or {}).get("rollout") or {},
        }
        service = {**observed.service, "status": status}
        after = self._observer.again(key, replace(observed, service=service))
        settled = self._plan(key, after)
        asks = settled.verify is not None or settled.compare is not None
        changes = settled.delete or settled.routes or settled.route_patches or settled.needs_live_read
        busy = asks or changes or _moved(decided, settled)
        scaled = self._writer.all_scaled(service, settled.scale)
        if busy or not scaled or not self._writer.all_stand(service, settled.apply):
            self._wake(key)
            return decided
        return replace(settled, events=(*decided.events, *settled.events))

    async def _decide(self, key: Key, observed: Observed) -> tuple[Observed | None, Plan | None]:
        decided = self._plan(key, observed)
        for _ in range(REPLANS):
            if decided.verify is not None and observed.verification is None:
                uid = observed.service["metadata"]["uid"]
                answer = await self._verifier.ask(key, uid, decided.verify)
                if answer is None:
                    return observed, decided
                observed = replace(observed, verification=answer)
            elif decided.compare is not None and observed.answers is None:
                uid = observed.service["metadata"]["uid"]
                answers = await self._comparer.ask(key, uid, decided.compare)
                if answers is None:
                    return observed, decided
                observed = replace(observed, answers=answers)
            elif decided.tally is not None and observed.tally is None:
                tally = await self._comparer.tally(key, decided.tally)
                if tally is None:
                    return observed, decided
                observed = replace(observed, tally=tally)
            elif decided.needs_live_read and not observed.live:
                live = await self._observer.live(key, observed)
                if live is None:
                    return None, None
                observed = live
            else:
                return observed, decided
            decided = self._plan(key, observed)
        return observed, decided

    def _plan(self, key: Key, observed: Observed) -> Plan:
        """Asking for a platform slot and taking it is one step: nothing is awaited in between."""
        decided = plan(replace(observed, platform_slot=self._pacing.may_start(key)))
        if decided.platform_update is not PlatformUpdate.NONE:
            self._pacing.note(key, decided.platform_update)
        spec = observed.service.get("spec") or {}
        self._telemetry.service(key, service_figures(decided.status or {}, spec, MAX_REPLICAS))
        return decided

    def _done(self, key: Key, decided: Plan) -> None:
        """Gives the slot back: only now that all is written, so that the next service waits for this one."""
        if decided.platform_update is PlatformUpdate.NONE:
            rollout = (decided.status or {}).get("rollout") or {}
            self._pacing.note(key, PlatformUpdate.NONE, rolled_back=rollout.get("phase") == "RolledBack")

    def _forget(self, key: Key) -> None:
        """The service is gone or going; its children go with it, by garbage collection."""
        self._pacing.forget(key)
        self._telemetry.forget_service(key)
        self._statuses.forget(key)
        self._comparer.forget(key)
        self._writer.forget(key)
        if self._store.left_over(key.namespace):
            self._wake(Key(key.namespace, ""))

    async def _namespace(self, namespace: str) -> float | None:
        """Removes the shared objects of a namespace in which no service, or no build, is left."""
        async with self._writer.namespace_lock(namespace):
            gone = self._store.left_over(namespace)
            for kind, component in USERS.items():
                theirs = [live for live in gone if labels_of(live).get(COMPONENT) == component]
                users = BY_NAME[kind]
                if theirs and not (await self._cluster.list(users.api_version, kind, namespace))[0]:
                    await self._writer.delete([ObjectRef.of(live) for live in theirs])
        return None


def _concluded(status: Manifest | None) -> tuple[object, object]:
    """What follows from measurements that nobody keeps."""
    rollout = (status or {}).get("rollout") or {}
    return rollout.get("lastRejected"), rollout.get("pause")


def _moved(decided: Plan, settled: Plan) -> bool:
    """A rollout goes on by one move in a look: what is to be recorded is recorded first."""
    before, after = ((plan.status or {}).get("rollout") or {} for plan in (decided, settled))
    moves = ("step", "desiredWeight", "candidateReplicas", "displacedReplicas")
    return any(before.get(name) != after.get(name) for name in moves)

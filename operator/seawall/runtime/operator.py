"""The operator put together: watch, store, queue, workers, lease, health; and how they start and stop.

The order matters. kopf's first LISTs come before our own, so that nothing deleted in between stays as a
ghost; no worker starts before the store is whole, or a service would be seen without its children; and only
the leader's workers run.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from seawall.decide.types import Key
from seawall.ports import ApiRejected
from seawall.runtime.building import BuildReconciler
from seawall.runtime.compare import Comparer
from seawall.runtime.definitions import CannotStart, check_definitions
from seawall.runtime.fence import Fenced
from seawall.runtime.handlers import Relisting, Told, Watch, resync_forever
from seawall.runtime.health import Health, exposition, health_app, metrics_app, serve
from seawall.runtime.kinds import JOB
from seawall.runtime.lasting import answering, lasting
from seawall.runtime.leader import Leader, LeaseTimes
from seawall.runtime.observe import Observer
from seawall.runtime.observe_build import BuildObserver
from seawall.runtime.outside import SystemClock, World
from seawall.runtime.pacing import Pacing
from seawall.runtime.queue import WorkQueue
from seawall.runtime.reconcile import Reconciler
from seawall.runtime.scaled import Dispatching
from seawall.runtime.scaler import Scaler, ScalerSettings
from seawall.runtime.slots import BuildSlots
from seawall.runtime.store import Store
from seawall.runtime.survey import Survey
from seawall.runtime.tables import Tables
from seawall.runtime.telemetry import Telemetry
from seawall.runtime.verify import Verifier
from seawall.settings import Settings

logger = logging.getLogger(__name__)
FIRST_LIST_SECONDS = 120.0


class Operator:
    def __init__(self, settings: Settings, world: World, telemetry: Telemetry, health: Health) -> None:
        loop = asyncio.get_running_loop()
        self._settings = settings
        self._telemetry = telemetry
        self.store = Store()
        self.queue: WorkQueue[Key] = WorkQueue(clock=loop.time)
        self.leader = Leader(
            world.lease,
            settings.identity,
            LeaseTimes(
                settings.lease_duration_seconds,
                settings.lease_renew_deadline_seconds,
                settings.lease_retry_seconds,
            ),
        )
        self._cluster = world.cluster
        fenced = Fenced(world.cluster, lambda: self.leader.leads)
        self.pacing = Pacing(
            services=lambda: self.store.service_count,
            wake=self.queue.add,
            wake_after=self.queue.add_after,
            clock=loop.time,
            slots=settings.platform_slots,
            failure_hold=settings.platform_failure_hold_seconds,
        )
        self.slots = BuildSlots(settings.max_builds, self.queue.add)
        told = Told(self.store, self.queue.add)
        self._relisting = Relisting(world.cluster, self.store, told, settings.watch_namespaces)
        self._face = world.metrics_api
        self._scrapes = world.scrapes
        self.survey = Survey(
            discover=world.discover,
            repair=self._relisting.repair,
            clear=self.store.clear,
            face=world.metrics_api,
            prometheus_url=settings.prometheus_url,
            changed=self._everything,
        )
        self.scaler = Scaler(
            store=self.store,
            metrics=world.metrics,
            tables=Tables(),
            survey=self.survey,
            telemetry=telemetry,
            wake=self.queue.add,
            platform=settings.platform,
            settings=ScalerSettings(
                settings.metrics_interval_seconds,
                Dispatching(settings.dispatch, settings.gateway_dispatch),
            ),
        )
        patience = settings.verification_wait_seconds
        self._reconciler = Reconciler(
            cluster=fenced,
            store=self.store,
            observer=Observer(
                cluster=fenced,
                store=self.store,
                schema=world.schema,
                clock=SystemClock(),
                platform=settings.platform,
                survey=self.survey,
                scales=self.scaler,
            ),
            verifier=Verifier(world.inference, self.queue.add, loop.time, patience),
            comparer=Comparer(fenced, world.inference, self.queue.add, loop.time, patience),
            pacing=self.pacing,
            telemetry=telemetry,
            wake=self.queue.add,
            builds=BuildReconciler(
                store=self.store,
                observer=BuildObserver(
                    fenced, self.store, world.builds, SystemClock(), settings.build_settings
                ),
                slots=self.slots,
                telemetry=telemetry,
                wake=self.queue.add,
            ),
        )
        self.health = health
        health.longest_run = lambda: self.queue.longest_run
        health.oldest_wait = lambda: self.queue.oldest_wait
        health.leads = lambda: self.leader.leads
        telemetry.depth.set_function(lambda: len(self.queue.keys))
        telemetry.oldest.set_function(lambda: self.queue.oldest_wait)
        telemetry.leading.set_function(lambda: float(self.leader.leads))
        self._stopping = asyncio.Event()
        self.watch = Watch(
            told=told,
            relisted=self._relisting.ask,
            asked=lambda kind: health.asked(kind.plural),
            open_session=world.open_session,
            counted=telemetry.call,
            namespaces=settings.watch_namespaces,
        )
        self.on_signals: Callable[[Callable[[], None]], None] = lambda stop: None
        """Set by whoever owns the process; called when kopf has installed signal handlers of its own."""

    def stop(self) -> None:
        """Finish the runs in hand, give the lease back, end."""
        self._stopping.set()

    async def run(self) -> int:
        """Exit code: 0 after stop(), 1 when the lease or the watch is lost."""
        servers = await self._serve()
        await check_definitions(self._cluster, self._settings.watch_namespaces)
        watching = asyncio.create_task(self.watch.run(), name="watch")
        stopping = asyncio.create_task(self._stopping.wait(), name="stopping")
        leading = asyncio.create_task(self._lead(), name="leading")
        beside = self._beside()
        try:
            await asyncio.wait({watching, stopping, leading}, return_when=asyncio.FIRST_COMPLETED)
            return await self._ended(watching, stopping, leading)
        finally:
            stopping.cancel()
            for task in beside:
                task.cancel()
            for server in servers:
                await server.cleanup()
            self.watch.stop()  # last: kopf waits for, and then cancels, every task that began after it
            await asyncio.wait({watching}, timeout=2)

    async def _ended(
        self, watching: asyncio.Task[None], stopping: asyncio.Task[Any], leading: asyncio.Task[None]
    ) -> int:
        # kopf ends without an error only by a signal that came before our own handlers were in place.
        if stopping.done() or (watching.done() and watching.exception() is None):
            if not await self.queue.drain(self._settings.drain_seconds):
                logger.warning("runs in hand were cut off after %.0f s", self._settings.drain_seconds)
            leading.cancel()
            await asyncio.wait({leading})
            await self.leader.release()
            logger.info("stopped")
            return 0
        if watching.done():
            leading.cancel()
            logger.critical("the watch has ended: %s", watching.exception())
            return 1
        if error := leading.exception():
            raise error
        return 1

    async def _lead(self) -> None:
        """Fills the store and waits for the lease, both at once; then works until the lease is lost."""
        tasks = [asyncio.create_task(self._fill(), name="fill")]
        try:
            await self._or_failed(self.leader.acquire(), tasks)
            keeping = asyncio.create_task(self.leader.keep(), name="lease")
            tasks.append(keeping)
            await self._or_failed(self._relisting.filled.wait(), tasks)
            await self._or_failed(self.survey.start(), tasks)
            if not keeping.done():
                self.pacing.restore((key, self._status(key)) for key in self.store.services())
                builds = ((key, self.store.children(key)[JOB.kind]) for key in self.store.builds())
                self.slots.restore(key for key, jobs in builds if jobs)
                self._everything()
                self.queue.start(self._settings.workers, self._reconciler)
                self.health.started = True
                tasks += [
                    asyncio.create_task(lasting("survey", self.survey.run), name="survey"),
                    asyncio.create_task(lasting("scaler", self.scaler.run), name="scaler"),
                ]
            await self._or_failed(keeping, tasks[:1])
        finally:
            for task in tasks:
                task.cancel()

    def _beside(self) -> list[asyncio.Task[None]]:
        """What every replica does, leader or not."""
        made = []
        if (face := self._face) is not None:
            work = answering(face, self.store, lambda: self.leader.leads)
            made.append(asyncio.create_task(work, name="metrics-api"))
        if (scrapes := self._scrapes) is not None:
            told = lasting(
                "metrics endpoint",
                lambda: scrapes.run(lambda: exposition(self._telemetry), lambda: self.leader.leads),
            )
            made.append(asyncio.create_task(told, name="metrics"))
        return made

    async def _or_failed(self, wanted: Awaitable[Any], others: list[asyncio.Task[None]]) -> None:
        """Waits for this, unless one of the others ends first; its error, if any, is raised."""
        waiting = asyncio.ensure_future(wanted)
        try:
            await asyncio.wait({waiting, *others}, return_when=asyncio.FIRST_COMPLETED)
            for ended in (task for task in others if task.done()):
                await ended
        finally:
            waiting.cancel()

    async def _fill(self) -> None:
        """Fills the store, and from then on repairs it; never ends."""
        listing = asyncio.create_task(self._relisting.run(), name="relisting")
        resync = asyncio.create_task(
            resync_forever(self._relisting.repair, self._everything, self._pause), name="resync"
        )
        try:
            async with asyncio.timeout(FIRST_LIST_SECONDS):
                await self._or_failed(self._relisting.filled.wait(), [listing])
            self.on_signals(self.stop)
            self.health.synced = True
            gc.collect()
            gc.freeze()  # the modules and the first load are here to stay: no collection walks them again
            logger.info(
                "the store is filled: %d objects, %d services", len(self.store), self.store.service_count
            )
            await listing
        except TimeoutError:
            missing = ", ".join(sorted(self._relisting.missing))
            raise CannotStart(f"these kinds could not be listed: {missing}") from None
        except ApiRejected as refused:
            raise CannotStart(f"the API server refuses a list: {refused.message}") from refused
        finally:
            listing.cancel()
            resync.cancel()

    def _everything(self) -> None:
        """Every service and build is looked at; services whose spec has changed unseen go before the rest."""
        for key in self.store.services():
            self.queue.add(key, live=self._behind(key))
        for key in self.store.builds():
            self.queue.add(key, live=False)
        for namespace in self.store.shared_namespaces():
            if self.store.left_over(namespace):
                self.queue.add(Key(namespace, ""), live=False)

    def _status(self, key: Key) -> dict[str, Any]:
        return (self.store.service(key) or {}).get("status") or {}

    def _behind(self, key: Key) -> bool:
        service = self.store.service(key) or {}
        seen = (service.get("status") or {}).get("observedGeneration")
        return bool(seen != (service.get("metadata") or {}).get("generation"))

    def _pause(self) -> float:
        return self._settings.resync_seconds * random.uniform(0.9, 1.1)  # noqa: S311 - not a secret

    async def _serve(self) -> list[web.AppRunner]:
        host = self._settings.listen_host
        servers = [await serve(health_app(self.health), host, self._settings.health_port)]
        if self._scrapes is None:
            servers.append(await serve(metrics_app(self._telemetry), host, self._settings.metrics_port))
        return servers

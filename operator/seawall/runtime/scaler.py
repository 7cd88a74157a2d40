"""Reads the data plane and sizes every service, on the leader alone.

Reading is frequent and cheap, deciding comes every fifteen seconds as an HPA's does. What a decision needs is
remembered here and nowhere else: after a restart the law watches for five minutes before it takes a pod away.
One service's surprise is that service's: the others are sized all the same.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from seawall.decide.arms import arms
from seawall.decide.types import Assessment, Budget, Key, Windows
from seawall.desired.inputs import Platform
from seawall.measure.types import ArmSample
from seawall.ports import Metrics, Target
from seawall.runtime.counting import Counting
from seawall.runtime.observe import told
from seawall.runtime.scaled import Dispatching, Scaled
from seawall.runtime.store import Store
from seawall.runtime.survey import Survey
from seawall.runtime.tables import Tables
from seawall.runtime.telemetry import Telemetry

logger = logging.getLogger(__name__)

SYNC_SECONDS = 15.0
BATCHES_SECONDS = 60.0
LEARNING_SECONDS = 15.0
"""Between two looks at the batches of a revision that waits for them; its count stands meanwhile."""
BATCHES_AT_ONCE = 16
REFRESH_SECONDS = 60.0
"""What no version tells of: a mode that has waited long enough, a class's new price."""
BREATH = 20
"""Services after which the event loop gets its turn: leases and watches do not wait for arithmetic."""
FLOOR_SECONDS = 0.5
"""Between two rounds, however long one takes."""
NOTHING: tuple[Mapping[str, Assessment], Budget | None] = ({}, None)


@dataclass(frozen=True, slots=True)
class ScalerSettings:
    interval_seconds: float = 5.0
    dispatching: Dispatching = field(default_factory=Dispatching)


class Scaler:
    def __init__(
        self,
        *,
        store: Store,
        metrics: Metrics,
        tables: Tables,
        survey: Survey,
        telemetry: Telemetry,
        wake: Callable[[Key], None],
        platform: Platform,
        settings: ScalerSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock`: seconds since the epoch, as samples carry them."""
        self._store = store
        self._metrics = metrics
        self._tables = tables
        self._survey = survey
        self._telemetry = telemetry
        self._wake = wake
        self._platform = platform
        self._settings = settings
        self._clock = clock
        self._services: dict[Key, Scaled] = {}
        self._synced = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self._asked = float("-inf")
        self._hurried = float("-inf")
        self._counting = Counting(metrics, self._counted)

    def __len__(self) -> int:
        return len(self._services)

    def shown(self, key: Key) -> tuple[Mapping[str, Assessment], Budget | None]:
        """What is public of this service."""
        service = self._services.get(key)
        return service.shown if service is not None else NOTHING

    def windows(self, key: Key) -> Windows:
        service = self._services.get(key)
        return service.windows if service is not None else Windows()

    async def run(self) -> None:
        try:
            while True:
                started = time.monotonic()
                await self.tick()
                took = time.monotonic() - started
                self._telemetry.ticks.observe(took)
                await asyncio.sleep(max(FLOOR_SECONDS, self._settings.interval_seconds - took))
        finally:
            if self._asking is not None:
                self._asking.cancel()
            self._counting.cancel()

    async def tick(self) -> None:
        """One round: who there is, what they say, and every fifteen seconds what follows from it."""
        await self._refresh(self._clock())
        await self._read()
        await self._cut()
        now = self._clock()
        if (self._asking is None or self._asking.done()) and (due := self._batches_due(now)):
            self._asking = asyncio.create_task(self._ask_batches(due), name="batch-statistics")
        # Half a round early rather than a whole one late.
        if not 0 <= now - self._synced < SYNC_SECONDS - self._settings.interval_seconds / 2:
            self._synced = now
            await self._sync(now)

    async def _refresh(self, now: float) -> None:
        present = self._store.services()
        for gone in self._services.keys() - set(present):
            del self._services[gone]
        for number, key in enumerate(present):
            try:
                self._look(key, now)
            except Exception:  # one service's surprise is that service's
                logger.exception("what is scaled cannot be told", extra={"key": str(key)})
            if number % BREATH == BREATH - 1:
                await asyncio.sleep(0)
        arms = {(key, arm.revision) for key, service in self._services.items() for arm in service.arms}
        for gone_arm in self._telemetry.arms.keys() - arms:
            del self._telemetry.arms[gone_arm]

    def _look(self, key: Key, now: float) -> None:
        known = self._services.setdefault(key, Scaled())
        versions = (self._store.versions(key), self._survey.capabilities)
        if known.versions == versions and 0 <= now - known.read_at < REFRESH_SECONDS:
            return
        manifest = self._store.service(key)
        if manifest is None:
            return
        known.versions, known.read_at = versions, now
        moment = datetime.fromtimestamp(now, UTC)
        capabilities = self._survey.capabilities
        known.settle(arms(told(self._store, key, manifest, self._platform, moment, capabilities)))

    async def _read(self) -> None:
        wanted = [(service, target) for service in self._services.values() for target in service.targets()]
        for (service, target), sample in zip(
            wanted, await self._samples([target for _, target in wanted]), strict=True
        ):
            try:
                service.take(target.revision, sample)
            except Exception:  # one service's surprise is that service's
                logger.exception("a sample was not understood", extra={"key": f"{target.service}"})

    async def _cut(self) -> None:
        now = self._clock()
        for number, (key, service) in enumerate(list(self._services.items())):
            try:
                if service.cut(now):
                    self._counted(key)
                if service.waiting():
                    self._counting.start(key, service)
            except Exception:  # one service's surprise is that service's
                logger.exception("no window was cut", extra={"key": str(key)})
            if number % BREATH == BREATH - 1:
                await asyncio.sleep(0)

    def _counted(self, key: Key) -> None:
        """There is news of its windows."""
        if self._judged(key):
            self._wake(key)

    def _judged(self, key: Key) -> bool:
        """A candidate is on its way through the steps of a plan."""
        rollout = ((self._store.service(key) or {}).get("status") or {}).get("rollout") or {}
        return bool(rollout.get("candidateRevision")) and rollout.get("step") is not None

    async def _samples(self, targets: Sequence[Target]) -> Sequence[ArmSample]:
        """One each, whatever the source does."""
        if not targets:
            return ()
        try:
            samples = await self._metrics.read(targets)
            if len(samples) == len(targets):
                return samples
            message = f"{len(samples)} samples came for {len(targets)} revisions"
        except Exception as surprise:
            logger.exception("the metrics could not be read")
            message = f"{type(surprise).__name__}: {surprise}"
        now = self._clock()
        return [
            ArmSample(now, expected=frozenset(t.pods), trouble="MetricsUnavailable", message=message)
            for t in targets
        ]

    def _batches_due(self, now: float) -> list[tuple[Scaled, Target]]:
        """Everybody once a minute; in between those who can be sized as soon as this is known."""
        targets = [(s, target) for s in self._services.values() for target in s.targets()]
        if not 0 <= now - self._asked < BATCHES_SECONDS:
            self._asked = self._hurried = now
            return targets
        if not 0 <= now - self._hurried < LEARNING_SECONDS:
            self._hurried = now
            return [(s, target) for s, target in targets if s.learns(target.revision)]
        return []

    async def _ask_batches(self, due: Sequence[tuple[Scaled, Target]]) -> None:
        """Beside the rounds: a pod that is slow to answer holds up nobody."""
        limit = asyncio.Semaphore(BATCHES_AT_ONCE)

        async def ask(service: Scaled, target: Target) -> None:
            async with limit:
                try:
                    told_by_pods = await self._metrics.batches(target)
                except Exception:  # one service's surprise is that service's
                    logger.exception("no batch statistics", extra={"key": f"{target.service}"})
                    return
            if told_by_pods:
                service.batches[target.revision] = told_by_pods

        await asyncio.gather(*(ask(service, target) for service, target in due))

    async def _sync(self, now: float) -> None:
        for number, (key, service) in enumerate(list(self._services.items())):
            try:
                self._size(key, service, now)
            except Exception:  # one service's surprise is that service's
                logger.exception("a service was not sized", extra={"key": str(key)})
            if number % BREATH == BREATH - 1:
                await asyncio.sleep(0)

    def _size(self, key: Key, service: Scaled, now: float) -> None:
        if not service.arms and not service.shown[0]:
            return
        service.assess(now, self._tables, self._settings.dispatching)
        for revision, figures in service.telemetry().items():
            self._telemetry.arms[key, revision] = figures
        news = service.publish(now)
        # Of a candidate on trial every window is a look already; what is no decision is told with the next.
        if news == "Decision" or (news and not (self._judged(key) and service.flows(now))):
            self._wake(key)

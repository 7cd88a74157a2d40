"""kopf as the watch layer and nothing more: an event goes into the store, its service's key into the queue.

kopf writes nothing here, keeps no index, and its digests of objects for change detection are switched off,
because nobody asks for them. What it does not tell is told by looking at its requests: a LIST of a kind means
that its watch had broken, and objects deleted meanwhile are reported to nobody (kopf sends no DELETED for
them, and nothing at all when the list is empty). So each LIST of kopf's is followed by one of ours, which
drops the ghosts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import kopf
from kopf import DiffBaseStorage, ProgressStorage

from seawall.decide.types import Key, Manifest
from seawall.ports import ApiUnavailable, Cluster
from seawall.runtime.kinds import ACCELERATOR, BY_NAME, CHILDREN, SERVICE, SHARED, WATCHED, Kind
from seawall.runtime.store import Store, owning_service

logger = logging.getLogger(__name__)

SERVER_TIMEOUT = 300
RELIST_QUIET = 1.0
RELIST_RETRY = 5.0
ERROR_BACKOFFS = (1, 1, 2, 3, 5, 8, 13, 21, 30, 30, 30, 30, 30, 30)
"""Some four minutes of 5xx and 403 answers are waited out; then the process ends and is started anew."""

Add = Callable[..., None]


class _NoDiffs(DiffBaseStorage):
    """kopf would copy each object whole, twice, to compare it with the last one handled."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        raise AssertionError("nothing of kopf's is ever stored on an object")


class _NoProgress(ProgressStorage):
    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        raise AssertionError("nothing of kopf's is ever stored on an object")

    def purge(self, **_: Any) -> None:
        return

    def touch(self, **_: Any) -> None:
        raise AssertionError("nothing of kopf's is ever stored on an object")

    def clear(self, *, essence: Any) -> Any:
        return essence


class Told:
    """Where events go: into the store, and their services' keys into the queue."""

    def __init__(self, store: Store, add: Add) -> None:
        self._store = store
        self._add = add

    def event(self, kind: Kind, type_: str | None, manifest: Manifest) -> None:
        """`type_` is kopf's: None for an object of an initial or repeated LIST."""
        if type_ == "DELETED":
            changed = self._store.remove(kind, manifest)
        else:
            changed = self._store.put(kind, manifest)
        if changed:
            self.changed(kind, manifest, live=type_ is not None)

    def changed(self, kind: Kind, manifest: Manifest, *, live: bool) -> None:
        for key in self._concerned(kind, manifest):
            self._add(key, live=live)

    def _concerned(self, kind: Kind, manifest: Manifest) -> Sequence[Key]:
        meta = manifest["metadata"]
        namespace = meta.get("namespace", "")
        if kind is SERVICE:
            return [Key(namespace, meta["name"])]
        if kind is ACCELERATOR:
            return self._store.users(meta["name"])
        if kind in CHILDREN:
            owner = owning_service(manifest)
            return [Key(namespace, owner)] if owner else []
        # Any one service of the namespace brings the shared objects back; none: they may have to go.
        return [next(self._store.services_in(namespace), Key(namespace, ""))]


class Relisting:
    """Repeats kopf's LISTs to find what has vanished, one for each kind at a time and not too often."""

    def __init__(self, cluster: Cluster, store: Store, told: Told, namespaces: Sequence[str]) -> None:
        self._cluster = cluster
        self._store = store
        self._told = told
        self._namespaces = namespaces
        self._pending: set[str] = set()
        self._due = asyncio.Event()
        self._locks = {kind.kind: asyncio.Lock() for kind in WATCHED}

    def ask(self, kind: Kind) -> None:
        self._pending.add(kind.kind)
        self._due.set()

    async def run(self) -> None:
        while True:
            await self._due.wait()
            await asyncio.sleep(RELIST_QUIET)  # pages of one LIST, and kinds that break together
            self._due.clear()
            for name in sorted(self._pending):
                self._pending.discard(name)
                try:
                    await self.repair(BY_NAME[name])
                except ApiUnavailable as trouble:
                    logger.warning("listing %s comes back later: %s", name, trouble)
                    self._pending.add(name)
            if self._pending:
                await asyncio.sleep(RELIST_RETRY)
                self._due.set()

    async def repair(self, kind: Kind, *, wake: bool = True) -> None:
        """One LIST; what it shows that the store does not know, or no longer, is followed up."""
        scopes: Sequence[str | None] = self._namespaces if self._namespaces and kind.namespaced else [None]
        async with self._locks[kind.kind]:
            for scope in scopes:
                self._store.begin_list(kind)
                items, version = await self._cluster.list(kind.api_version, kind.kind, scope, kind.selector)
                news, vanished = self._store.replace(kind, items, version, scope)
                if vanished:
                    logger.info("%d vanished unseen of %s", len(vanished), kind.kind)
                if wake:
                    for manifest in (*news, *vanished):
                        self._told.changed(kind, manifest, live=False)


class Watch:
    """Runs kopf over our kinds until stopped."""

    def __init__(
        self,
        *,
        told: Told,
        relisted: Callable[[Kind], None],
        asked: Callable[[Kind], None],
        session: Callable[[Callable[[str, Any, int], None]], Awaitable[tuple[str, aiohttp.ClientSession]]],
        counted: Callable[[str, str, str], None],
        namespaces: Sequence[str],
    ) -> None:
        self._told = told
        self._relisted = relisted
        self._asked = asked
        self._session = session
        self._counted = counted
        self._namespaces = namespaces
        self._stop = asyncio.Event()
        self._plurals = {kind.plural: kind for kind in WATCHED}
        self.listed: set[str] = set()
        self.all_listed = asyncio.Event()

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        await kopf.operator(
            registry=self._registry(),
            settings=watch_settings(),
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=self._stop,
        )

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.AiohttpSession:
            server, session = await self._session(self._seen)
            return kopf.AiohttpSession(server=server, aiohttp_session=session)

        for kind in WATCHED:
            group, version = kind.group_version
            self._listen(registry, kind, group, version)
        return registry

    def _listen(self, registry: kopf.OperatorRegistry, kind: Kind, group: str, version: str) -> None:
        @kopf.on.event(group, version, kind.plural, registry=registry, id=f"told-{kind.plural}")
        async def told(event: Any, **_: Any) -> None:
            self._told.event(kind, event["type"], event["object"])

    def _seen(self, method: str, url: Any, status: int) -> None:
        """Every request that kopf makes, and again with its answer's status code."""
        kind = self._plurals.get(url.path.rpartition("/")[2])
        if kind is None or method != "GET":
            return
        watching = "watch" in url.query
        if status == 0:
            self._asked(kind)
            return
        self._counted("watch" if watching else "list", kind.plural, str(status))
        if not watching and status == 200:
            self._relisted(kind)
            if "continue" not in url.query:
                self._first(kind)

    def _first(self, kind: Kind) -> None:
        self.listed.add(kind.kind)
        if len(self.listed) == len(WATCHED):
            self.all_listed.set()


def watch_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.persistence.finalizer = "serving.seawall.dev/never-set"
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.persistence.progress_storage = _NoProgress()
    settings.watching.server_timeout = SERVER_TIMEOUT
    settings.watching.client_timeout = SERVER_TIMEOUT + 10
    settings.watching.connect_timeout = 30
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.networking.enforce_retry_after = True
    settings.networking.error_backoffs = ERROR_BACKOFFS
    settings.queueing.idle_timeout = 0.5  # a task and the last event of each object stay for that long
    settings.queueing.exit_timeout = 0.5
    settings.process.ultimate_exiting_timeout = None  # it would kill the run in hand; we have our own
    for kind in (*CHILDREN, *SHARED):
        group, version = kind.group_version
        settings.watching.label_selectors[group, version, kind.plural] = kind.selector
    return settings


async def resync_forever(
    repair: Callable[[Kind], Awaitable[None]],
    enqueue: Callable[[], None],
    pauses: Callable[[], float],
) -> None:
    """Reads everything again from time to time and looks at every service: what no watch tells."""
    while True:
        await asyncio.sleep(pauses())
        with contextlib.suppress(ApiUnavailable):  # the next round comes, and the watch goes on meanwhile
            for kind in WATCHED:
                await repair(kind)
        enqueue()

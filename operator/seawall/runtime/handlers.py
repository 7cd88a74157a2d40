"""kopf as the watch layer and nothing more: an event goes into the store, its service's key into the queue.

kopf writes nothing here, keeps no index, and its digests of objects for change detection are switched off,
because nobody asks for them. The watches are kopf's, the LISTs are ours: kopf reports no object that vanished
while a watch was broken, and spends a task on each one that did not. So a LIST that kopf makes is turned into
one that matches nothing and only starts the watch, and one of ours follows it, which knows every difference.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import aiohttp
import kopf
from kopf import DiffBaseStorage, ProgressStorage

from seawall.decide.types import Key, Manifest
from seawall.desired.names import COMPONENT, MODEL_BUILD
from seawall.ports import ApiRejected, ApiUnavailable, Cluster
from seawall.runtime.kinds import ACCELERATOR, BUILD, BY_NAME, SERVICE, SHARED, WATCHED, Kind, labels_of
from seawall.runtime.reading import owner_of
from seawall.runtime.store import Store

logger = logging.getLogger(__name__)

SERVER_TIMEOUT = 300
RELIST_QUIET = 0.3
RELIST_RETRY = 5.0
ERROR_BACKOFFS = (1, 1, 2, 3, 5, 8, 13, 21, 30, 30, 30, 30, 30, 30)
"""Some four minutes of 5xx and 403 answers are waited out; then the process ends and is started anew."""

NOTHING = "metadata.name=--"
"""A field selector that no object fits: two hyphens are no name."""


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

    def __init__(self, store: Store, add: Callable[[Key], None]) -> None:
        self._store = store
        self._add = add

    def event(self, kind: Kind, type_: str | None, manifest: Manifest) -> None:
        put = self._store.remove if type_ == "DELETED" else self._store.put
        if put(kind, manifest):
            self.changed(kind, manifest)

    def changed(self, kind: Kind, manifest: Manifest) -> None:
        for key in self._concerned(kind, manifest):
            self._add(key)

    def _concerned(self, kind: Kind, manifest: Manifest) -> Sequence[Key]:
        meta = manifest["metadata"]
        namespace = meta.get("namespace", "")
        if kind is SERVICE:
            return [Key(namespace, meta["name"])]
        if kind is ACCELERATOR:
            return self._store.users(meta["name"])
        if kind is BUILD:
            waiting = self._store.uses.services(namespace, meta["name"])
            return [Key(namespace, meta["name"], BUILD.kind), *waiting]
        if kind not in SHARED:
            owner = owner_of(kind, manifest)
            return [owner] if owner else []
        if labels_of(manifest).get(COMPONENT) == MODEL_BUILD:
            builds = self._store.builds_in(namespace)
            return [Key(namespace, name, BUILD.kind) for name in builds] or [Key(namespace, "")]
        # Any one service of the namespace brings the shared objects back; none: they may have to go.
        return [next(self._store.services_in(namespace), Key(namespace, ""))]


class Relisting:
    """One LIST of ours for each of kopf's: fills the store at the start, repairs it after a broken watch."""

    def __init__(self, cluster: Cluster, store: Store, told: Told, namespaces: Sequence[str]) -> None:
        self._cluster = cluster
        self._store = store
        self._told = told
        self._namespaces = namespaces
        self._pending: dict[str, None] = {}
        self._due = asyncio.Event()
        self._locks = {name: asyncio.Lock() for name in BY_NAME}
        self.missing = {kind.kind for kind in WATCHED}
        """kinds that have never been listed"""
        self.filled = asyncio.Event()

    def ask(self, kind: Kind) -> None:
        self._pending.setdefault(kind.kind)
        self._due.set()

    async def run(self) -> None:
        while True:
            await self._due.wait()
            if self.filled.is_set():
                await asyncio.sleep(RELIST_QUIET)  # kinds break together, and namespaces one by one
            self._due.clear()
            # At once: while one answer is being read, the server prepares the others.
            done = await asyncio.gather(*(self._one(BY_NAME[name]) for name in list(self._pending)))
            if not all(done):
                await asyncio.sleep(RELIST_RETRY)
                self._due.set()

    async def _one(self, kind: Kind) -> bool:
        self._pending.pop(kind.kind, None)
        try:
            await self.repair(kind)
        except (ApiUnavailable, ApiRejected) as trouble:
            if isinstance(trouble, ApiRejected) and not self.filled.is_set():
                raise
            logger.warning("listing %s comes back later: %s", kind.plural, trouble)
            self._pending.setdefault(kind.kind)
            return False
        return True

    async def repair(self, kind: Kind) -> None:
        """Once the store has been filled, what the LIST shows to be news or gone is followed up."""
        scopes: Sequence[str | None] = self._namespaces if self._namespaces and kind.namespaced else [None]
        async with self._locks[kind.kind]:
            for scope in scopes:
                self._store.begin_list(kind)
                items, version = await self._cluster.list(kind.api_version, kind.kind, scope, kind.selector)
                news, vanished = self._store.replace(kind, items, version, scope)
                if self.filled.is_set():
                    for manifest in (*news, *vanished):
                        self._told.changed(kind, manifest)
        self.missing.discard(kind.kind)
        if not self.missing:
            self.filled.set()


Middleware = Callable[[aiohttp.ClientRequest, aiohttp.ClientHandlerType], Awaitable[aiohttp.ClientResponse]]
OpenSession = Callable[[Middleware], Awaitable[tuple[str, aiohttp.ClientSession]]]
"""Address of the API server, and a session with it that sends each request through the middleware."""


class Watch:
    """Runs kopf over our kinds until stopped."""

    def __init__(
        self,
        *,
        told: Told,
        relisted: Callable[[Kind], None],
        asked: Callable[[Kind], None],
        open_session: OpenSession,
        counted: Callable[[str, str, str], None],
        namespaces: Sequence[str],
    ) -> None:
        """`relisted`: a watch of this kind starts afresh; `asked`: kopf has asked for a LIST or a watch."""
        self._told = told
        self._relisted = relisted
        self._asked = asked
        self._open_session = open_session
        self._counted = counted
        self._namespaces = namespaces
        self._stop = asyncio.Event()
        self._plurals = {kind.plural: kind for kind in WATCHED}

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        await kopf.operator(
            registry=self._registry(),
            settings=watch_settings(),
            standalone=True,
            identity=cast(Any, "seawall"),  # else kopf asks for the name of a user who may have none
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=self._stop,
        )

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.AiohttpSession:
            server, session = await self._open_session(self._through)
            return kopf.AiohttpSession(server=server, aiohttp_session=session)

        for kind in WATCHED:
            self._listen(registry, kind)
        return registry

    def _listen(self, registry: kopf.OperatorRegistry, kind: Kind) -> None:
        group, version = kind.group_version

        @kopf.on.event(group, version, kind.plural, registry=registry, id=f"told-{kind.plural}")
        async def told(event: Any, **_: Any) -> None:
            self._told.event(kind, event["type"], event["object"])

    async def _through(
        self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Every request that kopf makes."""
        kind = self._plurals.get(request.url.path.rpartition("/")[2])
        if kind is None or request.method != "GET":
            return await send(request)
        self._asked(kind)
        if "watch" in request.url.query:
            response = await send(request)
            self._counted("watch", kind.plural, str(response.status))
            return response
        request.url = request.url.update_query(fieldSelector=NOTHING)
        response = await send(request)
        self._counted("list", kind.plural, str(response.status))
        if response.status == 200:
            self._relisted(kind)  # ours comes later than this one's version, at which the watch starts
        return response


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
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.networking.enforce_retry_after = True
    settings.networking.error_backoffs = ERROR_BACKOFFS
    settings.queueing.idle_timeout = 0.5  # a task and the last event of each object stay for that long
    settings.queueing.exit_timeout = 0.5
    settings.process.ultimate_exiting_timeout = None  # it would kill the run in hand; we have our own
    for kind in (each for each in WATCHED if each.selector):
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

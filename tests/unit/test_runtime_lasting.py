"""Work beside reconciling goes on after a surprise, and the metrics API is answered from the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Literal

import pytest

from seawall.decide.types import Manifest
from seawall.runtime import lasting as module
from seawall.runtime.kinds import SERVICE
from seawall.runtime.lasting import answering, lasting
from seawall.runtime.store import Store
from support.scene import digits


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESTART_SECONDS", 0.0)


async def test_work_that_ends_in_a_surprise_begins_again(caplog: pytest.LogCaptureFixture) -> None:
    begun = asyncio.Semaphore(0)

    async def work() -> None:
        begun.release()
        raise ZeroDivisionError("a surprise")

    running = asyncio.create_task(lasting("scaler", work))
    async with asyncio.timeout(10):
        for _ in range(3):
            await begun.acquire()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert "the scaler ended in a surprise" in caplog.text


class Face:
    """Asks at once whatever it is given."""

    def __init__(self) -> None:
        self.looked = asyncio.Event()
        self.state: tuple[Literal["Ours", "Others", "Absent"], str] = ("Absent", "")
        self.found: list[Any] = []

    async def run(
        self,
        lookup: Callable[[str, str], Manifest | None],
        leads: Callable[[], bool],
        listing: Callable[[str], Iterable[Manifest]] | None = None,
    ) -> None:
        assert listing is not None
        names = [service["metadata"]["name"] for service in listing("ns")]
        known, unknown = lookup("ns", "digits"), lookup("ns", "other")
        assert known is not None
        self.found = [names, known["metadata"]["name"], unknown, leads()]
        self.looked.set()
        await asyncio.Event().wait()


async def test_every_replica_answers_from_what_its_watch_has_told() -> None:
    store, face = Store(), Face()
    manifest = digits()
    manifest["metadata"]["resourceVersion"] = "5"
    store.put(SERVICE, manifest)
    running = asyncio.create_task(answering(face, store, lambda: False))
    await asyncio.wait_for(face.looked.wait(), 10)
    running.cancel()
    assert face.found == [["digits"], "digits", None, False]

"""The queue with its workers, on a real event loop; order is checked, never speed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import hypothesis.strategies as st
from hypothesis import given, settings

from seawall.runtime.queue import RetryLater, WorkQueue


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - the queue offers no event, and none is needed outside tests
        await asyncio.sleep(0)


async def settled(queue: WorkQueue[str]) -> None:
    await until(lambda: not len(queue.keys) and not queue.keys.running)


async def test_a_key_added_many_times_before_its_run_runs_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    ran: list[str] = []

    async def handler(key: str) -> None:
        ran.append(key)

    for _ in range(5):
        queue.add("a")
    queue.start(2, handler)
    await settled(queue)
    assert ran == ["a"]
    assert await queue.drain(1)


async def test_a_key_added_during_its_run_runs_once_more_and_never_beside_itself() -> None:
    queue: WorkQueue[str] = WorkQueue()
    inside, ran, gate = 0, 0, asyncio.Event()

    async def handler(_: str) -> None:
        nonlocal inside, ran
        inside += 1
        assert inside == 1
        ran += 1
        await gate.wait()
        inside -= 1

    queue.start(4, handler)
    queue.add("a")
    await until(lambda: ran)
    for _ in range(3):
        queue.add("a")
        await asyncio.sleep(0)
    gate.set()
    await settled(queue)
    assert ran == 2
    assert await queue.drain(1)


async def test_an_edit_goes_before_a_backlog_of_a_thousand() -> None:
    queue: WorkQueue[str] = WorkQueue()
    ran: list[str] = []

    async def handler(key: str) -> None:
        ran.append(key)
        if len(ran) == 10:
            queue.add("edited")

    for number in range(1000):
        queue.add(f"s{number}", live=False)
    queue.start(1, handler)
    await settled(queue)
    assert ran[10] == "edited"
    assert len(ran) == 1001
    assert await queue.drain(1)


async def test_a_key_of_the_backlog_that_is_edited_moves_forward_and_runs_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    ran: list[str] = []

    async def handler(key: str) -> None:
        ran.append(key)

    for name in ("a", "b", "c"):
        queue.add(name, live=False)
    queue.add("c")
    queue.start(1, handler)
    await settled(queue)
    assert ran == ["c", "a", "b"]
    assert await queue.drain(1)


async def test_draining_finishes_the_runs_in_hand_and_starts_no_other() -> None:
    queue: WorkQueue[str] = WorkQueue()
    started, finished, gate = [], [], asyncio.Event()

    async def handler(key: str) -> None:
        started.append(key)
        await gate.wait()
        finished.append(key)

    for name in ("a", "b", "c"):
        queue.add(name)
    queue.start(2, handler)
    await until(lambda: len(started) == 2)
    draining = asyncio.create_task(queue.drain(60))
    await asyncio.sleep(0)
    gate.set()
    assert await draining
    assert started == finished == ["a", "b"]


async def test_a_run_that_does_not_end_is_cut_off_after_the_grace() -> None:
    queue: WorkQueue[str] = WorkQueue()

    async def handler(_: str) -> None:
        await asyncio.Event().wait()

    queue.add("a")
    queue.start(1, handler)
    await until(lambda: queue.keys.running)
    assert not await queue.drain(0.01)


async def test_an_unknown_error_stops_no_worker_and_the_key_comes_back() -> None:
    queue: WorkQueue[str] = WorkQueue(spread=lambda: 0.0)
    ran: Counter[str] = Counter()

    async def handler(key: str) -> None:
        ran[key] += 1
        if key == "bad":
            raise ValueError("a surprise")

    queue.start(1, handler)
    queue.add("bad")
    queue.add("good")
    await settled(queue)
    assert ran == {"bad": 1, "good": 1}
    assert queue.keys.sleeping == 1, "the failed key waits for its retry"
    assert await queue.drain(1)


async def test_a_server_that_asks_for_patience_gets_it() -> None:
    now = 100.0
    queue: WorkQueue[str] = WorkQueue(clock=lambda: now, spread=lambda: 0.0)

    async def handler(_: str) -> None:
        raise RetryLater("busy", at_least=30.0)

    queue.start(1, handler)
    queue.add("a")
    await settled(queue)
    assert queue.keys.wake(129.9) == 130.0
    assert await queue.drain(1)


@settings(max_examples=60, deadline=None)
@given(
    plan=st.lists(
        st.tuples(st.sampled_from("abcd"), st.booleans(), st.integers(0, 3)), min_size=1, max_size=40
    )
)
def test_under_any_load_no_key_overlaps_itself_and_each_add_is_followed_by_a_run(
    plan: list[tuple[str, bool, int]],
) -> None:
    async def scene() -> None:
        queue: WorkQueue[str] = WorkQueue()
        inside: Counter[str] = Counter()
        started: dict[str, int] = {}
        asked: dict[str, int] = {}
        step = 0

        async def handler(key: str) -> None:
            nonlocal step
            step += 1
            started[key] = step
            inside[key] += 1
            assert inside[key] == 1
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            inside[key] -= 1

        queue.start(3, handler)
        for key, live, pauses in plan:
            step += 1
            asked[key] = step
            queue.add(key, live=live)
            for _ in range(pauses):
                await asyncio.sleep(0)
        await settled(queue)
        assert all(started[key] > asked[key] for key in asked)
        assert await queue.drain(1)

    asyncio.run(scene())

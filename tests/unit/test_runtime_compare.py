"""Comparisons beside the queue: asked once, given up when nobody wants them, kept as long as they hold."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import Any

import pytest

from seawall.decide.rollout_state import Answers
from seawall.decide.types import ComparisonRequest, Key
from seawall.ports import ApiRejected, ApiUnavailable, NoAnswer
from seawall.runtime.compare import ATTEMPTS, UNKNOWN_SECONDS, Comparer
from support.fakecluster import FakeCluster
from support.golden import config_map

KEY = Key("ns", "digits")
REQUEST = ComparisonRequest(
    "3-abc", 0, "digits", "old", "new", ("10.0.0.1:8001",), ("10.0.0.2:8001",), "golden", None, None, 0.01, 0.01, 0.05
)  # fmt: skip


class Servers:
    """Compares as told; silent so many times first."""

    def __init__(self) -> None:
        self.says: Any = "Pass"
        self.silent = 0
        self.error: Exception | None = None
        self.asked: list[tuple[ComparisonRequest, bytes]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.reached = asyncio.Event()
        self.given_up = 0

    async def compare(self, request: ComparisonRequest, golden: bytes) -> Answers:
        self.asked.append((request, golden))
        self.reached.set()
        if len(self.asked) <= self.silent:
            raise NoAnswer("10.0.0.2:8001: Connection refused")
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        if self.error is not None:
            raise self.error
        return Answers(request.candidate, self.says, hashlib.sha256(golden).hexdigest()[:8])


class Stand:
    def __init__(self) -> None:
        self.now = 0.0
        self.woken: list[Key] = []
        self.waked = asyncio.Event()
        self.cluster = FakeCluster()
        self.servers = Servers()
        self.comparer = Comparer(
            self.cluster, self.servers, self.wake, lambda: self.now, patience=0.05, pause=0.01
        )
        self.golden(b"inputs")

    def wake(self, key: Key) -> None:
        self.woken.append(key)
        self.waked.set()

    def golden(self, content: bytes) -> None:
        self.cluster.add(config_map({"digits.npz": content}))

    async def ask(self, uid: str = "uid", **changes: Any) -> Answers | None:
        return await self.comparer.ask(KEY, uid, replace(REQUEST, **changes))

    async def woke(self) -> None:
        async with asyncio.timeout(5):
            await self.waked.wait()
        assert self.woken.pop() == KEY


@pytest.fixture
async def stand() -> Stand:
    return Stand()


async def test_a_quick_answer_comes_at_once_and_is_kept(stand: Stand) -> None:
    first = await stand.ask()
    assert first is not None
    assert (first.revision, first.verdict) == ("new", "Pass")
    stand.now += 1e6
    assert await stand.ask(candidate_addresses=("10.0.0.9:8001",)) == first
    assert [golden for _, golden in stand.servers.asked] == [b"inputs"]
    assert stand.woken == []


async def test_a_late_answer_wakes_the_service(stand: Stand) -> None:
    stand.servers.gate.clear()
    assert await stand.ask() is None
    assert await stand.ask() is None
    stand.servers.gate.set()
    await stand.woke()
    found = await stand.ask()
    assert found is not None
    assert found.verdict == "Pass"
    assert len(stand.servers.asked) == 1


async def test_nothing_concluded_is_asked_again_after_a_while(stand: Stand) -> None:
    stand.servers.says = "Unknown"
    await stand.ask()
    await stand.ask()
    assert len(stand.servers.asked) == 1
    stand.now += UNKNOWN_SECONDS
    await stand.ask()
    assert len(stand.servers.asked) == 2


CHANGES: dict[str, dict[str, Any]] = {
    "another rollout": {"rollout": "4-abc"},
    "another step": {"step": 2},
    "another candidate": {"candidate": "newer"},
    "another limit": {"max_disagreement": 0.05},
    "another metric": {"metric": "top1"},
    "another incarnation of the service": {"uid": "uid-2"},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES.keys())
async def test_another_question_is_asked_anew_and_the_old_one_given_up(
    stand: Stand, changes: dict[str, Any]
) -> None:
    stand.servers.gate.clear()
    assert await stand.ask() is None
    assert await stand.ask(**changes) is None
    await asyncio.sleep(0)
    assert (len(stand.servers.asked), stand.servers.given_up, stand.woken) == (2, 1, [])
    stand.servers.gate.set()
    await stand.woke()
    assert await stand.ask(**changes) is not None
    assert len(stand.servers.asked) == 2


async def test_another_golden_set_is_another_question(stand: Stand) -> None:
    first = await stand.ask()
    stand.golden(b"other inputs")
    second = await stand.ask()
    assert first is not None
    assert second is not None
    assert first.message != second.message


async def test_a_silent_server_is_asked_a_few_times_before_anybody_is_told(stand: Stand) -> None:
    stand.servers.silent = ATTEMPTS - 1
    found = await stand.ask()
    assert found is not None
    assert found.verdict == "Pass"
    stand.servers.asked.clear()
    stand.servers.silent = 100
    found = await stand.ask(step=1)
    assert found == Answers("new", "Unknown", "asked 3 times: 10.0.0.2:8001: Connection refused")
    assert len(stand.servers.asked) == ATTEMPTS


async def test_the_newest_addresses_are_asked() -> None:
    stand = Stand()
    slow = Comparer(stand.cluster, stand.servers, stand.wake, lambda: 0.0, patience=0.0, pause=0.05)
    stand.servers.silent = 1
    assert await slow.ask(KEY, "uid", REQUEST) is None
    assert await slow.ask(KEY, "uid", replace(REQUEST, stable_addresses=("10.0.0.7:8001",))) is None
    await stand.woke()
    assert stand.servers.asked[-1][0].stable_addresses == ("10.0.0.7:8001",)
    assert len(stand.servers.asked) == 2


@pytest.mark.parametrize("how", ["cancel", "forget"])
async def test_what_nobody_wants_any_more_is_given_up(stand: Stand, how: str) -> None:
    stand.servers.gate.clear()
    assert await stand.ask() is None
    getattr(stand.comparer, how)(KEY)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert stand.servers.given_up == 1
    assert stand.woken == []
    stand.servers.gate.set()
    assert await stand.ask() is not None
    assert len(stand.servers.asked) == 2


async def test_to_give_up_forgets_no_result_and_to_forget_does(stand: Stand) -> None:
    await stand.ask()
    stand.comparer.cancel(KEY)
    await stand.ask()
    assert len(stand.servers.asked) == 1
    stand.comparer.forget(KEY)
    await stand.ask()
    assert len(stand.servers.asked) == 2


async def test_a_look_that_is_cancelled_leaves_nothing_behind(stand: Stand) -> None:
    stand.servers.gate.clear()
    look = asyncio.create_task(stand.ask())
    await stand.servers.reached.wait()
    look.cancel()
    with pytest.raises(asyncio.CancelledError):
        await look
    await asyncio.sleep(0)
    assert stand.servers.given_up == 1


async def test_a_fault_of_ours_is_told_in_the_log_and_tried_again(stand: Stand, caplog: Any) -> None:
    stand.servers.error = ZeroDivisionError("never")
    assert await stand.ask() is None
    assert "comparing for ns/digits failed" in caplog.text
    stand.servers.error = None
    assert await stand.ask() is not None


WRONG: dict[str, tuple[dict[str, Any] | None, str]] = {
    "absent": (None, "ConfigMap golden with the golden set does not exist"),
    "empty": (
        config_map({}),
        "must hold the golden set as its only key in binaryData that ends in .npz; it holds nothing",
    ),
    "two": (config_map({"a.npz": b"1", "b.npz": b"2"}), "it holds a.npz, b.npz"),
    "as text": (config_map({}, data={"a.npz": "text"}), "it holds a.npz"),
    "of another kind": (config_map({"a.npy": b"1"}), "it holds a.npy"),
    "no base64": (config_map({}) | {"binaryData": {"a.npz": "%%%"}}, "ConfigMap golden: a.npz is no base64"),
}


@pytest.mark.parametrize(("found", "words"), WRONG.values(), ids=WRONG.keys())
async def test_a_config_map_without_a_golden_set(
    stand: Stand, found: dict[str, Any] | None, words: str
) -> None:
    stand.cluster.objects.clear()
    if found is not None:
        stand.cluster.add(found)
    answers = await stand.ask()
    assert answers is not None
    assert (answers.verdict, answers.revision) == ("Unknown", "new")
    assert words in answers.message
    assert stand.servers.asked == []


async def test_other_keys_beside_it_do_no_harm(stand: Stand) -> None:
    stand.cluster.add(config_map({"digits.npz": b"inputs", "notes.bin": b"\xff"}, data={"README": "about"}))
    found = await stand.ask()
    assert found is not None
    assert found.verdict == "Pass"


async def test_a_config_map_that_may_not_be_read(stand: Stand) -> None:
    stand.cluster.fail("get", ApiRejected("configmaps is forbidden"), kind="ConfigMap")
    found = await stand.ask()
    assert found is not None
    assert (found.verdict, "cannot be read: configmaps is forbidden" in found.message) == ("Unknown", True)
    stand.cluster.fail("get", ApiUnavailable("busy"), kind="ConfigMap")
    with pytest.raises(ApiUnavailable):
        await stand.ask()

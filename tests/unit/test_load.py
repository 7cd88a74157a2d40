"""The load client must notice every way in which an answer can be missing or wrong: figures rest on it."""

import asyncio
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PATH = Path(__file__).parents[2] / "examples" / "load.py"
spec = importlib.util.spec_from_file_location("load", PATH)
assert spec
assert spec.loader
load = importlib.util.module_from_spec(spec)
sys.modules.setdefault("load", load)
spec.loader.exec_module(load)

INPUTS = {"x": np.arange(6, dtype=np.float32).reshape(3, 2)}
DOUBLED, NEGATED = INPUTS["x"] * 2, -INPUTS["x"]
EXPECTED = {"doubled": DOUBLED, "negated": NEGATED}
TARGET = load.Target("m", "nowhere:1", "http")
Answer = Callable[[np.ndarray], np.ndarray]


class Refused(Exception):
    def status(self) -> str:
        return "503"


def raising(error: Exception) -> Answer:
    def answer(_: np.ndarray) -> np.ndarray:
        raise error

    return answer


class FakeClient:
    def __init__(self, answer: Answer) -> None:
        self.answer, self.closed = answer, False

    async def infer(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        await asyncio.sleep(0)
        assert not self.closed
        return self.answer(batch["x"])

    async def close(self) -> None:
        self.closed = True


async def run(made: Any, requests: int) -> None:
    async with asyncio.timeout(10), load.running(made):
        while made.tally.requests < requests:  # noqa: ASYNC110 - the load has nobody to tell
            await asyncio.sleep(0)


async def tally_of(answer: Answer, requests: int = 20, **options: Any) -> Any:
    clients: list[FakeClient] = []

    def connect(_: Any) -> FakeClient:
        clients.append(FakeClient(answer))
        return clients[-1]

    made = load.Load(TARGET, INPUTS, EXPECTED, workers=2, connect=connect, **options)

    await run(made, requests)
    assert all(client.closed for client in clients)
    return made.tally


CASES: dict[str, tuple[Answer, str | None, str | None]] = {
    "right": (lambda x: x * 2, None, "doubled"),
    "right by the other version": (lambda x: -x + 0.0, None, None),
    "one value off": (lambda x: x * 2 + [0, 0.1], "wrong answer", None),
    "not a number": (lambda x: x * np.nan, "wrong answer", None),
    "another shape": (lambda x: (x * 2)[:, :1], "wrong answer", None),
    "no data": (lambda x: x[:0], "wrong answer", None),
    "a refusal": (raising(Refused("busy")), "refused 503", None),
    "a broken connection": (raising(ConnectionResetError("gone")), "ConnectionResetError", None),
    "no answer in time": (raising(TimeoutError()), "timeout", None),
}


@pytest.mark.parametrize("case", CASES)
async def test_every_answer_is_judged(case: str) -> None:
    answer, kind, source = CASES[case]
    tally = await tally_of(answer)
    report = tally.report()
    assert report["requests"] >= 20
    assert report["failures"] == ({kind: report["requests"]} if kind else {})
    assert report["failed"] + sum(report["answeredBy"].values()) == report["requests"]
    if source:
        assert source in report["answeredBy"]


async def test_a_compressed_model_may_be_a_little_off_where_that_is_said() -> None:
    off = (await tally_of(lambda x: x * 2 + [0, 0.1])).report()
    near = (await tally_of(lambda x: x * 2 + [0, 0.1], near=0.98)).report()
    far = (await tally_of(lambda x: x[:, ::-1] * [3, -3], near=0.98)).report()
    assert off["failures"] == {"wrong answer": off["requests"]}
    assert near["answeredBy"] == {"doubled compressed": near["requests"]}
    assert far["failures"] == {"wrong answer": far["requests"]}


async def test_connections_are_left_before_they_grow_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "CONNECTION_SECONDS", 0.0)
    opened = 0

    def connect(_: Any) -> FakeClient:
        nonlocal opened
        opened += 1
        return FakeClient(lambda x: x * 2)

    made = load.Load(TARGET, INPUTS, EXPECTED, workers=1, connect=connect)
    await run(made, 10)
    assert opened >= 10
    assert made.tally.failed == 0

"""Puts recorded inputs to two revisions, over Triton's gRPC protocol, and counts where their answers differ.

The stable revision is asked everything twice, to know its own noise; the second time with the rows of each
batch in reverse, because a response cache knows a batch by its content and would repeat the first answer.
A server that does not answer says nothing about its model: only answers, and refusals said twice, count.
numpy and grpc are imported here, so this module is imported on the first question only.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

import numpy as np

from seawall.adapters.recorded import GOLDEN, Arm, Unusable
from seawall.adapters.synthetic import Arrays, Refused, WrongAnswer
from seawall.canary import alike
from seawall.canary.agreement import Accuracy, Counts, Demands, Verdict, judge
from seawall.canary.samples import Unfit, read
from seawall.decide.rollout_state import Answers
from seawall.decide.types import ComparisonRequest
from seawall.ports import NoAnswer

SECONDS = 120.0
AT_ONCE = 2
"""batches"""
MOST_SAMPLES = 10_000
MOST_BYTES = 32 * 2**20
"""unpacked; a ConfigMap holds a thirtieth of that"""


async def compare(request: ComparisonRequest, golden: bytes, seconds: float = SECONDS) -> Answers:
    work = _Comparison(request)
    try:
        async with asyncio.timeout(seconds):
            verdict, message = await work.run(golden)
    except (Unusable, Unfit) as problem:
        verdict, message = "Unknown", str(problem)
    except TimeoutError:
        if not work.done:
            raise NoAnswer(f"no answer within {seconds:g} s") from None
        told = f"{work.done} of {work.samples} inputs were compared within {seconds:g} s"
        verdict, message = "Unknown", f"{told}, and a verdict needs all; name a smaller size"
    return Answers(request.candidate, verdict, message)


class _Comparison:
    def __init__(self, request: ComparisonRequest) -> None:
        self._request = request
        self._metric: str | None = request.metric
        self._labels: Any = None
        self._remark = ""
        self._refused = 0
        self.samples = 0
        self.done = 0

    async def run(self, golden: bytes) -> tuple[Verdict, str]:
        request = self._request
        arrays = await asyncio.to_thread(read, io.BytesIO(golden), GOLDEN, MOST_BYTES)
        async with AsyncExitStack() as stack:
            self._stable = Arm("the stable revision", request.model, request.stable_addresses, stack)
            self._candidate = Arm("the candidate", request.model, request.candidate_addresses, stack)
            await _together(self._stable.describe(), self._candidate.describe())
            size = min(request.size or MOST_SAMPLES, MOST_SAMPLES)
            self._labels = await asyncio.to_thread(self._stable.fit, arrays, size)
            await asyncio.to_thread(self._candidate.fit, arrays, size)
            await self._ask_all()
        demands = Demands(request.max_disagreement, request.alpha, request.beta)
        verdict, told = judge(self._counts(), demands)
        if self._refused:
            told += f"; {self._refused} of them got no answer: {self._remark}"
        return verdict, f"{self._metric}: {told}"

    async def _ask_all(self) -> None:
        stable, candidate = self._stable, self._candidate
        self.samples = stable.samples
        self._names = [tensor.name for tensor in stable.model.outputs]
        self._same, self._repeated, self._right, self._still_right = np.zeros((4, self.samples), dtype=bool)
        rows = min(stable.rows, candidate.rows)
        await self._batch(0, min(rows, self.samples))  # settles the metric
        starts = iter(range(rows, self.samples, rows))

        async def worker() -> None:
            for start in starts:
                await self._batch(start, min(start + rows, self.samples))

        await _together(*(worker() for _ in range(AT_ONCE)))

    async def _batch(self, first: int, last: int) -> None:
        try:
            wanted, again, found = await _together(
                self._stable.answer(first, last),
                self._stable.answer(first, last, reverse=True),
                self._found(first, last),
            )
        except Refused as refused:
            raise Unusable(f"the stable revision refuses these inputs: {refused}") from refused
        except WrongAnswer as wrong:
            raise Unusable(f"the stable revision answers wrong: {wrong}") from wrong
        expected, repeated = [wanted[n] for n in self._names], [again[n] for n in self._names]
        for name, array in wanted.items():
            if array.dtype.kind == "f" and np.isnan(array).any():
                raise Unusable(f"the stable revision itself answers NaN in output {name} on these inputs")
        metric = self._metric or alike.usual(expected[0], labelled=self._labels is not None)
        self._metric = metric
        self._repeated[first:last] = alike.same(metric, expected, repeated)
        if self._labels is not None:
            self._right[first:last] = self._known(expected[0], first, last)
        for start, end, answers in found:
            if answers is None:
                continue
            part = [array[start - first : end - first] for array in expected]
            self._same[start:end] = alike.same(metric, part, answers)
            if self._labels is not None and answers[0].shape == part[0].shape:
                self._still_right[start:end] = self._known(answers[0], start, end)
        self.done += last - first

    def _known(self, output: Any, first: int, last: int) -> Any:
        """Whether the decisions are what the labels say."""
        decided = alike.decisions(output).reshape(last - first, -1)
        if decided.shape[1] != 1:
            raise Unusable(
                f"labels need a model with one decision per sample; output {self._names[0]} has"
                f" {decided.shape[1]}"
            )
        return np.asarray(decided[:, 0] == self._labels[first:last], dtype=bool)

    async def _found(self, first: int, last: int) -> list[tuple[int, int, list[Any] | None]]:
        """The candidate's answers; a batch that it refuses is cut down to the inputs that are at fault."""
        for _ in range(2):
            try:
                answers = await self._candidate.answer(first, last)
                return [(first, last, [_named(answers, name) for name in self._names])]
            except Refused as refused:
                words = str(refused)
                if last - first > 1:
                    middle = (first + last) // 2
                    return [*await self._found(first, middle), *await self._found(middle, last)]
            except WrongAnswer as wrong:
                words = str(wrong)
        self._refused += last - first
        self._remark = self._remark or " ".join(words.split())[:200]
        return [(first, last, None)]

    def _counts(self) -> Counts:
        differ, noise = ~self._same, ~self._repeated
        before, after = self._right, self._still_right
        accuracy = None
        if self._labels is not None:
            accuracy = Accuracy(
                stable=int(before.sum()),
                candidate=int(after.sum()),
                lost=int((before & ~after).sum()),
                won=int((~before & after).sum()),
            )
        return Counts(
            samples=self.samples,
            differ=int(differ.sum()),
            noise=int(noise.sum()),
            only_candidate=int((differ & ~noise).sum()),
            only_stable=int((noise & ~differ).sum()),
            repeats=self._stable.model.deterministic,
            accuracy=accuracy,
        )


def _named(answers: Arrays, name: str) -> Any:
    if name not in answers:
        raise WrongAnswer(f"it has no output {name}")
    return answers[name]


async def _together(*all_of: Coroutine[Any, Any, Any]) -> tuple[Any, ...]:
    """Their results; with the first failure the others end."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in all_of]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return tuple(task.result() for task in tasks)

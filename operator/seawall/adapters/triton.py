"""Asks model servers one synthetic inference each, or all of a golden set, the way a client asks them.

Readiness is not enough to move traffic: a server can be ready and answer nonsense. The rollout waits for the
verdict given here. tritonclient and numpy cost some 20 MB and are imported with the first question.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import aiohttp

from seawall.adapters.counts import counted
from seawall.canary.shadow import Tally
from seawall.decide.rollout_state import Answers
from seawall.decide.types import ComparisonRequest, TallyRequest, Verdict, Verification, VerificationRequest

if TYPE_CHECKING:
    from seawall.adapters.synthetic import Arrays, Model

TOTAL_SECONDS = 10.0
AT_ONCE = 4
MESSAGE_LIMIT = 512
BUSY = frozenset({"408", "429", "502", "503", "504"})
"""Answers about the server's state rather than about the model."""


@dataclass(frozen=True, slots=True)
class _Finding:
    verdict: Verdict
    message: str = ""


class TritonInference:
    """The Inference port over Triton's protocols."""

    def __init__(self, total_seconds: float = TOTAL_SECONDS) -> None:
        self._total_seconds = total_seconds

    async def verify(self, request: VerificationRequest) -> Verification:
        if not request.addresses:
            return Verification(request.revision, Verdict.UNREACHABLE, "no pod has an address yet")
        limit = asyncio.Semaphore(AT_ONCE)
        deadline = asyncio.get_running_loop().time() + self._total_seconds

        async def one(address: str) -> _Finding:
            try:
                async with asyncio.timeout_at(deadline), limit:
                    return await _ask(address, request.model)
            except TimeoutError:
                return _Finding(Verdict.UNREACHABLE, f"no answer within {self._total_seconds:g} s")

        findings = await asyncio.gather(*(one(address) for address in request.addresses))
        return _worst(request, findings)

    async def compare(self, request: ComparisonRequest, golden: bytes) -> Answers:
        from seawall.adapters.comparison import compare  # noqa: PLC0415  (grpc, first use only)

        answers = await compare(request, golden)
        return replace(answers, message=_line(answers.message))

    async def tally(self, request: TallyRequest) -> Tally:
        return await counted(request)


def _worst(request: VerificationRequest, findings: list[_Finding]) -> Verification:
    """One wrong answer condemns the revision; one silent pod leaves the question open."""
    for verdict in (Verdict.WRONG, Verdict.UNREACHABLE):
        for address, finding in zip(request.addresses, findings, strict=True):
            if finding.verdict is verdict:
                return Verification(request.revision, verdict, _line(f"{address}: {finding.message}"))
    remarks = dict.fromkeys(f.message for f in findings if f.message)
    return Verification(request.revision, Verdict.PASSED, _line("; ".join(remarks)))


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MESSAGE_LIMIT else line[: MESSAGE_LIMIT - 1] + "…"


async def _ask(address: str, name: str) -> _Finding:
    from tritonclient.http.aio import InferenceServerClient  # noqa: PLC0415  (20 MB, first use only)
    from tritonclient.utils import InferenceServerException  # noqa: PLC0415

    from seawall.adapters.synthetic import WrongAnswer  # noqa: PLC0415

    try:
        async with InferenceServerClient(address, conn_timeout=TOTAL_SECONDS) as client:
            return await _converse(client, name)
    except WrongAnswer as wrong:
        return _Finding(Verdict.WRONG, str(wrong))
    except InferenceServerException as error:
        # Only the description of the model is asked outside _infer: a server that cannot give it is not
        # ours any more (a reused address), or not up yet.
        return _Finding(Verdict.UNREACHABLE, error.message())
    except aiohttp.ClientConnectorError as error:
        code = error.os_error.errno
        return _Finding(Verdict.UNREACHABLE, os.strerror(code) if code else str(error.os_error))
    except (aiohttp.ClientError, OSError) as error:
        return _Finding(Verdict.UNREACHABLE, str(error) or type(error).__name__)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        detail = f"{type(error).__name__}: {error}"
        return _Finding(Verdict.WRONG, f"the answer does not follow the inference protocol ({detail})")


async def _converse(client: Any, name: str) -> _Finding:
    from seawall.adapters import synthetic  # noqa: PLC0415

    config = await client.get_model_config(name)
    model = synthetic.read_model(config, await client.get_model_metadata(name))
    if model.decoupled:
        return _Finding(
            Verdict.PASSED, "not asked: a decoupled model answers on streams only; readiness has to do"
        )
    row, first = await _first_answer(client, model)
    second = await _infer(client, model, row, 1)
    repeat_remark = synthetic.compare_repeats(model, first, second)
    if not synthetic.worth_batching(model, row):
        return _Finding(Verdict.PASSED, repeat_remark or "")
    batch = await _infer(client, model, synthetic.twice(row), 2)
    batch_remark = synthetic.compare_batch(model, first, batch, repeatable=repeat_remark is None)
    return _Finding(Verdict.PASSED, repeat_remark or batch_remark or "")


async def _first_answer(client: Any, model: Model) -> tuple[Arrays, Arrays]:
    """The row that got an answer, and the answer. Open dimensions are guesses: one size has to work."""
    from seawall.adapters.synthetic import FREE_SIZES, Refused, row  # noqa: PLC0415

    refusals: list[Refused] = []
    for size in FREE_SIZES if model.free_dims else FREE_SIZES[:1]:
        arrays = row(model, size)
        try:
            return arrays, await _infer(client, model, arrays, 1)
        except Refused as refused:
            refusals.append(refused)
    raise refusals[0]


async def _infer(client: Any, model: Model, arrays: Arrays, rows: int) -> Arrays:
    from tritonclient.utils import InferenceServerException  # noqa: PLC0415

    from seawall.adapters.synthetic import Refused, decode, encode  # noqa: PLC0415

    sequence = {"sequence_id": 1, "sequence_start": True, "sequence_end": True} if model.sequence else {}
    try:
        result = await client.infer(model.name, encode(model, arrays), **sequence)
    except InferenceServerException as error:
        if error.status() in BUSY:
            raise
        raise Refused(error.message()) from error
    return decode(model, result, rows)

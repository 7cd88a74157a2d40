"""One live request, put to two revisions over HTTP as its client put it, and their answers compared.

A server that does not answer says nothing about its model; what a model refuses is told apart by the status.
Every question has a connection of its own, so that the Service spreads them over its pods. numpy and
tritonclient are imported here, so this module is imported by the comparator alone.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import numpy as np
from tritonclient.http import InferResult
from tritonclient.utils import InferenceServerException

from seawall.adapters.synthetic import DETERMINISTIC, Arrays, Refused, WrongAnswer
from seawall.adapters.triton import BUSY
from seawall.canary import alike
from seawall.ports import NoAnswer

SECONDS = 10.0
MOST_ANSWER_BYTES = 16 * 2**20
MOST_CONFIG_BYTES = 2**20
CHUNK = 2**16
HEADER_LENGTH = "Inference-Header-Content-Length"
INCOMPARABLE = (b'"classification"', b'"shared_memory_region"', b'"sequence_id"')
"""Parameters of requests whose answers are scores in words, lie in somebody's memory, or belong together."""
BROKEN = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError, MemoryError,
    struct.error, InferenceServerException,
)  # fmt: skip


class Stateful(Exception):
    """The model's answers cannot be compared one by one; the message says why."""


@dataclass(frozen=True, slots=True)
class Question:
    path: str
    body: bytes
    header_length: str | None
    """of the JSON before the tensors; None: all of it"""

    @property
    def comparable(self) -> bool:
        length = self.header_length or ""
        header = self.body[: int(length)] if length.isdigit() else self.body
        return not any(word in header for word in INCOMPARABLE)


@dataclass(frozen=True, slots=True)
class Declared:
    """What is needed of a model's configuration."""

    batched: bool
    repeats: bool


class Revision:
    """One revision, by the address of its Service."""

    def __init__(self, what: str, url: str, model: str, seconds: float = SECONDS) -> None:
        self.what = what
        self._url = url
        self._model = model
        self._timeout = aiohttp.ClientTimeout(total=seconds)

    async def describe(self, session: aiohttp.ClientSession) -> Declared:
        """Raises NoAnswer, and Stateful for a model that keeps state between requests."""
        url = f"{self._url}/v2/models/{self._model}/config"
        status, body, _ = await self._say(session.get(url, **self._options()), MOST_CONFIG_BYTES)
        if status != 200:
            raise NoAnswer(f"{self.what} does not describe its model: HTTP {status}")
        try:
            return self._declared(json.loads(body))
        except BROKEN as error:
            raise NoAnswer(f"{self.what} does not follow the inference protocol: {error!r}") from error

    def _declared(self, config: Mapping[str, Any]) -> Declared:
        if "sequence_batching" in config:
            raise Stateful(
                f"{self.what} keeps state between requests (sequence_batching): a copy of a request would"
                " change what its client gets next"
            )
        if (config.get("model_transaction_policy") or {}).get("decoupled"):
            raise Stateful(f"{self.what} is a decoupled model, which answers on streams only")
        kinds = {config.get("backend"), config.get("platform")}
        return Declared(int(config.get("max_batch_size", 0)) > 0, bool(kinds & DETERMINISTIC))

    async def answer(self, session: aiohttp.ClientSession, question: Question) -> Arrays:
        """Outputs in the order of the answer. Raises Refused, WrongAnswer and NoAnswer."""
        headers = {"Content-Type": "application/json"}
        if question.header_length:
            headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: question.header_length}
        asked = session.post(self._url + question.path, data=question.body, **self._options(headers))
        status, body, told = await self._say(asked, MOST_ANSWER_BYTES)
        if str(status) in BUSY:
            raise NoAnswer(f"{self.what} answers HTTP {status}")
        if status != 200:
            raise Refused(f"{self.what} answers HTTP {status}: {_words(body)}")
        try:
            return decoded(body, told.get(HEADER_LENGTH))
        except BROKEN as error:
            message = f"{self.what}'s answer does not follow the inference protocol: {type(error).__name__}"
            raise WrongAnswer(message) from error

    def _options(self, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        plain = {"Accept-Encoding": "identity", **(headers or {})}
        return {"timeout": self._timeout, "allow_redirects": False, "headers": plain}

    async def _say(self, asked: Any, most: int) -> tuple[int, bytes, Mapping[str, str]]:
        parts, size = [], 0
        try:
            async with asked as response:
                async for chunk in response.content.iter_chunked(CHUNK):
                    size += len(chunk)
                    if size > most:
                        raise NoAnswer(f"{self.what} answers more than {most} bytes")
                    parts.append(chunk)
                return response.status, b"".join(parts), response.headers
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise NoAnswer(f"{self.what} does not answer: {str(error) or type(error).__name__}") from error


def decoded(body: bytes, header_length: str | None) -> Arrays:
    result = InferResult.from_response_body(body, header_length=header_length)
    found = {str(output["name"]): None for output in result.get_response()["outputs"]}
    arrays = {name: result.as_numpy(name) for name in found}
    if not arrays or any(array is None for array in arrays.values()):
        raise ValueError("an answer without outputs")
    return arrays


class Same:
    """Whether other answers are the stable revision's, in one row of its answer."""

    def __init__(self, wanted: Arrays, *, batched: bool, row: float) -> None:
        """`row`: where in the batch, from 0 to 1."""
        self._wanted = wanted
        first = next(iter(wanted.values()))
        size = first.shape[0] if batched and first.ndim > 1 else 0
        together = size > 0 and all(array.shape[:1] == (size,) for array in wanted.values())
        self._row = int(row * size) if together else None
        self.metric = alike.usual(first if together else first[np.newaxis], labelled=False)

    @property
    def usable(self) -> bool:
        """NaN is no answer to compare with, and neither is nothing."""
        rows = [self._one(array) for array in self._wanted.values()]
        return all(a.size > 0 and not (a.dtype.kind == "f" and bool(np.isnan(a).any())) for a in rows)

    def holds(self, found: Arrays) -> bool:
        if any(name not in found or found[name].shape != a.shape for name, a in self._wanted.items()):
            return False
        wanted = [self._one(array) for array in self._wanted.values()]
        others = [self._one(found[name]) for name in self._wanted]
        return bool(alike.same(self.metric, wanted, others)[0])

    def _one(self, array: Any) -> Any:
        return array[np.newaxis] if self._row is None else array[self._row : self._row + 1]


def _words(body: bytes) -> str:
    return " ".join(body[:200].decode(errors="replace").split())

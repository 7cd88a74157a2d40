"""The pods' own metrics, asked from the pods: for clusters without a Prometheus.

Pods belong to users' namespaces: answers are bounded in size and time, and believed only as numbers.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import aiohttp

from seawall.adapters.metrics_text import Unreadable, pod_sample, read_text
from seawall.desired.names import HTTP_PORT, METRICS_PORT
from seawall.measure.types import ArmSample, PodSample, Trouble
from seawall.ports import NoCount, Target
from seawall.sizing.calibration import BatchCount

AT_ONCE = 64
POD_SECONDS = 2.0
READ_SECONDS = 4.0
"""For all pods together: the next read is due after five."""
ANSWER_BYTES = 4 * 1024 * 1024


class NoAnswer(Exception):
    """The pod did not answer, or not with what was asked for; the message is for people."""


class PodMetrics:
    """Implements seawall.ports.Metrics. Addresses are tried as they stand, without any proxy."""

    def __init__(
        self,
        *,
        metrics_port: int = METRICS_PORT,
        http_port: int = HTTP_PORT,
        pod_seconds: float = POD_SECONDS,
        read_seconds: float = READ_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._metrics_port, self._http_port = metrics_port, http_port
        self._pod_seconds, self._read_seconds = pod_seconds, read_seconds
        self._clock = clock
        self._limit = asyncio.Semaphore(AT_ONCE)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def read(self, targets: Sequence[Target]) -> Sequence[ArmSample]:
        deadline = asyncio.get_running_loop().time() + self._read_seconds
        return await asyncio.gather(*(self._read_arm(target, deadline) for target in targets))

    async def batches(self, target: Target) -> Mapping[str, tuple[BatchCount, ...]]:
        deadline = asyncio.get_running_loop().time() + self._read_seconds
        path = f"/v2/models/{quote(target.model, safe='')}/stats"

        async def one(address: str) -> tuple[BatchCount, ...] | None:
            try:
                return read_batches(await self._get(address, self._http_port, path, deadline), target.model)
            except NoAnswer:
                return None

        told = await asyncio.gather(*(one(address) for address in target.pods.values()))
        return {pod: counts for pod, counts in zip(target.pods, told, strict=True) if counts is not None}

    async def count(self, query: str, at: float) -> float:
        raise NoCount("there is no Prometheus to ask: metrics.prometheusUrl of the chart is empty")

    async def _read_arm(self, target: Target, deadline: float) -> ArmSample:
        expected = frozenset(target.pods)
        if not expected:
            return ArmSample(self._clock(), trouble="NotStarted", message="No pod serves yet.")

        async def one(pod: str, address: str) -> PodSample | str:
            try:
                return await self._read_pod(target, pod, address, deadline)
            except NoAnswer as problem:
                return f"{pod}: {problem}"

        told = await asyncio.gather(*(one(pod, address) for pod, address in target.pods.items()))
        pods = tuple(sample for sample in told if isinstance(sample, PodSample))
        silent = [problem for problem in told if isinstance(problem, str)]
        message = f"{len(silent)} of {len(told)} pods did not answer: {silent[0]}." if silent else ""
        trouble: Trouble | None = None if pods else "MetricsUnavailable"
        return ArmSample(self._clock(), pods, expected, None, trouble, message)

    async def _read_pod(self, target: Target, pod: str, address: str, deadline: float) -> PodSample:
        before = self._clock()
        body = await self._get(address, self._metrics_port, "/metrics", deadline)
        # The counters were read somewhere between asking and hearing.
        at = (before + self._clock()) / 2
        started = target.started.get(pod)
        try:
            return pod_sample(pod, at, target.model, read_text(body.decode(errors="replace")), started)
        except Unreadable as problem:
            return PodSample(pod, at, started=started, problem=str(problem))

    async def _get(self, address: str, port: int, path: str, deadline: float) -> bytes:
        host = f"[{address}]" if ":" in address else address
        try:
            async with (
                asyncio.timeout_at(deadline),
                self._limit,
                asyncio.timeout(self._pod_seconds),
                self._client().get(f"http://{host}:{port}{path}", allow_redirects=False) as answer,
            ):
                if answer.status != 200:
                    raise NoAnswer(f"HTTP {answer.status}")
                return await _bounded(answer)
        except TimeoutError:
            raise NoAnswer(f"no answer within {self._pod_seconds:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NoAnswer(_words(error)) from None

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=AT_ONCE),
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def read_batches(raw: bytes, model: str) -> tuple[BatchCount, ...]:
    """Of all versions together. Raises NoAnswer for anything but Triton's statistics."""
    found: dict[int, tuple[int, int]] = {}
    try:
        for version in json.loads(raw)["model_stats"]:
            if version["name"] != model:
                continue
            for batch in version.get("batch_stats", ()):
                count, spent = found.get(batch["batch_size"], (0, 0))
                found[_whole(batch["batch_size"])] = (
                    count + _whole(batch["compute_infer"]["count"]),
                    spent
                    + sum(_whole(batch[f"compute_{part}"]["ns"]) for part in ("input", "infer", "output")),
                )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NoAnswer(f"statistics that cannot be read ({type(error).__name__})") from None
    return tuple(BatchCount(size, *found[size]) for size in sorted(found))


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(value)
    return value


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    parts, size = [], 0
    async for part in answer.content.iter_any():
        size += len(part)
        if size > ANSWER_BYTES:
            raise NoAnswer(f"an answer of more than {ANSWER_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


def _words(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error)
    return str(error) or type(error).__name__

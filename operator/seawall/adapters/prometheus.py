"""The data plane's counters as Prometheus has them: raw, with the times at which they were scraped.

Rates are made from these in measure/, by the same code as for a direct scrape. A few queries ask for all pods
at once. The client library blocks and is imported with the first question, in threads of its own; whatever
Prometheus does, a read ends in time.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from seawall.adapters import promql
from seawall.adapters.promql import Garbled, NotOne, Series
from seawall.adapters.scrape import PodMetrics
from seawall.measure.types import ArmSample, GatewaySample, PodSample, Trouble
from seawall.ports import NoCount, Target
from seawall.sizing.calibration import BatchCount

QUERY_SECONDS = 3.0
THREADS = 4
PODS_PER_QUERY = 100
"""The library puts the question into the address, and proxies refuse addresses beyond 8 KiB."""
ANSWER_BYTES = 64 * 1024 * 1024
COUNT_THREADS = 2
"""For queries that users write: they must not hold up what the scaling reads."""
COUNT_BYTES = 1024 * 1024
CHUNK = 64 * 1024
MESSAGE_LIMIT = 300


class Unanswered(Exception):
    """Prometheus did not answer; the message is for people."""


class PrometheusMetrics:
    """Implements seawall.ports.Metrics; batch statistics are no metrics and still come from the pods."""

    def __init__(
        self,
        url: str,
        *,
        query_seconds: float = QUERY_SECONDS,
        pods: PodMetrics | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = url.rstrip("/")
        self._seconds = query_seconds
        self._pods = pods or PodMetrics()
        self._clock = clock
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="prometheus")
        self._counting = ThreadPoolExecutor(COUNT_THREADS, thread_name_prefix="prometheus-counts")

    async def close(self) -> None:
        for threads in (self._threads, self._counting):
            threads.shutdown(wait=False, cancel_futures=True)
        await self._pods.close()

    async def batches(self, target: Target) -> Mapping[str, tuple[BatchCount, ...]]:
        return await self._pods.batches(target)

    async def read(self, targets: Sequence[Target]) -> Sequence[ArmSample]:
        groups = list(_groups(targets))
        told = await asyncio.gather(*(self._read_group(group) for group in groups))
        return [sample for group in told for sample in group]

    async def count(self, query: str, at: float) -> float:
        question = partial(ask, self._url, query, self._seconds, at, COUNT_BYTES)
        try:
            return promql.one_number(await self._within(self._counting, question))
        except Garbled:
            raise NoCount("the query returns no vector; a counter's sum is one") from None
        except (Unanswered, NotOne) as problem:
            raise NoCount(str(problem)[:MESSAGE_LIMIT]) from None

    async def _read_group(self, targets: Sequence[Target]) -> list[ArmSample]:
        if not any(target.pods for target in targets):
            return [_arm(target, self._clock(), {}, {}) for target in targets]
        queries = [promql.pod_query(targets)]
        if any(target.backends for target in targets):
            queries.append(promql.gateway_query(targets))
        try:
            answers = await asyncio.gather(*(self._ask(query) for query in queries))
        except Unanswered as problem:
            return self._nothing(targets, "MetricsUnavailable", str(problem))
        except Garbled as problem:
            return self._nothing(targets, "MetricsInvalid", f"Prometheus answers nonsense: {problem}.")
        pods = promql.pod_samples(answers[0], targets)
        gateways = promql.gateway_samples(answers[1]) if len(answers) > 1 else {}
        return [_arm(target, self._clock(), pods, gateways) for target in targets]

    def _nothing(self, targets: Sequence[Target], trouble: Trouble, message: str) -> list[ArmSample]:
        now = self._clock()
        words = message[:MESSAGE_LIMIT]
        return [ArmSample(now, (), frozenset(t.pods), None, trouble, words) for t in targets]

    async def _ask(self, query: str) -> list[Series]:
        return await self._within(self._threads, partial(ask, self._url, query, self._seconds))

    async def _within(
        self, threads: ThreadPoolExecutor, question: Callable[[], list[Series]]
    ) -> list[Series]:
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.get_running_loop().run_in_executor(threads, question)
        except TimeoutError:
            raise Unanswered(f"Prometheus does not answer within {self._seconds:g} s.") from None


def ask(
    url: str, query: str, seconds: float, at: float | None = None, most: int = ANSWER_BYTES
) -> list[Series]:
    """One instant query, in a thread; `at`: of that moment. Raises Unanswered and Garbled."""
    import requests  # noqa: PLC0415
    from prometheus_api_client import PrometheusApiClientException, PrometheusConnect  # noqa: PLC0415
    from urllib3.util.retry import Retry  # noqa: PLC0415

    session = requests.Session()
    session.trust_env = False
    bounded: Any = partial(_bounded, most=most)
    params = {"timeout": f"{seconds:g}s"} | ({} if at is None else {"time": f"{at:.3f}"})
    session.hooks["response"].append(bounded)
    # Without a retry of ours the library tries three times more, seconds apart.
    never = Retry(total=0, read=False)
    with PrometheusConnect(url, retry=never, session=session, timeout=seconds) as connection:
        try:
            return promql.read_result(connection.custom_query(query, params=params))
        except PrometheusApiClientException as error:
            raise Unanswered(f"Prometheus refuses: {error}") from None
        except requests.exceptions.Timeout:
            raise Unanswered(f"Prometheus does not answer within {seconds:g} s.") from None
        except requests.exceptions.JSONDecodeError:
            raise Garbled("no JSON") from None
        except (requests.exceptions.RequestException, OSError) as error:
            raise Unanswered(f"Prometheus cannot be reached: {_words(error)}.") from None
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise Garbled(f"not the answer to a query ({type(error).__name__})") from None


def _bounded(answer: Any, *_: object, most: int, timeout: float, **__: object) -> Any:
    """Reads the body here: the library's timeout is per packet, and a drip would hold a thread for ever."""
    import requests  # noqa: PLC0415

    end, parts, size = time.monotonic() + timeout, [], 0
    while part := answer.raw.read1(CHUNK, decode_content=True):
        size += len(part)
        if time.monotonic() > end or size > most:
            answer.raw.close()
            if size > most:
                raise Unanswered(f"Prometheus answers with more than {most >> 20} MiB.")
            raise requests.exceptions.Timeout("the answer does not end")
        parts.append(part)
    body = b"".join(parts)
    if answer.status_code >= 400 and (reason := _reason(body)):
        raise Unanswered(f"Prometheus refuses (HTTP {answer.status_code}): {reason}")
    answer.raw = io.BytesIO(body)
    return answer


def _reason(body: bytes) -> str:
    """In Prometheus' own words; empty where somebody else has answered."""
    try:
        told = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return told[:MESSAGE_LIMIT] if isinstance(told, str) else ""


def _words(error: BaseException) -> str:
    """The innermost reason; what is around it repeats the whole question."""
    seen: set[int] = set()
    inner: BaseException | None = error
    while inner is not None and id(inner) not in seen:
        seen.add(id(inner))
        error = inner
        reason = getattr(inner, "reason", None)
        inner = reason if isinstance(reason, BaseException) else inner.__cause__ or inner.__context__
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)[:MESSAGE_LIMIT]


def _groups(targets: Sequence[Target]) -> Iterator[list[Target]]:
    group: list[Target] = []
    for target in targets:
        if group and sum(len(t.pods) for t in group) + len(target.pods) > PODS_PER_QUERY:
            yield group
            group = []
        group.append(target)
    if group:
        yield group


def _arm(
    target: Target,
    now: float,
    pods: Mapping[promql.Key, Sequence[PodSample]],
    gateways: Mapping[promql.Key, GatewaySample],
) -> ArmSample:
    expected = frozenset(target.pods)
    if not expected:
        return ArmSample(now, trouble="NotStarted", message="No pod serves yet.")
    told = tuple(sample for pod in target.pods for sample in pods.get((target.namespace, pod), ()))
    known = (gateways.get((target.namespace, service)) for service in target.backends)
    gateway = promql.joined([sample for sample in known if sample is not None])
    unknown = sorted(expected - {sample.pod for sample in told})
    message = ""
    trouble: Trouble | None = None
    if unknown:
        message = (
            f"Prometheus knows no metrics of {len(unknown)} of {len(expected)} pods, {unknown[0]} among "
            "them: is there a PodMonitor, and do its series have the labels namespace and pod?"
        )
        trouble = "MetricsUnavailable" if not told and gateway is None else None
    return ArmSample(now, told, expected, gateway, trouble, message)

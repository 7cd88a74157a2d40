"""Steady load on a served model, every answer compared with the one it must be.

A well-behaved client of a rolling service: it opens a new connection every two seconds, well below the time
that a stopping pod goes on serving, because a connection once made stays with its pod. Nothing is retried:
a request fails or it does not. The answer must be one of the expected ones, to a tolerance, so that during
an update either version may answer and nothing else.

    python examples/load.py digits --url digits.default.svc.cluster.local:8000 \\
        --inputs digits-test.npz --expected digits-expected.npz --rate 200 --seconds 30
    python examples/load.py digits --protocol grpc --url digits-headless.default.svc.cluster.local:8001 ...
"""

import argparse
import asyncio
import contextlib
import json
import math
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tritonclient.grpc.aio as triton_grpc
import tritonclient.http.aio as triton_http

Arrays = Mapping[str, np.ndarray]
TIMEOUT_SECONDS = 10.0
CONNECTION_SECONDS = 2.0
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Target:
    model: str
    url: str
    protocol: str
    """http or grpc"""


@dataclass
class Tally:
    """What happened so far."""

    began: float = field(default_factory=time.monotonic)
    requests: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    answered_by: Counter[str] = field(default_factory=Counter)
    """which of the expected answers came back, how often"""
    latencies: list[float] = field(default_factory=list)
    first_failures: list[str] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    def failure(self, kind: str, message: str) -> None:
        self.failures[kind] += 1
        if len(self.first_failures) < 5:
            self.first_failures.append(f"{time.monotonic() - self.began:.1f} s: {kind}: {message[:200]}")

    def report(self) -> dict[str, Any]:
        seconds = time.monotonic() - self.began
        waited = np.array(self.latencies or [float("nan")]) * 1000
        return {
            "requests": self.requests,
            "failed": self.failed,
            "failures": dict(self.failures),
            "firstFailures": self.first_failures,
            "answeredBy": dict(self.answered_by),
            "seconds": round(seconds, 1),
            "rate": round(self.requests / max(seconds, 1e-9), 1),
            "p50Ms": round(float(np.percentile(waited, 50)), 2),
            "p99Ms": round(float(np.percentile(waited, 99)), 2),
        }


class Client(Protocol):
    async def infer(self, batch: Arrays) -> np.ndarray: ...

    async def close(self) -> None: ...


class HttpClient:
    def __init__(self, target: Target) -> None:
        self._model = target.model
        self._client = triton_http.InferenceServerClient(target.url, conn_timeout=TIMEOUT_SECONDS)

    async def infer(self, batch: Arrays) -> np.ndarray:
        answer = await self._client.infer(self._model, triton_inputs(triton_http, batch))
        return answer.as_numpy(answer.get_response()["outputs"][0]["name"])

    async def close(self) -> None:
        await self._client.close()


class GrpcClient:
    """Every pod that the name resolves to gets its turn; a new channel asks for the names again."""

    CHANNEL = (
        ("grpc.lb_policy_name", "round_robin"),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.dns_min_time_between_resolutions_ms", 500),
        ("grpc.enable_retries", 0),
    )

    def __init__(self, target: Target) -> None:
        self._model = target.model
        self._client = triton_grpc.InferenceServerClient(f"dns:///{target.url}", channel_args=self.CHANNEL)

    async def infer(self, batch: Arrays) -> np.ndarray:
        answer = await self._client.infer(
            self._model, triton_inputs(triton_grpc, batch), client_timeout=TIMEOUT_SECONDS
        )
        return answer.as_numpy(answer.get_response().outputs[0].name)

    async def close(self) -> None:
        await self._client.close()


def connect(target: Target) -> Client:
    return GrpcClient(target) if target.protocol == "grpc" else HttpClient(target)


def triton_inputs(module: Any, batch: Arrays) -> list[Any]:
    kinds = {np.dtype(np.float32): "FP32", np.dtype(np.int64): "INT64"}
    made = []
    for name, array in batch.items():
        tensor = module.InferInput(name, list(array.shape), kinds[array.dtype])
        tensor.set_data_from_numpy(array)
        made.append(tensor)
    return made


def model_inputs(path: Path) -> dict[str, np.ndarray]:
    """One array per model input, named as the input, first axis = sample; labels are no input."""
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files if name != "labels"}


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


async def answers(target: Target, inputs: Arrays, batch: int) -> np.ndarray:
    """The model's answers for all samples, asked for in batches over one connection."""
    client = connect(target)
    try:
        size = len(next(iter(inputs.values())))
        parts = [
            await client.infer({name: array[at : at + batch] for name, array in inputs.items()})
            for at in range(0, size, batch)
        ]
    finally:
        await client.close()
    return np.concatenate(parts)


class Load:
    """Requests at a steady rate until told to stop, or back to back where the rate is 0."""

    def __init__(
        self,
        target: Target,
        inputs: Arrays,
        expected: Arrays,
        *,
        rate: float = 0,
        workers: int = 8,
        near: float = math.inf,
        connect: Callable[[Target], Client] = connect,
    ) -> None:
        self.target = target
        self.tally = Tally()
        self._inputs, self._expected = inputs, expected
        self._size = len(next(iter(inputs.values())))
        self._interval = workers / rate if rate else 0.0
        self._workers = workers
        self._near = near
        """least cosine at which an answer still counts, as that of a compressed model"""
        self._connect = connect
        self._stop = asyncio.Event()

    async def run(self) -> Tally:
        self.tally.began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for worker in range(self._workers):
                tasks.create_task(self._work(worker))
        return self.tally

    def stop(self) -> None:
        self._stop.set()

    async def _work(self, worker: int) -> None:
        offset = worker / self._workers
        await self._pause(offset * (self._interval or 0.1))
        # Workers change connections at different moments, so that some are always about to go stale.
        expires = time.monotonic() + CONNECTION_SECONDS * (0.5 + 0.5 * offset)
        client, sample, due = self._connect(self.target), worker, time.monotonic()
        try:
            while not self._stop.is_set():
                if time.monotonic() >= expires:
                    await client.close()
                    client, expires = self._connect(self.target), time.monotonic() + CONNECTION_SECONDS
                await self._ask(client, sample % self._size)
                sample += self._workers
                due = max(due + self._interval, time.monotonic() - 1.0)
                await self._pause(due - time.monotonic())
        finally:
            await client.close()

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), seconds)

    async def _ask(self, client: Client, sample: int) -> None:
        batch = {name: array[sample : sample + 1] for name, array in self._inputs.items()}
        self.tally.requests += 1
        began = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answer = await client.infer(batch)
        # Whatever a client library throws, to its user it is one request that got no answer.
        except Exception as error:  # noqa: BLE001
            self.tally.failure(kind_of(error), str(error))
            return
        self.tally.latencies.append(time.monotonic() - began)
        source = self._recognised(answer, sample)
        if source is None:
            found = np.array2string(answer.ravel()[:16], precision=3, separator=",", max_line_width=200)
            self.tally.failure("wrong answer", f"sample {sample}, shape {list(answer.shape)}: {found}")
        else:
            self.tally.answered_by[source] += 1

    def _recognised(self, answer: np.ndarray, sample: int) -> str | None:
        for name, wanted in self._expected.items():
            if answer.shape == (1, *wanted.shape[1:]) and np.allclose(
                answer[0], wanted[sample], atol=TOLERANCE, rtol=TOLERANCE
            ):
                return name
        for name, wanted in self._expected.items():
            if answer.shape == (1, *wanted.shape[1:]) and cosine(answer[0], wanted[sample]) >= self._near:
                return f"{name} compressed"
        return None


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.vdot(left, right) / max(np.linalg.norm(left) * np.linalg.norm(right), 1e-12))


def kind_of(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    status = getattr(error, "status", None)
    if callable(status) and status():
        return f"refused {status()}"
    return type(error).__name__


@contextlib.asynccontextmanager
async def running(*loads: Load) -> AsyncIterator[None]:
    """Load in the background of a block; every request is answered or counted when the block is left."""
    tasks = [asyncio.create_task(load.run()) for load in loads]
    try:
        yield
    finally:
        for load in loads:
            load.stop()
        await asyncio.gather(*tasks)


async def _timed(load: Load, seconds: float, show: bool) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    end = time.monotonic() + seconds
    async with running(load):
        while not stop.is_set() and (left := end - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), min(1.0, left))
            if show:
                tally = load.tally
                print(
                    f"\r{tally.requests} requests, {tally.failed} failed, {max(left, 0):.0f} s to go ",
                    end="",
                    file=sys.stderr,
                )
    if show:
        print(file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--url", required=True, help="host:port")
    parser.add_argument("--protocol", choices=("http", "grpc"), default="http")
    parser.add_argument("--inputs", type=Path, required=True, help=".npz, one array per model input")
    parser.add_argument("--expected", type=Path, required=True, help=".npz, each array a right answer")
    parser.add_argument(
        "--rate", type=float, default=200, help="requests a second; 0: as fast as they return"
    )
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--json", action="store_true", help="the result as JSON on standard output")
    args = parser.parse_args(argv)
    load = Load(
        Target(args.model, args.url, args.protocol),
        model_inputs(args.inputs),
        arrays(args.expected),
        rate=args.rate,
        workers=args.workers,
    )
    asyncio.run(_timed(load, args.seconds, show=sys.stderr.isatty()))
    report = load.tally.report()
    if args.json:
        print(json.dumps(report))
    else:
        print(f"{report['requests']} requests at {report['rate']}/s, {report['failed']} failed")
        print(f"p50 {report['p50Ms']} ms, p99 {report['p99Ms']} ms; answered by {report['answeredBy']}")
        for line in report["firstFailures"]:
            print(f"  {line}")
    return 1 if report["failed"] or not report["requests"] else 0


if __name__ == "__main__":
    sys.exit(main())

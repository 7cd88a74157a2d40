"""Service time as the real server has it: candidates loaded into a running Triton, driven by its own client.

One request at a time, so that nothing queues. What the server's statistics add up to for a request is its
service time s(b); what the client saw beyond that is the overhead. Clients, queueing and load are the
autoscaler's to model.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seawall.fetch.onnxmodel import inspect, io_config
from seawall.fetch.problem import FetchProblem
from seawall.optimize.sessions import first_line
from seawall.optimize.timing import Runner, in_rounds, timings
from seawall.optimize.types import Array, Graph, Passing, Profile, Refused, Samples, Signature

SECONDS = 20.0
GAIN = 0.9
"""a batch that does not cost less than this per request, of batch 1, is not worth a wait"""


@dataclass(frozen=True, slots=True)
class Served:
    """A model as Triton gets it: the files of its version folder, and its ModelConfig."""

    folder: Path
    config: Mapping[str, Any]


class Server:
    """A Triton in explicit model control. `url`: http://host:port or grpc://host:port."""

    def __init__(self, url: str, repository: Path | None = None) -> None:
        scheme, _, address = url.partition("://")
        if scheme not in ("http", "grpc") or not address:
            raise ValueError(f"{url} is no address of a Triton; give http://HOST:PORT or grpc://HOST:PORT")
        self._tools = importlib.import_module(f"tritonclient.{scheme}")
        self._client = self._tools.InferenceServerClient(address.rstrip("/"))
        self._grpc = scheme == "grpc"
        self._repository = repository

    @contextlib.contextmanager
    def serving(self, name: str, served: Served) -> Iterator[float]:
        """The model, loaded until the end of the block; yields how many seconds loading took."""
        started, config = time.monotonic(), json.dumps(served.config)
        with self._told(f"Triton cannot load {name}"):
            if self._repository is None:
                self._client.load_model(name, config=config, files=_files(served.folder))
            else:
                _lay(self._repository / name, served.folder)
                self._client.load_model(name, config=config)
        try:
            yield time.monotonic() - started
        finally:
            with self._told(f"Triton cannot unload {name}"):
                self._client.unload_model(name)

    def runner(self, name: str, signature: Signature, samples: Samples, seen: list[Sample]) -> Runner:
        """Each call is one request; its service time comes back and what the client saw is kept in `seen`."""

        def run(size: int) -> float:
            inputs = self._inputs(signature, samples, size)
            with self._told(f"Triton cannot run {name}"):
                before = self._compute_ns(name)
                started = time.perf_counter()
                self._client.infer(name, inputs)
                total = (time.perf_counter() - started) * 1000.0
                served = (self._compute_ns(name) - before) / 1e6
            seen.append((size, total, served))
            return served

        return run

    def _inputs(self, signature: Signature, samples: Samples, size: int) -> list[Any]:
        from tritonclient.utils import np_to_triton_dtype  # noqa: PLC0415

        made = []
        for spec in signature.inputs:
            array = _batch(samples.inputs[spec.name], signature.batched, size)
            entry = self._tools.InferInput(spec.name, list(array.shape), np_to_triton_dtype(array.dtype))
            entry.set_data_from_numpy(array)
            made.append(entry)
        return made

    def _compute_ns(self, name: str) -> int:
        """Input, inference and output of all requests so far: what the server did, without its queue."""
        if self._grpc:
            answer = self._client.get_inference_statistics(name, as_json=True)
        else:
            answer = self._client.get_inference_statistics(name)
        parts = ("compute_input", "compute_infer", "compute_output")
        stats = [model["inference_stats"] for model in answer["model_stats"]]
        return sum(int(s.get(part, {}).get("ns", 0)) for s in stats for part in parts)

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        from tritonclient.utils import InferenceServerException  # noqa: PLC0415

        try:
            yield
        except InferenceServerException as error:
            raise Refused("ProfileFailed", f"{what}: {first_line(error)}") from error
        except OSError as error:
            raise Passing(f"ProfileFailed: {what}: {first_line(error)}") from error


Sample = tuple[int, float, float]
"""batch size, milliseconds at the client, milliseconds in the server"""


def profile(
    server: Server,
    models: Mapping[str, Served],
    signature: Signature,
    samples: Samples,
    batches: Sequence[int],
    *,
    original: str,
    seconds: float = SECONDS,
    accelerator: str = "cpu",
) -> dict[str, Profile]:
    """All candidates in one Triton, interleaved as timing.interleaved does it."""
    most = max(batches) if signature.batched else 0
    seen: dict[str, list[Sample]] = defaultdict(list)
    with contextlib.ExitStack() as loaded:
        loading = {
            name: loaded.enter_context(server.serving(name, served)) for name, served in models.items()
        }
        runners = {name: server.runner(name, signature, samples, seen[name]) for name in models}
        measured = in_rounds(runners, batches, seconds, time.perf_counter)
    return {
        name: Profile(
            accelerator,
            timings(measured, name, original),
            "triton",
            max_batch_size=most,
            overhead_ms=overhead(seen[name], min(batches)),
            cold_start_seconds=round(loading[name], 3),
        )
        for name in models
    }


def overhead(seen: Sequence[Sample], size: int) -> float:
    """Median of client minus server time at the smallest batch: what every request pays once."""
    spent = [total - served for batch, total, served in seen if batch == size]
    return round(max(0.0, float(np.median(spent))), 6)


def queue_delay_ms(profile: Profile, slo_p99_ms: float | None) -> float:
    """How long the first request of a batch may wait for company.

    Nothing where batches are no cheaper per request. Else as long as one request takes alone (behind a
    running request it would have waited as long), and never more than half of what the SLO leaves after the
    largest batch and the one in front of it. Without an SLO nothing: every request of a quiet hour waits.
    """
    first, last = profile.batches[0], profile.batches[-1]
    if slo_p99_ms is None or last.p50_ms / last.size > GAIN * first.p50_ms / first.size:
        return 0.0
    slack = slo_p99_ms - profile.overhead_ms - last.p50_ms - last.p99_ms
    return max(0.0, math.floor(10 * min(slack / 2, first.p50_ms)) / 10)


def instance_count(asked: int, threads: int, cores: int) -> int:
    """As many instances as were asked for, as long as each has the cores it was measured with."""
    return max(1, min(asked, cores // max(1, threads)))


def onnx_model(graph: Graph, max_batch_size: int, threads: int, kind: str = "cpu") -> Served:
    config = model_config(graph, "onnxruntime", max_batch_size, kind)
    return Served(
        graph.folder,
        {**config, "parameters": {"intra_op_thread_count": {"string_value": str(threads)}}},
    )


def engine_model(plan: Path, graph: Graph, max_batch_size: int) -> Served:
    """The engine of this graph: it takes what the graph takes."""
    return Served(plan, model_config(graph, "tensorrt", max_batch_size, "gpu"))


def model_config(graph: Graph, backend: str, max_batch_size: int, kind: str) -> dict[str, Any]:
    """One instance, no batching by the server: a request is exactly the batch it carries."""
    try:
        io = io_config(inspect(graph.path), max_batch_size)
    except FetchProblem as problem:
        raise Refused("InvalidModel", problem.message) from problem
    return {
        "backend": backend,
        "max_batch_size": max_batch_size,
        "instance_group": [{"count": 1, "kind": f"KIND_{kind.upper()}"}],
        **io,
    }


def _files(folder: Path) -> dict[str, bytes]:
    """The model within the load request, where the server shares no folder with us."""
    return {
        f"file:1/{file.relative_to(folder).as_posix()}": file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def _lay(target: Path, folder: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target / "1")
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _batch(array: Array, batched: bool, size: int) -> Array:
    if not batched:
        return np.asarray(array[0])
    return np.ascontiguousarray(array[np.arange(size) % len(array)])

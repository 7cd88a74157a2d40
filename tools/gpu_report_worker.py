"""Runs one graph by one runtime on the GPU, in the environment that tools/venv gpu-report makes.

Times hold the copies to and from the device, as a server would pay for them. Power is sampled by NVML while
one batch follows the other without a pause, so that the joules are those of a device in full use.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from seawall.optimize.energy import PowerMeter, measured, nvml_power

Run = Callable[[Mapping[str, Any]], list[Any]]
WARM_UP = 10


def main(request: dict[str, Any]) -> None:
    samples = dict(np.load(request["samples"], allow_pickle=False))
    if request["runtime"] == "tensorrt-rtx":
        run, engine_bytes = rtx(Path(request["model"]), request["profile"])
    else:
        run, engine_bytes = by_onnxruntime(request["model"], request["providers"]), None
    power = None if request["providers"] == ["CPUExecutionProvider"] else nvml_power()
    answer = {
        "engineBytes": engine_bytes,
        "cosine": agreement(run, request["original"], samples, max(request["batches"])),
        "batches": [
            timed(run, batch(samples, size), size, request["seconds"], power) for size in request["batches"]
        ],
    }
    Path(request["out"]).write_text(json.dumps(answer), encoding="utf-8")


def batch(samples: Mapping[str, Any], size: int, start: int = 0) -> dict[str, Any]:
    count = len(next(iter(samples.values())))
    rows = (np.arange(size) + start) % count
    return {name: np.ascontiguousarray(array[rows]) for name, array in samples.items()}


def agreement(run: Run, original: str, samples: Mapping[str, Any], size: int) -> float:
    """Mean cosine of the first output with that of the original in float on a CPU, over all samples."""
    reference = by_onnxruntime(original, ["CPUExecutionProvider"])
    count = len(next(iter(samples.values())))
    found = []
    for start in range(0, count, size):
        given = batch(samples, min(size, count - start), start)
        wanted, got = (np.asarray(f(given)[0], np.float64) for f in (reference, run))
        wanted, got = wanted.reshape(len(wanted), -1), got.reshape(len(got), -1)
        norms = np.linalg.norm(wanted, axis=1) * np.linalg.norm(got, axis=1)
        found.append((wanted * got).sum(1) / norms)
    return float(np.concatenate(found).mean())


def timed(run: Run, given: Mapping[str, Any], size: int, seconds: float, power: Any) -> dict[str, Any]:
    for _ in range(WARM_UP):
        run(given)
    taken: list[float] = []
    end = time.perf_counter() + seconds
    with PowerMeter(power or (lambda: 0.0)) as meter:
        while (began := time.perf_counter()) < end:
            run(given)
            taken.append((time.perf_counter() - began) * 1000)
    middle, late = np.percentile(taken, [50, 99])
    row = {"size": size, "p50Ms": float(middle), "p99Ms": float(late), "samples": len(taken)}
    if power is None:
        return row
    energy = measured(meter.samples, len(taken) * size, size)
    return {**row, "joulesPer1k": energy.joules_per_1k, "watts": energy.watts}


def by_onnxruntime(model: str, providers: list[str]) -> Run:
    """A provider that does not load ends the measurement; onnxruntime would go on with the CPU."""
    if "CUDAExecutionProvider" in providers:
        onnxruntime.preload_dlls()
    session = onnxruntime.InferenceSession(model, providers=providers)
    if session.get_providers()[0] != providers[0]:
        raise RuntimeError(f"onnxruntime runs on {session.get_providers()[0]}, not on {providers[0]}")
    return lambda given: session.run(None, dict(given))


def rtx(model: Path, profile: Mapping[str, Any]) -> tuple[Run, int]:
    """Built and run on this machine by TensorRT-RTX, strongly typed."""
    import tensorrt_rtx as trt  # noqa: PLC0415
    from cuda.bindings import runtime as cuda  # noqa: PLC0415

    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(model)):
        raise RuntimeError(f"TensorRT-RTX does not parse it: {parser.get_error(0).desc()}")
    config = builder.create_builder_config()
    shapes = builder.create_optimization_profile()
    for name, three in profile.items():
        shapes.set_shape(name, *three)
    config.add_optimization_profile(shapes)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RuntimeError("TensorRT-RTX builds no engine for this GPU")
    engine = trt.Runtime(log).deserialize_cuda_engine(plan)
    if engine is None:
        raise RuntimeError("TensorRT-RTX cannot load its engine: there is no GPU here that it supports")
    context = engine.create_execution_context()
    stream = checked(cuda.cudaStreamCreate())
    places: dict[str, tuple[int, int]] = {}

    def place(name: str, size: int) -> int:
        held, room = places.get(name, (0, 0))
        if room < size:
            if held:
                checked(cuda.cudaFree(held))
            held = checked(cuda.cudaMalloc(size))
            places[name] = (held, size)
        return held

    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    inputs = [n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
    outputs = [n for n in names if n not in inputs]
    up, down = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice, cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost

    def run(given: Mapping[str, Any]) -> list[Any]:
        for name in inputs:
            array = np.ascontiguousarray(given[name], trt.nptype(engine.get_tensor_dtype(name)))
            context.set_input_shape(name, array.shape)
            address = place(name, array.nbytes)
            checked(cuda.cudaMemcpyAsync(address, array.ctypes.data, array.nbytes, up, stream))
            context.set_tensor_address(name, address)
        made = []
        for name in outputs:
            shape = tuple(context.get_tensor_shape(name))
            made.append(np.empty(shape, trt.nptype(engine.get_tensor_dtype(name))))
            context.set_tensor_address(name, place(name, made[-1].nbytes))
        if not context.execute_async_v3(int(stream)):
            raise RuntimeError("the engine did not run")
        for name, array in zip(outputs, made, strict=True):
            checked(cuda.cudaMemcpyAsync(array.ctypes.data, places[name][0], array.nbytes, down, stream))
        checked(cuda.cudaStreamSynchronize(stream))
        return made

    return run, plan.nbytes


def checked(answer: tuple[Any, ...]) -> Any:
    """CUDA's calls answer with an error code first."""
    if int(answer[0]):
        raise RuntimeError(f"CUDA: {answer[0]}")
    return answer[1] if len(answer) > 1 else None


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))

"""gpu-report and the energy of a request, as far as they go without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gpu_report
import numpy as np
import pytest

from seawall.optimize.energy import Energy, PowerMeter, estimated, measured, nvml_power
from seawall.optimize.gpu.quantize import save_arrays
from seawall.optimize.types import BatchTiming, Profile, Refused, Target
from support.gpugraphs import cnn, images

ROOT = Path(__file__).resolve().parents[2]
L4 = Target("nvidia-l4", "gpu", idle_watts=30, peak_watts=70)


def profile(*batches: tuple[int, float], instances: int = 1) -> Profile:
    timings = tuple(BatchTiming(size, mean, 0, mean, mean, 9) for size, mean in batches)
    return Profile("nvidia-l4", timings, "triton", instances)


@pytest.mark.parametrize(
    ("given", "utilisation", "joules", "batch"),
    [
        (profile((1, 10.0)), 1.0, 700.0, 1),
        (profile((1, 10.0), (8, 16.0)), 1.0, 140.0, 8),
        (profile((1, 10.0)), 0.5, 1000.0, 1),
        (profile((1, 10.0), instances=2), 1.0, 350.0, 1),
    ],
    ids=["one at a time", "the batch that costs least", "half idle costs more", "two instances share the watts"],
)  # fmt: skip
def test_joules_follow_from_watts_and_service_time(
    given: Profile, utilisation: float, joules: float, batch: int
) -> None:
    found = estimated(given, L4, utilisation)
    assert found is not None
    assert (found.joules_per_1k, found.batch, found.estimated) == (pytest.approx(joules), batch, True)


def test_without_watts_there_is_no_estimate() -> None:
    assert estimated(profile((1, 10.0)), Target("cpu", "cpu")) is None


def test_sampled_power_is_integrated() -> None:
    samples = [(0.0, 50.0), (1.0, 70.0), (3.0, 70.0)]
    assert measured(samples, 400, 4) == Energy(500.0, pytest.approx(200 / 3), 4, estimated=False)


@pytest.mark.parametrize(("samples", "requests"), [([(0.0, 1.0)], 5), ([(0.0, 1.0), (1.0, 1.0)], 0)])
def test_too_little_to_measure_is_an_error(samples: list[tuple[float, float]], requests: int) -> None:
    with pytest.raises(ValueError, match="two samples"):
        measured(samples, requests, 1)


def test_the_meter_samples_from_begin_to_end() -> None:
    ticks = iter(range(10_000))
    with PowerMeter(lambda: 42.0, lambda: float(next(ticks))) as meter:
        pass
    assert len(meter.samples) >= 2
    assert meter.samples == sorted(meter.samples)
    assert {watts for _, watts in meter.samples} == {42.0}


def test_a_machine_without_a_gpu_has_no_sensor() -> None:
    if Path("/proc/driver/nvidia/version").exists():
        pytest.skip("there is a GPU here")
    with pytest.raises(Refused, match=r"nvidia-ml-py|no NVIDIA GPU"):
        nvml_power()


def test_the_report_refuses_without_a_gpu_in_one_line(tmp_path: Path) -> None:
    """Also where the tool is there and the driver is not."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    tool.chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ended = subprocess.run(
        [ROOT / "tools" / "gpu-report"], capture_output=True, text=True, check=False, env=environ
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "gpu-report: there is no NVIDIA GPU here: nvidia-smi names none\n"


def request(tmp_path: Path, **changed: Any) -> dict[str, Any]:
    """What the host asks of the worker, with onnxruntime's CPU in the place of the GPU."""
    graph = cnn(tmp_path / "graph")
    save_arrays(tmp_path / "samples.npz", images().inputs)
    asked = {
        "runtime": "onnxruntime-gpu", "model": str(graph.path), "original": str(graph.path),
        "samples": str(tmp_path / "samples.npz"), "batches": [1, 8], "seconds": 0.05,
        "profile": {"image": [[1, 1, 8, 8], [8, 1, 8, 8], [8, 1, 8, 8]]}, "providers": ["CPUExecutionProvider"],
    }  # fmt: skip
    return {**asked, **changed}


def test_the_worker_measures_and_compares_in_rehearsal_on_a_cpu(tmp_path: Path) -> None:
    row = gpu_report.measured(Path(sys.executable), request(tmp_path))
    assert row["error"] is None
    assert row["cosine"] == pytest.approx(1.0)
    assert [timing["size"] for timing in row["batches"]] == [1, 8]
    assert all(0 < timing["p50Ms"] <= timing["p99Ms"] for timing in row["batches"])
    assert "joulesPer1k" not in row["batches"][0]


@pytest.mark.parametrize(
    "changed",
    [{"providers": ["CUDAExecutionProvider"]}, {"runtime": "tensorrt-rtx"}],
    ids=["onnxruntime without its GPU", "TensorRT-RTX without a GPU"],
)
def test_a_runtime_that_has_no_gpu_ends_in_its_own_row(changed: dict[str, Any], tmp_path: Path) -> None:
    row = gpu_report.measured(Path(sys.executable), request(tmp_path, **changed))
    assert row["error"]
    text = gpu_report.table([{"model": "digits-v1", "preset": "none", "runtime": "x", **row}])
    assert row["error"] in text


def test_the_table_has_a_line_per_row() -> None:
    batches = [
        {"size": 1, "p50Ms": 0.2, "joulesPer1k": 9.0, "watts": 50.0},
        {"size": 8, "p50Ms": 0.4, "joulesPer1k": 3.25, "watts": 61.0},
    ]
    row = {"model": "digits-v1", "preset": "fp16", "runtime": "tensorrt-rtx", "bytes": 173156, "engineBytes": 464148,
           "cosine": np.float64(0.99991), "batches": batches, "error": None}  # fmt: skip
    head, line = gpu_report.table([row]).splitlines()
    assert head.split()[:3] == ["model", "preset", "runtime"]
    assert line.split() == [
        "digits-v1",
        "fp16",
        "tensorrt-rtx",
        "173156",
        "464148",
        "0.9999",
        "0.200",
        "0.400",
        "3.250",
        "61",
    ]

"""What a queue policy of Triton's dynamic batcher costs: late answers at low load, with each kind of policy.

One model under several configurations in one real server (the triton-cpu image, as root), one and three
clients at a time, each asking for a batch of eight again and again.

    .venv/bin/python bench/queue_policy.py
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests"))

from support.placed import flags, inputs, place  # noqa: E402
from support.tritonimage import Image, Triton, archive, serving  # noqa: E402

POLICIES: dict[str, dict[str, Any] | None] = {
    "none (as Seawall serves)": None,
    "max_queue_size 128": {"max_queue_size": 128},
    "default_timeout 40 s": {"default_timeout_microseconds": 40_000_000},
    "allow_timeout_override": {"allow_timeout_override": True},
}
CLIENTS = (1, 3)
LATE_SECONDS = 0.3
BATCH = 8


def asked(server: Triton, model: str, images: Any, seconds: float) -> list[float]:
    """How long each answer took."""
    from tritonclient import grpc  # noqa: PLC0415

    tensor = grpc.InferInput("image", list(images.shape), "FP32")
    tensor.set_data_from_numpy(images)
    taken = []
    with grpc.InferenceServerClient(server.grpc) as client:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            started = time.perf_counter()
            client.infer(model, [tensor], client_timeout=10)
            taken.append(time.perf_counter() - started)
    return taken


def measured(models: Path, seconds: float) -> list[dict[str, Any]]:
    images = np.load(models / "digits-test.npz")["image"][:BATCH]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        repository = folder / "models"
        repository.mkdir()
        for number, policy in enumerate(POLICIES.values()):
            config = {"dynamic_batching": {"default_queue_policy": policy}} if policy else {}
            source = folder / f"source-{number}"
            source.mkdir()
            shutil.copy(models / "digits-v1.onnx", source / "model.onnx")
            place(
                f"m{number}",
                inputs("onnx", model={"maxBatchSize": BATCH, "config": config}),
                source,
                repository,
            )
        image = Image.unpack(archive(), folder / "image")
        with serving(image, repository, *flags(inputs("onnx"))) as server:
            server.wait(lambda: server.answers("/v2/health/ready"))
            for number, policy_name in enumerate(POLICIES):
                for clients in CLIENTS:
                    with ThreadPoolExecutor(clients) as pool:
                        runs = pool.map(
                            lambda _, n=number: asked(server, f"m{n}", images, seconds), range(clients)
                        )
                        taken = [each for run in runs for each in run]
                    rows.append(row(policy_name, clients, taken))
    return rows


def row(policy: str, clients: int, taken: list[float]) -> dict[str, Any]:
    late = sum(each > LATE_SECONDS for each in taken)
    return {
        "policy": policy,
        "clients": clients,
        "requests": len(taken),
        "late": late,
        "p50Ms": round(float(np.median(taken)) * 1000, 2),
        "p99Ms": round(float(np.percentile(taken, 99)) * 1000, 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="of asking, per policy and number of clients"
    )
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
    args = parser.parse_args()
    build = [str(ROOT / "examples" / "build")]
    models = Path(subprocess.run(build, stdout=subprocess.PIPE, text=True, check=True).stdout.strip())
    rows = measured(models, args.seconds)
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    print(f"| queue policy | clients | requests | later than {LATE_SECONDS} s | p50 ms | p99 ms |")
    print("| --- | --- | --- | --- | --- | --- |")
    for each in rows:
        print("| " + " | ".join(str(value) for value in each.values()) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""One question to a running Triton, over either protocol, and its metrics as text."""

from __future__ import annotations

import urllib.request
from typing import Any

import numpy as np
from tritonclient import grpc, http
from tritonclient.utils import np_to_triton_dtype


def ask(server: Any, protocol: str, model: str, **arrays: np.ndarray) -> dict[str, np.ndarray]:
    """Every output by name."""
    library, address = (http, server.http) if protocol == "http" else (grpc, server.grpc)
    inputs = []
    for name, array in arrays.items():
        inputs.append(library.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array)
    with library.InferenceServerClient(address) as client:
        answer = client.infer(model, inputs)
    told = answer.get_response()
    names = [o["name"] for o in told["outputs"]] if protocol == "http" else [o.name for o in told.outputs]
    return {name: answer.as_numpy(name) for name in names}


def metrics(server: Any) -> list[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=10) as answer:
        return [line for line in answer.read().decode().splitlines() if not line.startswith("#")]

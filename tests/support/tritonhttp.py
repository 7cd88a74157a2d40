"""A small model server that speaks the inference protocol over HTTP, as JSON and with binary tensors."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiohttp import web

LENGTH = "Inference-Header-Content-Length"
GRAPH: dict[str, Any] = {"max_batch_size": 8, "backend": "onnxruntime", "platform": "onnxruntime_onnx"}


def question(rows: Any, *, binary: bool = False, **parameters: Any) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request."""
    array = np.asarray(rows, np.float32)
    tensor: dict[str, Any] = {"name": "image", "datatype": "FP32", "shape": list(array.shape)}
    if not binary:
        whole = {"inputs": [tensor | {"data": array.ravel().tolist()}], "parameters": parameters}
        return json.dumps(whole).encode(), {"Content-Type": "application/json"}
    tensor["parameters"] = {"binary_data_size": array.nbytes}
    outputs = [{"name": "scores", "parameters": {"binary_data": True}}]
    header = json.dumps({"inputs": [tensor], "outputs": outputs, "parameters": parameters}).encode()
    return header + array.tobytes(), {LENGTH: str(len(header)), "Content-Type": "application/octet-stream"}


def identity(x: Any, _call: int) -> Any:
    return x


@dataclass
class HttpTriton:
    """`compute` gets the rows and the number of the call; it returns scores, or the whole answer."""

    compute: Callable[[Any, int], Any] = identity
    config: dict[str, Any] = field(default_factory=lambda: dict(GRAPH))
    delay: float = 0.0
    calls: int = 0
    paths: list[str] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application(client_max_size=2**28)
        app.router.add_get("/v2/models/digits/config", self._config)
        app.router.add_post("/{path:.*}", self._infer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _config(self, _request: web.Request) -> web.Response:
        return web.json_response(self.config)

    async def _infer(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self.delay)
        body = await request.read()
        size = int(request.headers.get(LENGTH, len(body)))
        tensor = json.loads(body[:size])["inputs"][0]
        binary = size < len(body)
        array = np.frombuffer(body[size:], np.float32) if binary else np.array(tensor["data"], np.float32)
        call, self.calls = self.calls, self.calls + 1
        self.paths.append(request.path)
        found = self.compute(array.reshape(tensor["shape"]), call)
        return found if isinstance(found, web.StreamResponse) else answer(found, binary=binary)


def answer(scores: Any, *, binary: bool = False) -> web.Response:
    scores = np.asarray(scores, np.float32)
    tensor: dict[str, Any] = {"name": "scores", "datatype": "FP32", "shape": list(scores.shape)}
    if not binary:
        return web.json_response({"outputs": [tensor | {"data": scores.ravel().tolist()}]})
    tensor["parameters"] = {"binary_data_size": scores.nbytes}
    header = json.dumps({"outputs": [tensor]}).encode()
    return web.Response(body=header + scores.tobytes(), headers={LENGTH: str(len(header))})

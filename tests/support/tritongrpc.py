"""A small server that speaks Triton's gRPC protocol and answers what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from google.protobuf import json_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor, triton_to_np_dtype

DIGITS: dict[str, Any] = {
    "config": {
        "name": "digits",
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": 8,
    },
    "metadata": {
        "name": "digits",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 4]}],
    },
}


class Failure(Exception):
    """The server's answer is this status."""

    def __init__(self, code: grpc.StatusCode, words: str) -> None:
        super().__init__(words)
        self.code = code


def repeat(inputs: dict[str, Any], _call: int) -> dict[str, Any]:
    return {"scores": inputs["image"]}


@dataclass
class GrpcTriton(service_pb2_grpc.GRPCInferenceServiceServicer):
    """`compute` gets the inputs and the number of the call, from 0; it returns outputs or raises Failure."""

    compute: Callable[[dict[str, Any], int], dict[str, Any]] = repeat
    model: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(DIGITS))
    delay: float = 0.0
    tamper: Callable[[Any], None] | None = None
    """changes the answer just before it leaves"""
    batches: list[dict[str, Any]] = field(default_factory=list)
    sequences: list[tuple[int, bool, bool]] = field(default_factory=list)
    given_up: int = 0
    """requests that the client has given up"""
    calls: Any = field(default_factory=itertools.count)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(None)

    async def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        config = json_format.ParseDict(self.model["config"], model_config_pb2.ModelConfig())
        return service_pb2.ModelConfigResponse(config=config)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.name != self.model["metadata"]["name"]:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{request.name}'")
        return json_format.ParseDict(self.model["metadata"], service_pb2.ModelMetadataResponse())

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        try:
            await asyncio.sleep(self.delay)
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        inputs = {}
        for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True):
            if tensor.datatype == "BYTES":
                inputs[tensor.name] = np.array([raw])
            else:
                dtype = triton_to_np_dtype(tensor.datatype)
                inputs[tensor.name] = np.frombuffer(raw, dtype).reshape(list(tensor.shape))
        self.batches.append(inputs)
        if request.parameters:
            said = request.parameters
            self.sequences.append(
                (
                    said["sequence_id"].int64_param,
                    said["sequence_start"].bool_param,
                    said["sequence_end"].bool_param,
                )
            )
        try:
            outputs = self.compute(inputs, next(self.calls))
        except Failure as failure:
            await context.abort(failure.code, str(failure))
        answer = service_pb2.ModelInferResponse(model_name=request.model_name)
        for name, array in outputs.items():
            datatype = np_to_triton_dtype(array.dtype)
            answer.outputs.add(name=name, datatype=datatype, shape=array.shape)
            data = serialize_byte_tensor(array).item() if datatype == "BYTES" else array.tobytes()
            answer.raw_output_contents.append(data)
        if self.tamper is not None:
            self.tamper(answer)
        return answer

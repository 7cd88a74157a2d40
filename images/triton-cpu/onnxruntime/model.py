"""Serves ONNX models with ONNX Runtime on CPUs, as a Triton backend written in Python.

Triton's own onnxruntime backend exists only for its GPU builds; this one answers to the same name, reads
the same config.pbtxt and the same <model>/<version>/model.onnx, so that a service does not notice which
of the two runs it.
"""

# The stub adds most of triton_python_backend_utils after it has imported this file.
from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import graph
import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

ORT_ERRORS = tuple(
    kind for kind in vars(ort_state).values() if isinstance(kind, type) and issubclass(kind, Exception)
)
RUN_ERRORS = (*ORT_ERRORS, ValueError, TypeError)
# What is written here becomes the container's termination message. The tail of the log, which Kubernetes
# takes otherwise, holds the tables that Triton prints after the reason.
TERMINATION_LOG = os.environ.get("SEAWALL_TERMINATION_LOG", "/dev/termination-log")


def refuse(model: str, reason: str) -> pb_utils.TritonModelException:
    """The exception that fails the load; its words also go where Kubernetes looks for last words."""
    words = f"model {model!r} cannot be served: {reason}"
    log = Path(TERMINATION_LOG)
    if log.exists() and os.access(log, os.W_OK):
        log.write_text(words[:2000] + "\n", encoding="utf-8")
    return pb_utils.TritonModelException(words)


def open_session(path: Path, parameters: dict[str, Any]) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise graph.InvalidModel(f"there is no file {path.name} in version {path.parent.name}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    default = os.environ.get("SEAWALL_INTRA_OP_THREADS", "1")
    if default == "0":  # what the downward API tells a container that requests no CPU
        default = "1"
    options.intra_op_num_threads = graph.threads(parameters, "intra_op_thread_count", default)
    options.inter_op_num_threads = graph.threads(parameters, "inter_op_thread_count", "1")
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        runtime = f"ONNX Runtime {onnxruntime.__version__}"
        raise graph.InvalidModel(f"{runtime} refuses {path.name}: {error}") from error


def decode(name: str, array: np.ndarray) -> np.ndarray:
    """Triton's byte strings as the text that ONNX Runtime takes."""
    try:
        words = [word if isinstance(word, str) else bytes(word).decode("utf-8") for word in array.flat]
    except UnicodeDecodeError as error:
        raise ValueError(f"input {name!r} holds a string that is not UTF-8: {error}") from error
    return np.array(words, dtype=np.object_).reshape(array.shape)


def encode(array: np.ndarray) -> np.ndarray:
    words = [word.encode("utf-8") for word in array.flat]
    return np.array(words, dtype=np.object_).reshape(array.shape)


@dataclass(frozen=True)
class Call:
    """One request, read: its place among the requests, the tensors it brings, the outputs it asks for."""

    index: int
    feed: dict[str, np.ndarray]
    outputs: tuple[str, ...]

    @property
    def batch(self) -> int:
        return len(next(iter(self.feed.values())))


class TritonPythonModel:
    """One instance of one version of one model."""

    @staticmethod
    def auto_complete_config(config: pb_utils.ModelConfig) -> pb_utils.ModelConfig:
        # Triton tells the path of the model only on the stub's command line, as its first argument.
        path = Path(os.fsdecode(Path("/proc/self/cmdline").read_bytes().split(b"\0")[1]))
        known = config.as_dict()
        try:
            session = open_session(path, known.get("parameters", {}))
            inputs = graph.read_tensors(session.get_inputs())
            outputs = graph.read_tensors(session.get_outputs())
        except graph.InvalidModel as error:
            raise refuse(known["name"], str(error)) from error
        for entry in graph.completions(known["input"], inputs, known["max_batch_size"]):
            config.add_input(entry)
        for entry in graph.completions(known["output"], outputs, known["max_batch_size"]):
            config.add_output(entry)
        return config

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        filename = config.get("default_model_filename") or "model.onnx"
        path = Path(args["model_repository"]) / args["model_version"] / filename
        self.batches = config.get("max_batch_size", 0) > 0
        try:
            self.session = open_session(path, config.get("parameters", {}))
            self.inputs = graph.read_tensors(self.session.get_inputs())
            self.outputs = graph.read_tensors(self.session.get_outputs())
            overridable = graph.read_tensors(self.session.get_overridable_initializers())
            graph.check(config, self.inputs, self.outputs, overridable)
        except graph.InvalidModel as error:
            raise refuse(args["model_name"], str(error)) from error
        self.reshaped = {
            entry["name"]: tuple(int(size) for size in entry["dims"])
            for entry in config["output"]
            if "reshape" in entry
        }

    def execute(self, requests: Sequence[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        responses: list[pb_utils.InferenceResponse | None] = [None] * len(requests)
        groups: dict[Any, list[Call]] = defaultdict(list)
        for index, request in enumerate(requests):
            try:
                call = self._read(index, request)
            except ValueError as error:
                responses[index] = failed(error)
                continue
            groups[self._signature(call)].append(call)
        for calls in groups.values():
            for call, response in zip(calls, self._answer(calls), strict=True):
                responses[call.index] = response
        return responses

    def _read(self, index: int, request: pb_utils.InferenceRequest) -> Call:
        feed = {}
        for tensor in request.inputs():
            array = tensor.as_numpy()
            feed[tensor.name()] = decode(tensor.name(), array) if array.dtype == np.object_ else array
        return Call(index, feed, tuple(request.requested_output_names()))

    def _signature(self, call: Call) -> Any:
        """Calls with equal signatures can be one run; a model without batching runs each by itself."""
        if not self.batches:
            return call.index
        return tuple(sorted((name, array.dtype.str, array.shape[1:]) for name, array in call.feed.items()))

    def _answer(self, calls: list[Call]) -> list[pb_utils.InferenceResponse]:
        try:
            return self._run(calls)
        except RUN_ERRORS as error:
            if len(calls) == 1:
                return [failed(error)]
        # One request spoilt the run of all; alone, each gets its own answer.
        return [response for call in calls for response in self._answer([call])]

    def _run(self, calls: list[Call]) -> list[pb_utils.InferenceResponse]:
        wanted = sorted({name for call in calls for name in call.outputs})
        feed = calls[0].feed
        if len(calls) > 1:
            feed = {name: np.concatenate([call.feed[name] for call in calls]) for name in feed}
        results = dict(zip(wanted, self.session.run(wanted, feed), strict=True))
        if not self.batches:
            return [self._response(calls[0], results)]
        ends = list(accumulate(call.batch for call in calls))
        for name, array in results.items():
            if array.ndim == 0 or len(array) != ends[-1]:
                raise ValueError(
                    f"output {name!r} has shape {list(array.shape)} for a batch of {ends[-1]}: "
                    "the graph does not keep the batch dimension, so max_batch_size must be 0"
                )
        return [
            self._response(call, {name: array[end - call.batch : end] for name, array in results.items()})
            for call, end in zip(calls, ends, strict=True)
        ]

    def _response(self, call: Call, results: dict[str, np.ndarray]) -> pb_utils.InferenceResponse:
        return pb_utils.InferenceResponse([self._tensor(name, results[name]) for name in call.outputs])

    def _tensor(self, name: str, array: np.ndarray) -> pb_utils.Tensor:
        if name in self.reshaped:
            lead = array.shape[:1] if self.batches else ()
            array = array.reshape(lead + self.reshaped[name])
        return pb_utils.Tensor(name, encode(array) if self.outputs[name].type == "TYPE_STRING" else array)


def failed(error: Exception) -> pb_utils.InferenceResponse:
    theirs = isinstance(error, ValueError | ort_state.InvalidArgument)
    code = pb_utils.TritonError.INVALID_ARG if theirs else pb_utils.TritonError.INTERNAL
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(str(error), code))

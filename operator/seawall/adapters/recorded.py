"""One revision as it is asked over Triton's gRPC protocol: recorded inputs, batch by batch, pod by pod.

A server that does not answer says nothing about its model, and neither does one that is asked too much; what
a model refuses is told apart from that by gRPC's codes.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from tritonclient.grpc import InferInput, InferResult
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from seawall.adapters.synthetic import Arrays, Model, Refused, Tensor, WrongAnswer, decode_any, read_model
from seawall.canary.samples import matched
from seawall.ports import NoAnswer

CALL_SECONDS = 30.0
ROUNDS = 4
WAIT = 0.5
ROWS = 8
"""of one request; the stable pods serve clients meanwhile"""
BATCH_BYTES = 4 * 2**20
MOST_ANSWER_BYTES = 64 * 2**20
GOLDEN = "the golden set"
REFUSALS = frozenset(
    f"StatusCode.{code}"
    for code in (
        "INVALID_ARGUMENT", "INTERNAL", "UNKNOWN", "UNIMPLEMENTED", "FAILED_PRECONDITION", "OUT_OF_RANGE"
    )
)  # fmt: skip
"""Answers about the question rather than about the server's state."""
CHANNEL = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a pod that was refused once is not held back by its past
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", MOST_ANSWER_BYTES),
)


class Unusable(Exception):
    """Nothing can be concluded; the message says why."""


@dataclass(frozen=True, slots=True)
class _Spec:
    name: str
    dtype: str
    shape: tuple[int | None, ...]


class _Answer:
    """gRPC's answer, described as HTTP's is."""

    def __init__(self, result: InferResult) -> None:
        self._result = result

    def get_output(self, name: str) -> Mapping[str, Any] | None:
        response = self._result.get_response()
        for index, output in enumerate(response.outputs):
            if output.name == name:
                raw = response.raw_output_contents
                size = len(raw[index]) if index < len(raw) else None
                return {
                    "datatype": output.datatype,
                    "shape": list(output.shape),
                    "parameters": {} if size is None else {"binary_data_size": size},
                }
        return None

    def as_numpy(self, name: str) -> Any:
        return self._result.as_numpy(name)


class Arm:
    """One revision: its pods, asked in turn, and the inputs as it takes them."""

    model: Model

    def __init__(self, what: str, name: str, addresses: tuple[str, ...], stack: AsyncExitStack) -> None:
        self._what = what
        self._name = name
        self._clients = [
            (address, InferenceServerClient(address, channel_args=CHANNEL)) for address in addresses
        ]
        for _, client in self._clients:
            stack.push_async_callback(client.close)
        self._turn = 0
        self._inputs: Arrays = {}

    async def describe(self) -> None:
        try:
            config = await self._ask(
                lambda c, t: c.get_model_config(self._name, as_json=True, client_timeout=t)
            )
            metadata = await self._ask(
                lambda c, t: c.get_model_metadata(self._name, as_json=True, client_timeout=t)
            )
            self.model = read_model(config["config"], metadata)
        except Refused as refused:
            raise NoAnswer(f"{self._what} does not describe its model: {refused}") from refused
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NoAnswer(f"{self._what} does not follow the inference protocol: {error!r}") from error
        if self.model.decoupled:
            raise Unusable("a decoupled model answers on streams only; its answers cannot be compared")

    @property
    def samples(self) -> int:
        return len(next(iter(self._inputs.values())))

    @property
    def rows(self) -> int:
        """of one request"""
        if self.model.sequence or self.model.max_batch_size == 0:
            return 1
        each = sum(int(array[:1].nbytes) for array in self._inputs.values())
        return max(1, min(self.model.max_batch_size, ROWS, BATCH_BYTES // max(each, 1)))

    def fit(self, arrays: Arrays, size: int) -> Any:
        """Takes the first inputs; their labels, if there are some."""
        batched = self.model.max_batch_size > 0
        specs = [_spec(tensor, arrays, batched=batched) for tensor in self.model.inputs]
        inputs, labels = matched(arrays, specs, GOLDEN, batched=batched)
        self._inputs = {name: array[:size] for name, array in inputs.items()}
        return None if labels is None else labels[:size]

    async def answer(self, first: int, last: int, *, reverse: bool = False) -> Arrays:
        """One row per input. Raises Refused, WrongAnswer and NoAnswer."""
        batched = self.model.max_batch_size > 0
        step = -1 if reverse else 1
        asked = {
            name: np.ascontiguousarray(array[first:last][::step]) if batched else array[first]
            for name, array in self._inputs.items()
        }
        inputs = [_encoded(tensor, asked[tensor.name]) for tensor in self.model.inputs]
        result = await self._ask(
            lambda client, seconds: client.infer(
                self._name, inputs, client_timeout=seconds, **_sequence(self.model)
            )
        )
        try:
            found = decode_any(self.model, _Answer(result), last - first)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise WrongAnswer(f"the answer does not follow the inference protocol: {error!r}") from error
        if batched:
            return {name: array[::step] for name, array in found.items()}
        return {name: _as_row(array) for name, array in found.items()}

    async def _ask(self, call: Callable[[Any, float], Awaitable[Any]]) -> Any:
        """Of one pod, and where it does not answer of the others, all of them a few times."""
        trouble, first = "", self._turn
        self._turn += 1
        for attempt in range(ROUNDS * len(self._clients)):
            again, place = divmod(attempt, len(self._clients))
            if again and place == 0:
                await asyncio.sleep(WAIT * 2 ** (again - 1))
            address, client = self._clients[(first + place) % len(self._clients)]
            try:
                return await call(client, CALL_SECONDS)
            except InferenceServerException as error:
                if error.status() in REFUSALS:
                    raise Refused(_words(error)) from error
                trouble = f"{address}: {_words(error)}"
            except asyncio.CancelledError:
                # grpc says so too when it is the server that gives the request up.
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise
                trouble = f"{address}: the server gave the request up"
        raise NoAnswer(f"{self._what} does not answer: {trouble}")


def _spec(tensor: Tensor, arrays: Mapping[str, Any], *, batched: bool) -> _Spec:
    shape: tuple[int | None, ...] = tuple(None if d < 0 else d for d in tensor.shape)
    given = arrays.get(tensor.name)
    if not batched and shape[:1] == (None,) and given is not None and given.ndim == len(shape):
        shape = (1, *shape[1:])  # whose first axis can only be the sample
    if tensor.datatype == "BYTES":
        return _Spec(tensor.name, "object", shape)
    dtype = triton_to_np_dtype(tensor.datatype)
    if dtype is None:
        raise Unusable(f"input {tensor.name} has the unknown datatype {tensor.datatype}")
    return _Spec(tensor.name, np.dtype(dtype).name, shape)


def _encoded(tensor: Tensor, array: Any) -> InferInput:
    encoded = InferInput(tensor.name, list(array.shape), tensor.datatype)
    encoded.set_data_from_numpy(array)
    return encoded


def _sequence(model: Model) -> dict[str, Any]:
    """Every input is a sequence of its own, and none that a client may have begun."""
    if not model.sequence:
        return {}
    return {"sequence_id": 1 + secrets.randbits(62), "sequence_start": True, "sequence_end": True}


def _as_row(array: Any) -> Any:
    return array if array.ndim > 1 and array.shape[0] == 1 else array[np.newaxis]


def _words(error: InferenceServerException) -> str:
    return error.message() or str(error.status())

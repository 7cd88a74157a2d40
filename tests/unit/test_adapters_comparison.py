"""Golden sets put to two small servers that speak Triton's gRPC protocol: right, subtly wrong, noisy, late, gone."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import socket
from typing import Any

import grpc
import numpy as np
import pytest

from seawall.adapters import comparison, recorded
from seawall.adapters.triton import TritonInference
from seawall.decide.types import ComparisonRequest
from seawall.ports import NoAnswer
from support.golden import npz
from support.tritongrpc import DIGITS, Failure, GrpcTriton

pytestmark = pytest.mark.long

RNG = np.random.default_rng(3)
X = RNG.normal(size=(300, 4)).astype(np.float32)
LABELS = np.argmax(X, axis=1)
GOLDEN = npz(image=X)
LABELLED = npz(image=X, labels=LABELS)


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "WAIT", 0.01)


def request(stable: Any, candidate: Any, **changes: Any) -> ComparisonRequest:
    def several(addresses: Any) -> tuple[str, ...]:
        return (addresses,) if isinstance(addresses, str) else tuple(addresses)

    asked = {
        "rollout": "3-abc", "step": 0, "model": "digits", "stable": "old", "candidate": "new",
        "stable_addresses": several(stable), "candidate_addresses": several(candidate), "config_map": "golden",
        "size": None, "metric": None, "max_disagreement": 0.01, "alpha": 0.01, "beta": 0.05,
    }  # fmt: skip
    return ComparisonRequest(**(asked | changes))


async def compared(stable: GrpcTriton, candidate: GrpcTriton, golden: bytes = GOLDEN, **changes: Any) -> Any:
    async with stable.serving() as one, candidate.serving() as other:
        return await TritonInference().compare(request(one, other, **changes), golden)


def answering(compute: Any, **config: Any) -> GrpcTriton:
    return model(compute, config=config)


def model(compute: Any = None, *, config: Any = None, inputs: Any = None, outputs: Any = None) -> GrpcTriton:
    told = copy.deepcopy(DIGITS)
    told["config"].update(config or {})
    told["metadata"].update({k: v for k, v in (("inputs", inputs), ("outputs", outputs)) if v is not None})
    return GrpcTriton(model=told, **({"compute": compute} if compute else {}))


def changed(change: Any) -> Any:
    return lambda inputs, _call: {"scores": np.ascontiguousarray(change(inputs["image"]))}


def permuted(x: Any) -> Any:
    return x[:, [1, 2, 3, 0]]


def third_class_never_wins(x: Any) -> Any:
    """Right three times in four."""
    out = x.copy()
    out[:, 2] -= 100
    return out


def rounded(x: Any) -> Any:
    return x * np.float32(1.001) + np.float32(0.001)


def softmax(x: Any) -> Any:
    e = np.exp(x)
    return (e / e.sum(axis=1, keepdims=True)).astype(np.float32)


def sometimes(share: float, seed: int = 0) -> Any:
    """Another class for some of the rows, other ones each time."""
    random = np.random.default_rng(seed)

    def change(x: Any) -> Any:
        out = x.copy()
        rows = random.random(len(x)) < share
        out[rows] = -out[rows]
        return out

    return changed(change)


def not_a_number(x: Any) -> Any:
    out = x.copy()
    out[x[:, 0] > 0, 1] = np.nan
    return out


def refuses(code: grpc.StatusCode, words: str, when: Any = None) -> Any:
    def compute(inputs: Any, call: int) -> Any:
        if when is None or when(inputs["image"], call):
            raise Failure(code, words)
        return {"scores": inputs["image"]}

    return compute


def busy_at_first() -> Any:
    """Every question is turned away when it comes for the first time."""
    seen = set()

    def first_time(x: Any, _call: int) -> bool:
        known = x.tobytes() in seen
        seen.add(x.tobytes())
        return not known

    return refuses(UNAVAILABLE, "queue full", first_time)


def until(number: int, reached: asyncio.Event) -> Any:
    def compute(inputs: Any, call: int) -> Any:
        if call == number:
            reached.set()
        return {"scores": inputs["image"]}

    return compute


def named(**arrays: Any) -> Any:
    return lambda inputs, _call: {name: make(inputs["image"]) for name, make in arrays.items()}


INTERNAL, UNAVAILABLE = grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE
PYTHON = {"platform": "python", "backend": "python"}
OUTPUT = {"name": "scores", "datatype": "FP32", "shape": [-1, 4]}

CASES: dict[str, tuple[GrpcTriton, GrpcTriton, dict[str, Any], str, str]] = {
    # stable, candidate, changes to the request and the golden set -> verdict, words
    "the same": (GrpcTriton(), GrpcTriton(), {}, "Pass", "cosine: 0 of 300 answers differ, which shows 0.99% at most"),
    "the same with labels": (
        GrpcTriton(), GrpcTriton(), {"golden": LABELLED}, "Pass",
        "; 100.0% are right and were 100.0% before (0 lost, 0 won)",
    ),
    "a rounding apart": (GrpcTriton(), answering(changed(rounded)), {}, "Pass", "cosine: 0 of 300"),
    "a rounding apart, by relative error": (
        GrpcTriton(), answering(changed(rounded)), {"metric": "relative-error"}, "Pass", "relative-error: 0 of",
    ),
    "too large, in the same direction": (
        GrpcTriton(), answering(changed(lambda x: x * np.float32(1.5))), {"metric": "relative-error"}, "Fail",
        "relative-error: 300 of 300",
    ),
    "classes permuted": (GrpcTriton(), answering(changed(permuted)), {}, "Fail", "cosine: "),
    "classes permuted, by decisions": (
        GrpcTriton(), answering(changed(permuted)), {"metric": "top1"}, "Fail", "top1: 300 of 300 answers differ",
    ),
    "one class lost, shares": (
        answering(changed(softmax)), answering(changed(lambda x: softmax(third_class_never_wins(x)))), {}, "Fail", "top1: ",
    ),
    "one class lost, with labels": (
        GrpcTriton(), answering(changed(third_class_never_wins)), {"golden": LABELLED, "max_disagreement": 0.5},
        "Fail", "the candidate is less accurate beyond chance",
    ),
    "too few samples": (
        GrpcTriton(), GrpcTriton(), {"size": 100}, "Unknown",
        "cosine: 0 of 100 answers differ, which shows 3% at most; 299 samples show 1%",
    ),
    "NaN in some": (GrpcTriton(), answering(changed(not_a_number)), {}, "Fail", "answers differ"),
    "infinite": (
        GrpcTriton(), answering(changed(lambda x: x + np.float32(np.inf))), {}, "Fail", "300 of 300",
    ),
    "stable answers NaN": (
        answering(changed(not_a_number)), GrpcTriton(), {}, "Unknown", "the stable revision itself answers NaN",
    ),
    "stable is noise": (
        answering(sometimes(0.2), **PYTHON), answering(sometimes(0.2, 1), **PYTHON), {"metric": "top1"}, "Unknown",
        "not repeatable enough to compare with",
    ),
    "a little noise, and a candidate that is wrong": (
        answering(sometimes(0.003), **PYTHON), answering(changed(permuted), **PYTHON), {"metric": "top1"}, "Fail", "top1: ",
    ),
    "every answer refused": (
        GrpcTriton(), answering(refuses(INTERNAL, "onnx runtime error 2:\n bad Gather")), {"size": 20}, "Fail",
        "20 of them got no answer: onnx runtime error 2: bad Gather",
    ),
    "some inputs refused": (
        GrpcTriton(), answering(refuses(INTERNAL, "overflow", lambda x, _: bool((x[:, 0] > 1.5).any()))), {}, "Fail",
        f"; {int((X[:, 0] > 1.5).sum())} of them got no answer: overflow",
    ),
    "refused once": (
        GrpcTriton(), answering(refuses(INTERNAL, "hiccup", lambda _, call: call % 50 == 7)), {}, "Pass", "0 of 300",
    ),
    "refused once, one at a time": (
        GrpcTriton(),
        answering(refuses(INTERNAL, "hiccup", lambda _, call: call % 50 == 7), max_batch_size=1),
        {}, "Pass", "0 of 300",
    ),
    "stable refuses": (
        answering(refuses(INTERNAL, "bad Gather")), GrpcTriton(), {}, "Unknown",
        "the stable revision refuses these inputs: bad Gather",
    ),
    "busy at first": (
        GrpcTriton(), answering(busy_at_first()), {}, "Pass", "0 of",
    ),
    "an output gone": (
        GrpcTriton(),
        model(named(points=lambda x: x), outputs=[OUTPUT | {"name": "points"}]),
        {"size": 20}, "Fail", "20 of them got no answer: it has no output scores",
    ),
    "an output more": (
        GrpcTriton(),
        model(named(scores=lambda x: x, points=lambda x: x), outputs=[OUTPUT, OUTPUT | {"name": "points"}]),
        {}, "Pass", "0 of 300",
    ),
    "other shapes": (
        GrpcTriton(),
        model(named(scores=lambda x: x[:, :3].copy()), outputs=[OUTPUT | {"shape": [-1, 3]}]),
        {"size": 20}, "Fail", "20 of 20 answers differ",
    ),
    "words for numbers": (
        GrpcTriton(),
        model(
            named(scores=lambda x: np.full(x.shape, b"cat", np.object_)), outputs=[OUTPUT | {"datatype": "BYTES"}]
        ),
        {"size": 20}, "Fail", "20 of 20 answers differ",
    ),
    "an answer cut short": (
        GrpcTriton(),
        GrpcTriton(tamper=lambda answer: answer.raw_output_contents.__setitem__(0, b"")),
        {"size": 20}, "Fail", "20 of them got no answer: output scores has 0 bytes of data",
    ),
    "one row for all": (
        GrpcTriton(), answering(changed(lambda x: x[:1])), {"size": 16}, "Fail", "has shape [1, 4], declared [8, 4]",
    ),
    "decoupled": (
        GrpcTriton(), model(config={"model_transaction_policy": {"decoupled": True}}), {}, "Unknown", "on streams only",
    ),
    "the golden set is for another model": (
        GrpcTriton(), GrpcTriton(), {"golden": npz(tokens=X)}, "Unknown", "the golden set has no array image; found are tokens",
    ),
    "the candidate wants another input": (
        GrpcTriton(),
        model(inputs=[*DIGITS["metadata"]["inputs"], {"name": "mask", "datatype": "FP32", "shape": [-1, 4]}]),
        {}, "Unknown", "the golden set has no array mask",
    ),
    "the golden set is no .npz": (
        GrpcTriton(), GrpcTriton(), {"golden": b"\0" * 100}, "Unknown", "the golden set is no readable .npz file",
    ),
    "labels for a model of several decisions": (
        answering(changed(lambda x: np.stack([x, x], axis=1))), GrpcTriton(), {"golden": LABELLED}, "Unknown",
        "the stable revision answers wrong: output scores has shape",
    ),
    "labels for positions": (
        model(changed(lambda x: np.stack([x, x], axis=1)), outputs=[OUTPUT | {"shape": [-1, 2, 4]}]),
        GrpcTriton(), {"golden": LABELLED}, "Unknown", "labels need a model with one decision per sample",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("stable", "candidate", "changes", "verdict", "words"), CASES.values(), ids=CASES.keys()
)
async def test_verdicts(stable: Any, candidate: Any, changes: Any, verdict: str, words: str) -> None:
    found = await compared(stable, candidate, **changes)
    assert (found.revision, found.verdict) == ("new", verdict), found.message
    assert words in found.message
    assert "\n" not in found.message
    assert len(found.message) <= 512


async def test_every_input_is_asked_once_and_of_the_stable_revision_twice_in_other_batches() -> None:
    stable, candidate = GrpcTriton(), GrpcTriton()
    found = await compared(stable, candidate, npz(image=X[:30]))
    assert found.verdict == "Unknown"
    assert sorted(len(b["image"]) for b in candidate.batches) == [6, 8, 8, 8]
    asked = np.concatenate([b["image"] for b in candidate.batches])
    assert sorted(map(tuple, asked)) == sorted(map(tuple, X[:30]))
    twice = [b["image"].tobytes() for b in stable.batches]
    assert len(twice) == 8
    assert len(set(twice)) == 8, "a response cache would have answered"


@pytest.mark.parametrize("limit", [0, 1])
async def test_models_without_batches_get_one_input_at_a_time(limit: int) -> None:
    servers = [model(config={"max_batch_size": limit}) for _ in range(2)]
    found = await compared(*servers, npz(image=X[:20], labels=LABELS[:20]))
    assert found.message.startswith("top1: 0 of 20 answers differ")
    assert "; 100.0% are right" in found.message
    assert {b["image"].shape for s in servers for b in s.batches} == {(1, 4)}


async def test_a_model_that_has_lost_its_batches_is_still_compared() -> None:
    found = await compared(GrpcTriton(), model(config={"max_batch_size": 0}))
    assert found.verdict == "Pass", found.message


async def test_sequences_are_of_one_input_and_never_share_an_id() -> None:
    servers = [model(config={"sequence_batching": {}}) for _ in range(2)]
    found = await compared(*servers, npz(image=X[:10]))
    assert "0 of 10" in found.message
    said = [s for server in servers for s in server.sequences]
    assert len({number for number, _, _ in said}) == 30
    assert {flags for _, *flags in map(tuple, said) for flags in [tuple(flags)]} == {(True, True)}


async def test_words_and_small_numbers_travel() -> None:
    inputs = [
        {"name": "text", "datatype": "BYTES", "shape": [-1, 1]},
        {"name": "half", "datatype": "FP16", "shape": [-1, 2]},
        {"name": "brain", "datatype": "BF16", "shape": [-1, 2]},
        {"name": "flag", "datatype": "BOOL", "shape": [-1, 1]},
    ]

    def label(inputs: Any, _call: int) -> Any:
        return {"label": np.array([[b"cat"]], np.object_)}

    told = {"config": {"max_batch_size": 1}, "inputs": inputs}
    servers = [
        model(label, outputs=[{"name": "label", "datatype": "BYTES", "shape": [-1, 1]}], **told)
        for _ in range(2)
    ]
    golden = npz(
        text=np.array([["sea"], ["wall"]]),
        half=np.ones((2, 2)),
        brain=np.ones((2, 2)),
        flag=np.ones((2, 1), bool),
    )
    found = await compared(*servers, golden)
    assert found.message.startswith("top1: 0 of 2 answers differ"), found.message
    assert {bytes(b["text"][0])[4:] for b in servers[1].batches} == {b"sea", b"wall"}


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        gone = f"127.0.0.1:{taken.getsockname()[1]}"
        async with GrpcTriton().serving() as alive:
            with pytest.raises(NoAnswer, match=f"the candidate does not answer: {gone}: "):
                await comparison.compare(request(alive, gone), GOLDEN)
            with pytest.raises(NoAnswer, match="the stable revision does not answer"):
                await comparison.compare(request(gone, alive), GOLDEN)
            found = await comparison.compare(request([gone, alive], [alive, gone]), GOLDEN)
            assert found.verdict == "Pass", "the other pod answers"


@pytest.mark.parametrize("code", [UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.RESOURCE_EXHAUSTED])
async def test_a_server_that_is_always_busy(code: grpc.StatusCode) -> None:
    with pytest.raises(NoAnswer, match="the candidate does not answer"):
        await compared(GrpcTriton(), answering(refuses(code, "Exceeds maximum queue size")))


async def test_another_model_lives_there_now() -> None:
    other = model()
    other.model["metadata"]["name"] = "other"
    with pytest.raises(NoAnswer, match="unknown model"):
        await compared(GrpcTriton(), other)


async def test_a_server_that_goes_in_the_middle() -> None:
    async with GrpcTriton().serving() as stable:
        reached = asyncio.Event()
        candidate = GrpcTriton(delay=0.02, compute=until(3, reached))
        serving = contextlib.AsyncExitStack()
        address = await serving.enter_async_context(candidate.serving())
        asked = asyncio.create_task(comparison.compare(request(stable, address), GOLDEN))
        await reached.wait()
        await serving.aclose()
        with pytest.raises(NoAnswer, match="the candidate does not answer"):
            await asked


async def test_a_server_that_takes_too_long() -> None:
    async with GrpcTriton().serving() as stable, GrpcTriton(delay=60).serving() as late:
        with pytest.raises(NoAnswer, match=r"no answer within 0\.5 s"):
            await comparison.compare(request(stable, late), GOLDEN, seconds=0.5)
    async with GrpcTriton().serving() as stable, GrpcTriton(delay=0.1).serving() as slow:
        found = await comparison.compare(request(stable, slow), GOLDEN, seconds=0.7)
    assert found.verdict == "Unknown"
    assert "of 300 inputs were compared within 0.7 s" in found.message


async def test_what_is_given_up_is_cancelled_on_the_servers() -> None:
    late = GrpcTriton(delay=60)
    async with GrpcTriton().serving() as stable, late.serving() as address:
        asked = asyncio.create_task(comparison.compare(request(stable, address), GOLDEN))
        await asyncio.sleep(0.3)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        for _ in range(200):
            if late.given_up:
                break
            await asyncio.sleep(0.01)
    assert late.given_up == 1

"""Every reader of bytes that somebody else wrote: whatever comes, it answers, or refuses in its own words.

Each row has a sound example. It is cut, flipped, doubled and nested, and where it is JSON, rearranged. What may come
out is an answer or the reader's own exception; anything else would be a crash that a stranger can cause.
"""

from __future__ import annotations

import base64
import io
import json
import random
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall.adapters import comparator, live, metrics_text, promql
from seawall.adapters.synthetic import read_model
from seawall.api.units import parse_duration
from seawall.canary import kept, record, samples
from seawall.cli import manifests
from seawall.decide import build_result
from seawall.fetch import archive, artifact, modelconfig, onnxmodel, order, signature
from seawall.fetch.problem import FetchProblem
from seawall.metricsapi import frontproxy, selector
from seawall.simulate import traces
from seawall.sizing.profile import PodProfile, ProfileError
from support.fuzz import EXAMPLES

pytestmark = pytest.mark.long

EXPOSITION = """\
nv_inference_request_success{model="digits",version="1"} 12
nv_inference_first_response_histogram_ms_bucket{model="digits",version="1",le="19"} 11
nv_inference_first_response_histogram_ms_bucket{model="digits",version="1",le="+Inf"} 12
nv_energy_consumption{gpu_uuid="GPU-1"} 3.5
"""
VECTOR = [{"metric": {"__name__": "nv_inference_count", "pod": "a", "namespace": "b"}, "value": [1.5, "12"]}]
WINDOW = {
    "windowEnd": 1800000015,
    "stable": {"requests": 675, "slow": 6, "errors": 0, "readyPods": 9},
    "candidate": {"requests": 75, "slow": 1, "errors": 0, "metrics": {"mine": {"bad": 1, "total": 9}}},
}
PROFILE = {
    "accelerator": "cpu", "instances": 1, "maxBatchSize": 4, "maxQueueDelayMs": 0, "overheadMs": 0.5,
    "coldStartSeconds": 60, "batches": [{"size": 1, "meanMs": 7.0, "stdMs": 0.2}],
}  # fmt: skip
DIGEST = "sha256:" + "0" * 64
RESULT = {
    "result": {"preset": "int8", "originalBytes": 9, "compressedBytes": 3},
    "artifact": {"uri": "s3://store/a", "digest": DIGEST, "format": "onnx"},
    "versions": {"onnx": "1.20"},
}
ENVELOPE = {
    "payload": base64.b64encode(b"{}").decode(),
    "payloadType": signature.PAYLOAD_TYPE,
    "signatures": [{"sig": base64.b64encode(b"x" * 64).decode(), "keyid": "1"}],
}
MANIFEST = {
    "_type": artifact.STATEMENT_TYPE,
    "predicateType": artifact.PREDICATE_TYPE,
    "subject": [{"name": "model.onnx", "digest": {"sha256": "0" * 64}, "annotations": {"bytes": 3}}],
    "predicate": {"layout": {"kind": "onnx"}},
}
ORDER = {"name": "digits", "uri": "pvc://models/digits.onnx", "format": "onnx", "tritonVersion": "24.10"}
HEADERS = "requestheader-username-headers"
PROXY = {"requestheader-client-ca-file": "", "requestheader-allowed-names": '["front"]'}
ANSWER = (
    b'{"outputs":[{"name":"scores","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}]}'
)
METADATA = {
    "name": "digits",
    "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 8]}],
    "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 10]}],
}
PBTXT = b'backend: "onnxruntime"\nmax_batch_size: 8\ninput [{ name: "x" data_type: TYPE_FP32 dims: [8] }]\n'
TRACE = b"timestamp\n1800000000\n1800000000.5\n1800000001\n"
COUNTS = b"period,count\n0,10\n1,12\n2,9\n"


def npz() -> bytes:
    made = io.BytesIO()
    np.savez_compressed(made, image=np.zeros((8, 4), np.float32), labels=np.arange(8))
    return made.getvalue()


def tar() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as out:
        for name, kind in (("1/model.onnx", tarfile.REGTYPE), ("1", tarfile.DIRTYPE), ("x", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "../../etc"
            member.size = 3 if kind == tarfile.REGTYPE else 0
            out.addfile(member, io.BytesIO(b"abc"))
    return made.getvalue()


def onnx_file() -> bytes:
    from onnx import TensorProto, helper

    tensors = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 4]) for n in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", tensors[:1], tensors[1:])
    return bytes(helper.make_model(graph).SerializeToString())


def in_a_file(read: Callable[[Path], object], name: str) -> Callable[[bytes], object]:
    def reading(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            return read(path)

    return reading


def unpacked(path: Path) -> None:
    target = path.parent / "out"
    target.mkdir()
    archive.unpack(path, target, order.Budget(2**20, 60.0, time.monotonic))
    outside = [
        each for each in path.parent.rglob("*") if target not in (each, *each.parents) and each != path
    ]
    assert not outside, "an archive wrote beside its folder"
    assert not [each for each in target.rglob("*") if each.is_symlink()], "a link came through"


def text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: read(data.decode("utf-8", "replace"))


def document(read: Callable[[Any], object]) -> Callable[[bytes], object]:
    """Of JSON that a library has read already: what is no JSON is that library's business."""

    def reading(data: bytes) -> object:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return None
        return read(value)

    return reading


def told(value: Any) -> object:
    found = promql.read_result(value)
    return promql.pod_samples(found, []), promql.gateway_samples(found)


@dataclass(frozen=True)
class Reader:
    read: Callable[[bytes], object]
    sound: bytes
    refuses: tuple[type[Exception], ...]


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


READERS = {
    "Triton's metrics": Reader(
        text(lambda t: metrics_text.pod_sample("p", 1.0, "digits", metrics_text.read_text(t))),
        EXPOSITION.encode(),
        (metrics_text.Unreadable,),
    ),
    "Prometheus' answer": Reader(document(told), as_json(VECTOR), (promql.Garbled,)),
    "recorded windows": Reader(
        text(lambda t: list(record.read(t.splitlines()))), as_json(WINDOW), (record.Unreadable,)
    ),
    "a profile": Reader(document(PodProfile.parse), as_json(PROFILE), (ProfileError,)),
    "a build's result": Reader(
        text(lambda t: build_result.parse_result(t, "s3://store")), as_json(RESULT), (build_result.BadResult,)
    ),
    "a build's refusal": Reader(
        text(build_result.parse_refusal), as_json({"reason": "Unproven", "message": "x"}), ()
    ),
    "a signature": Reader(
        lambda data: signature.require_signature(b"{}", data, []), as_json(ENVELOPE), (FetchProblem,)
    ),
    "an artefact's manifest": Reader(artifact.read_manifest, as_json(MANIFEST), (ValueError,)),
    "an order to fetch": Reader(text(order.parse_order), as_json(ORDER), (FetchProblem,)),
    "a model's own config.pbtxt": Reader(
        text(lambda t: modelconfig.from_text(t, "config.pbtxt")), PBTXT, (FetchProblem,)
    ),
    "an ONNX model": Reader(in_a_file(onnxmodel.inspect, "m.onnx"), onnx_file(), (FetchProblem,)),
    "an archive": Reader(in_a_file(unpacked, "a.tar.gz"), tar(), (FetchProblem,)),
    "recorded inputs": Reader(
        lambda data: samples.read(io.BytesIO(data), "it", 2**20), npz(), (samples.Unfit,)
    ),
    "a label selector": Reader(
        text(lambda t: selector.selects(t, {"a": "b"})), b"a=b,c notin (d,e),!f", (selector.BadSelector,)
    ),
    "the front proxy's settings": Reader(
        text(lambda names: frontproxy.FrontProxy.of({"data": {**PROXY, HEADERS: names}})),
        b'["X-Remote-User"]',
        (frontproxy.NotPublished,),
    ),
    "manifests": Reader(
        text(lambda t: list(manifests.load(t))), b"a: {b: [1, 2]}\n---\nc: d\n", (ValueError,)
    ),
    "a comparator's order": Reader(
        text(comparator.read_order), as_json({"order": "1", "stable": "http://a:1"}), (comparator.BadOrder,)
    ),
    "a revision's answer": Reader(
        lambda data: live.decoded(data + b"\0" * 8, str(len(data))), ANSWER, live.BROKEN
    ),
    "a model's metadata": Reader(
        document(lambda v: read_model({}, v)), as_json(METADATA), (ValueError, KeyError, TypeError)
    ),
    "kept evidence": Reader(
        document(lambda v: kept.restore_both([str(each) for each in v]) if isinstance(v, list) else None),
        as_json(["1"] * kept.BOTH_LENGTH),
        (ValueError,),
    ),
    "a trace": Reader(in_a_file(traces.read, "t.csv"), TRACE, (traces.TraceError,)),
    "a trace of counts": Reader(
        in_a_file(lambda p: traces.read(p, period=1.0), "t.csv"), COUNTS, (traces.TraceError,)
    ),
    "a duration": Reader(text(parse_duration), b"20ms", (ValueError,)),
}
ODD = (
    b"", b"\0", b"\xff\xfe", b"[" * 20000, b'{"a":' * 20000, b"{}", b"[]", b"null", b"1e999", b"NaN", b'"\\ud800"',
    b"-" * 5000, b"9" * 5000, "٣".encode(),
)  # fmt: skip
VALUES = (None, True, -1, 10**400, 1e308, float("nan"), "", "\0", "a" * 3000, [], {}, [[]], {"": {}})


def rearranged(value: Any, chance: random.Random) -> Any:
    """A JSON value with one part of it replaced, left out or told twice."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        name = chance.choice(sorted(value))
        changed = dict(value)
        if chance.random() < 0.2:
            del changed[name]
        else:
            changed[name] = rearranged(value[name], chance)
        return changed
    if isinstance(value, list) and value and chance.random() < 0.8:
        place = chance.randrange(len(value))
        return [*value[:place], rearranged(value[place], chance), *value[place + chance.randint(0, 1) :]]
    return chance.choice(VALUES)


def damaged(sound: bytes, seed: int) -> bytes:
    chance = random.Random(seed)  # noqa: S311
    if chance.random() < 0.5:
        try:
            return as_json(rearranged(json.loads(sound), chance))
        except ValueError:
            pass
    data = bytearray(sound)
    for _ in range(chance.randint(1, 4)):
        place, size = chance.randrange(len(data) + 1), chance.randint(1, 9)
        how = chance.randrange(4)
        if how == 0:
            del data[place : place + size]
        elif how == 1:
            data[place:place] = chance.randbytes(size)
        elif how == 2:
            data[place:place] = data[place : place + 40] * size
        else:
            data[place : place + size] = chance.randbytes(size)
    return bytes(data)


def survives(reader: Reader, data: bytes) -> None:
    try:
        reader.read(data)
    except reader.refuses:
        return


@pytest.mark.parametrize("name", READERS)
def test_the_sound_example_is_read_or_refused_in_its_own_words(name):
    survives(READERS[name], READERS[name].sound)


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd[:8]))
@pytest.mark.parametrize("name", READERS)
def test_odd_bytes(name, odd):
    survives(READERS[name], odd)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=max(50, EXAMPLES // 6))
@given(st.integers(0, 2**32))
def test_damaged_bytes(name, seed):
    survives(READERS[name], damaged(READERS[name].sound, seed))

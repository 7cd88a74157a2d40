"""Bad models, bad data and bad buckets, as the command line and the Job's first container meet them.

Each ends in one clear sentence with its reason, and leaves nothing in the store.
"""

from __future__ import annotations

import argparse
import io
import os
import pickle
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnx
import pytest

from seawall.__main__ import parser
from seawall.cli import optimize
from seawall.decide.build_result import parse_refusal
from seawall.optimize import job
from support import builds

pytestmark = pytest.mark.long

BOMB_BYTES = 3 << 30
TINY_NODE = """\
apiVersion: serving.seawall.dev/v1alpha1
kind: AcceleratorClass
metadata: {name: tiny}
spec: {type: cpu, memory: 10Ki, precisions: [fp32, int8]}
"""


class Touch:
    """Runs code when it is unpickled: the file that it makes would show it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return (open, (str(self.path), "w"))


@dataclass
class Given:
    folder: Path
    model: Path
    data: Path
    environment: pytest.MonkeyPatch

    @property
    def touched(self) -> Path:
        return self.folder / "unpickled"


Spoil = Callable[[Given], Sequence[str]]
"""Spoils what is given; returns further arguments, the last of each kind counts."""


def truncated(given: Given) -> Sequence[str]:
    given.model.write_bytes(given.model.read_bytes()[:-2000])
    return ()


def wrong_digest(given: Given) -> Sequence[str]:
    return ("--sha256", "0" * 64)


def noise(given: Given) -> Sequence[str]:
    given.model.write_bytes(np.random.default_rng(0).bytes(5000))
    return ()


def page(given: Given) -> Sequence[str]:
    given.model.write_text("<html>please log in</html>")
    return ()


def empty(given: Given) -> Sequence[str]:
    given.model.write_bytes(b"")
    return ()


def checkpoint(given: Given) -> Sequence[str]:
    path = given.folder / "model.pt"
    path.write_bytes(pickle.dumps(Touch(given.touched)))
    return ("--model", str(path), "--format", "torch")


def trapped_program(given: Given) -> Sequence[str]:
    path = given.folder / "model.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps(Touch(given.touched)))
    return ("--model", str(path))


def changed(given: Given, change: Callable[[onnx.ModelProto], object]) -> Sequence[str]:
    model = onnx.load(given.model)
    change(model)
    given.model.write_bytes(model.SerializeToString())
    return ()


def custom_op(given: Given) -> Sequence[str]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node[0].op_type, model.graph.node[0].domain = "FlashConv", "com.example"
        model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))

    return changed(given, change)


def outside(location: str) -> Spoil:
    def spoil(given: Given) -> Sequence[str]:
        def change(model: onnx.ModelProto) -> None:
            tensor = model.graph.initializer[0]
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.ClearField("raw_data")
            tensor.external_data.add(key="location", value=location)

        return changed(given, change)

    return spoil


def bomb_of_data(given: Given) -> Sequence[str]:
    """The directory of the zip tells 3 GiB, of some hundred bytes."""
    with zipfile.ZipFile(given.data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image.npy", b"\0" * 100_000)
    raw = bytearray(given.data.read_bytes())
    at = raw.rindex(b"PK\x01\x02") + 24
    raw[at : at + 4] = BOMB_BYTES.to_bytes(4, "little")
    given.data.write_bytes(raw)
    return ()


def bomb_of_archive(given: Given) -> Sequence[str]:
    path = given.folder / "model.onnx.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("model.onnx")
        member.size = 20_000_000
        archive.addfile(member, io.BytesIO(b"\0" * member.size))
    return ("--model", str(path), "--format", "onnx")


def tiny_node(given: Given) -> Sequence[str]:
    classes = given.folder / "classes.yaml"
    classes.write_text(TINY_NODE)
    return ("--classes", str(classes), "--target", "tiny")


def data(**changes: Callable[[np.ndarray], np.ndarray]) -> Spoil:
    def spoil(given: Given) -> Sequence[str]:
        with np.load(given.data) as stored:
            arrays = {name: stored[name] for name in stored.files}
        np.savez(given.data, **{name: changes.get(name, lambda a: a)(a) for name, a in arrays.items()})
        return ()

    return spoil


def with_nan(images: np.ndarray) -> np.ndarray:
    images[3] = np.nan
    return images


def pickled_data(given: Given) -> Sequence[str]:
    np.savez(given.data, image=np.array([Touch(given.touched)] * 9, dtype=object))
    return ()


def few_to_calibrate(given: Given) -> Sequence[str]:
    path = given.folder / "calibration.npz"
    np.savez(path, image=np.zeros((3, 1, 8, 8), np.float32))
    return ("--calibration", str(path))


def bucket(name: str) -> Spoil:
    return lambda given: ("--model", f"s3://{name}/model.onnx")


def slow_bucket(given: Given) -> Sequence[str]:
    given.environment.setenv("SEAWALL_FETCH_MAX_BYTES", str(1 << 31))
    given.environment.setenv("SEAWALL_FETCH_TIMEOUT_SECONDS", "1")
    return ("--model", "s3://slow/model.onnx")


CASES: dict[str, tuple[Spoil, str, str]] = {
    "a file that is cut short": (truncated, "InvalidModel", "is cut short or is something else"),
    "an empty file": (empty, "InvalidModel", "is no ONNX file"),
    "another digest than wanted": (wrong_digest, "DigestMismatch", "wanted is 0000"),
    "noise instead of ONNX": (noise, "InvalidModel", "cannot be read as ONNX"),
    "a login page instead of ONNX": (page, "InvalidModel", "looks like a page of text"),
    "a checkpoint, which is a pickle": (checkpoint, "UnsafeModel", "runs code when it is read"),
    "a pickle inside a torch file": (trapped_program, "UnsafeModel", "pickle"),
    "an operator that nobody knows": (custom_op, "CustomOps", "com.example::FlashConv"),
    "weights outside, by dots": (outside("../../etc/passwd"), "UnsafeModel", "outside the model's folder"),
    "weights outside, by an absolute path": (outside("/etc/passwd"), "UnsafeModel", "outside the model's"),
    "data that unpacks without end": (bomb_of_data, "InvalidData", "are the most"),
    "an archive that unpacks without end": (bomb_of_archive, "NoSpace", "larger than"),
    "more memory than the node has": (tiny_node, "OutOfMemory", "and tiny has"),
    "data of a wrong shape": (
        data(image=lambda a: a[:, :, :7]), "InvalidData", "has the shape [120, 1, 7, 8], expected is",
    ),
    "data with NaN": (data(image=with_nan), "InvalidData", "holds NaN or Inf, first in sample 3"),
    "data that are pickled": (pickled_data, "InvalidData", "holds Python objects"),
    "labels for other samples": (data(labels=lambda a: a[:50]), "InvalidData", "the same number of samples"),
    "too few samples to calibrate": (few_to_calibrate, "TooFewSamples", "has 3 samples; at least 8"),
    "a bucket that answers 403": (bucket("forbidden"), "CredentialsRefused", "s3://forbidden/model.onnx"),
    "a bucket that answers 404": (bucket("missing"), "ModelNotFound", "s3://missing/model.onnx"),
    "a bucket that is too slow": (slow_bucket, "FetchFailed", "fetching took longer than 1 s"),
}  # fmt: skip


MAY_PASS = ("FetchFailed",)


class Bucket(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = self.path.split("/")[1]
        if name != "slow":
            self.send_response({"forbidden": 403}.get(name, 404))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 30))
        self.send_header("Last-Modified", "Wed, 21 Oct 2026 07:28:00 GMT")
        self.send_header("ETag", '"slow"')
        self.end_headers()
        with suppress(OSError):  # the client hangs up
            for _ in range(60):
                self.wfile.write(b"\0" * (3 << 20))
                time.sleep(0.4)

    def log_message(self, *args: object) -> None:
        """Nobody listens."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def given(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> Given:
    monkeypatch.setenv("SEAWALL_FETCH_MAX_BYTES", "10000000")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    return Given(tmp_path, *builds.files(tmp_path), monkeypatch)


def arguments(given: Given, more: Sequence[str]) -> argparse.Namespace:
    usual = ["--model", str(given.model), "--preset", "int8", "--target", "cpu", "--max-batch", "2"]
    usual += ["--evaluation", str(given.data), "--out", str(given.folder / "out")]
    return parser(("optimize",)).parse_args(["optimize", *usual, *more])


@pytest.mark.parametrize(("spoil", "reason", "words"), CASES.values(), ids=CASES.keys())
def test_the_command_ends_with_two_and_one_sentence(
    spoil: Spoil, reason: str, words: str, given: Given, capsys: pytest.CaptureFixture[str]
) -> None:
    args = arguments(given, spoil(given))
    assert args.func(args) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    told = shown.err.splitlines()
    assert len(told) == 1, told
    assert told[0].startswith(f"seawall optimize: {reason}: ")
    assert words in told[0]
    assert [entry.name for entry in args.out.iterdir()] == [".work"]
    assert not list(args.out.rglob("manifest.json"))
    assert not given.touched.exists()


@pytest.mark.parametrize(("spoil", "reason", "words"), CASES.values(), ids=CASES.keys())
def test_the_job_ends_with_its_reason(spoil: Spoil, reason: str, words: str, given: Given) -> None:
    order = optimize._order(arguments(given, spoil(given)))
    last_words, volume = given.folder / "last-words", given.folder / "volume"
    environment = {
        **os.environ,
        "SEAWALL_BUILD": order.to_json(),
        "SEAWALL_ARTIFACTS": "pvc://builds/models",
        "SEAWALL_BUILD_ARTIFACTS_MOUNT": str(volume),
        "SEAWALL_BUILD_PORT": "0",
        "SEAWALL_TERMINATION_LOG": str(last_words),
    }
    code = job.main(("prepare", "compress"), environment, given.folder / "work")
    assert code == (job.PASSING if reason in MAY_PASS else job.REFUSED)
    refusal = parse_refusal(last_words.read_text())
    assert refusal is not None
    assert refusal[0] == reason
    assert words in refusal[1]
    assert not [path for path in volume.rglob("*") if path.is_file()]
    assert not given.touched.exists()

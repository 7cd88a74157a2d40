"""A small result of a build, a pair of keys, and a server that only ever answers one thing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from onnx import TensorProto, helper, numpy_helper

from seawall.optimize.publish import Manifest
from seawall.optimize.types import Stage

KEY = "ab" * 32
OTHER_KEY = "cd" * 32


def onnx_bytes() -> bytes:
    weights = numpy_helper.from_array(np.ones((4, 2), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def result(folder: Path, extra: bytes = b"weights" * 1000) -> Path:
    """What a build leaves to publish: a model, and a file in a folder of its own."""
    (folder / "data").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(onnx_bytes())
    (folder / "data" / "w.bin").write_bytes(extra)
    return folder


def manifest(key: str = KEY, kind: str = "onnx", **more: Any) -> Manifest:
    stage = Stage("compress", 1.5, {"method": "int8"})
    return Manifest(
        key, {"kind": kind}, {"preset": "int8"}, {"model": "0" * 64}, {"onnx": "1.23"}, (stage,), more
    )


def key_pair(folder: Path, kind: str = "ed25519") -> tuple[Path, str]:
    """A private key's file and the public key in PEM."""
    private: Any = (
        ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    )
    path = folder / f"{kind}-{len(list(folder.glob(kind + '-*')))}.pem"
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return path, public.decode()


def order(uri: str, digest: str, kind: str = "onnx", keys: tuple[str, ...] = ()) -> str:
    """SEAWALL_FETCH of a service that serves this artefact."""
    return json.dumps(
        {
            "name": "m",
            "uri": uri,
            "format": kind,
            "tritonVersion": "26.06",
            "artifact": {"digest": digest, "publicKeys": list(keys)},
        }
    )


@contextmanager
def answering(status: int, body: bytes = b"", **headers: str) -> Iterator[str]:
    """The address of a server that answers every request so."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()

"""The fetcher end to end: an order in, a Triton repository or one sentence out."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from seawall.fetch.modelconfig import from_text
from seawall.fetch.run import main

MODEL = "class TritonPythonModel:\n    pass\n"


def onnx_model(
    shape: list[Any], external: str | None = None, kind: int = TensorProto.FLOAT, out: list[Any] | None = None
) -> bytes:
    weights = numpy_helper.from_array(np.ones((4, 2), np.float32), "w")
    if external is not None:
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=external)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, out or [*shape[:-1], 2])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


class Fetch:
    """One run of the fetcher with a volume as the source."""

    def __init__(self, root: Path) -> None:
        self.volume, self.models = root / "volume", root / "models"
        self.log = root / "termination-log"
        self.volume.mkdir()
        self.models.mkdir()
        self.slept: list[float] = []
        self.more: dict[str, str] = {}

    def put(self, path: str, content: bytes | str) -> str:
        target = self.volume / path
        target.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        target.write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    def run(self, uri: str, model_format: str = "onnx", **order: Any) -> int:
        whole = {"name": "m", "uri": uri, "format": model_format, "tritonVersion": "24.10", **order}
        return main(
            {
                "SEAWALL_FETCH": json.dumps(whole),
                "SEAWALL_FETCH_MODELS": str(self.models),
                "SEAWALL_TERMINATION_LOG": str(self.log),
                "SEAWALL_NAMESPACE": "ns",
                "SEAWALL_REVISION": "abcd1234",
                **self.more,
            },
            self.slept.append,
        )

    def config(self, name: str = "m") -> dict[str, Any]:
        return from_text((self.models / name / "config.pbtxt").read_text(), name)

    def files(self) -> set[str]:
        return {p.relative_to(self.models).as_posix() for p in self.models.rglob("*") if p.is_file()}

    def told(self) -> tuple[str, str]:
        (line,) = self.log.read_text().splitlines()
        raw = json.loads(line)
        assert set(raw) == {"reason", "message"}
        return raw["reason"], raw["message"]


@pytest.fixture
def fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fetch:
    made = Fetch(tmp_path)
    monkeypatch.setenv("SEAWALL_FETCH_SOURCE", str(made.volume))
    return made


def tar(files: dict[str, str], kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            info.size = len(text) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(text.encode()) if kind == tarfile.REGTYPE else None)
    return buffer.getvalue()


def test_an_onnx_model_becomes_a_repository(fetch: Fetch) -> None:
    digest = fetch.put("a.onnx", onnx_model(["n", 4]))
    config = {"backend": "onnxruntime", "max_batch_size": 32, "instance_group": [{"kind": "KIND_CPU"}]}
    assert fetch.run("pvc://c/a.onnx", sha256=digest, config=config) == 0
    assert fetch.files() == {"m/config.pbtxt", "m/1/model.onnx"}
    made = fetch.config()
    assert made["name"] == "m"
    assert made["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": ["4"]}]
    assert made["output"] == [{"name": "y", "data_type": "TYPE_FP32", "dims": ["2"]}]
    assert made["metric_tags"] == {"inferenceservice": "m", "namespace": "ns", "revision": "abcd1234"}
    assert [w["batch_size"] for w in made["model_warmup"]] == [1, 32]
    assert not fetch.log.exists()


@pytest.mark.parametrize(
    ("shape", "batch", "dims"),
    [(["n", 4], 8, ["4"]), ([1, 4], None, ["1", "4"]), ([None, 4], 8, ["4"]), (["n", "k", 4], 8, ["-1", "4"])],
    ids=["a varying first dimension", "a fixed one", "one without a name", "two varying ones"],
)  # fmt: skip
def test_without_a_batch_size_the_model_decides(
    fetch: Fetch, shape: list[Any], batch: int | None, dims: list[str]
) -> None:
    fetch.put("a.onnx", onnx_model(shape))
    assert fetch.run("pvc://c/a.onnx") == 0
    assert fetch.config().get("max_batch_size") == batch
    assert fetch.config()["input"][0]["dims"] == dims


def test_the_users_config_has_the_last_word_but_for_the_name(fetch: Fetch) -> None:
    fetch.put("a.onnx", onnx_model(["n", 4]))
    override = {
        "maxBatchSize": 2,
        "metric_tags": {"team": "a", "revision": "forged"},
        "model_warmup": [
            {"name": "mine", "batch_size": 2, "inputs": {"x": {"zero_data": True, "dims": [4]}}}
        ],
    }
    assert fetch.run("pvc://c/a.onnx", config={"max_batch_size": 8}, override=override) == 0
    made = fetch.config()
    assert made["max_batch_size"] == 2
    assert made["metric_tags"]["team"] == "a"
    assert made["metric_tags"]["revision"] == "abcd1234"
    assert [w["name"] for w in made["model_warmup"]] == ["mine"]


def test_a_folder_with_external_data(fetch: Fetch) -> None:
    fetch.put("a/net.onnx", onnx_model(["n", 4], external="net.data"))
    fetch.put("a/net.data", np.ones((4, 2), np.float32).tobytes())
    assert fetch.run("pvc://c/a/") == 0
    assert fetch.files() == {"m/config.pbtxt", "m/1/model.onnx", "m/1/net.data"}


def test_a_second_attempt_starts_clean(fetch: Fetch) -> None:
    (fetch.models / "m" / "7").mkdir(parents=True)
    (fetch.models / ".fetch").mkdir()
    fetch.put("a.onnx", onnx_model(["n", 4]))
    assert fetch.run("pvc://c/a.onnx") == 0
    assert fetch.run("pvc://c/a.onnx") == 0
    assert fetch.files() == {"m/config.pbtxt", "m/1/model.onnx"}


PYTHON = {
    "a folder": {"model.py": MODEL, "vocab.txt": "x"},
    "a whole model folder": {"1/model.py": MODEL, "1/vocab.txt": "x"},
}


@pytest.mark.parametrize("files", PYTHON.values(), ids=PYTHON.keys())
def test_python_models(fetch: Fetch, files: dict[str, str]) -> None:
    for name, text in files.items():
        fetch.put(f"p/{name}", text)
    fetch.put(
        "p/config.pbtxt", 'max_batch_size: 4 name: "other" dynamic_batching { preserve_ordering: true }'
    )
    config = {"backend": "python", "dynamic_batching": {"default_queue_policy": {"max_queue_size": 9}}}
    assert fetch.run("pvc://c/p", "python", config=config) == 0
    assert fetch.files() == {"m/config.pbtxt", "m/1/model.py", "m/1/vocab.txt"}
    made = fetch.config()
    assert (made["name"], made["max_batch_size"], made["backend"]) == ("m", 4, "python")
    assert made["dynamic_batching"] == {
        "preserve_ordering": True,
        "default_queue_policy": {"max_queue_size": 9},
    }


def test_one_python_file_and_an_archive_with_one_folder_will_do(fetch: Fetch) -> None:
    fetch.put("only.py", MODEL)
    assert fetch.run("pvc://c/only.py", "python") == 0
    assert fetch.files() == {"m/config.pbtxt", "m/1/model.py"}
    fetch.put("p.tar.gz", tar({"model/model.py": MODEL, "model/sub/x": "y"}))
    assert fetch.run("pvc://c/p.tar.gz", "python") == 0
    assert fetch.files() == {"m/config.pbtxt", "m/1/model.py", "m/1/sub/x"}


def test_a_repository_of_one_model_takes_the_services_name(fetch: Fetch) -> None:
    fetch.put("r/config.pbtxt", 'name: "x" backend: "python" max_batch_size: 2')
    fetch.put("r/3/model.py", MODEL)
    assert fetch.run("pvc://c/r/", "repository") == 0
    assert fetch.files() == {"m/config.pbtxt", "m/3/model.py"}
    assert fetch.config()["name"] == "m"
    assert fetch.config()["max_batch_size"] == 2


def test_a_repository_of_several_models_keeps_the_others(fetch: Fetch) -> None:
    fetch.put("r/m/config.pbtxt", 'platform: "ensemble"')
    fetch.put("r/m/1/.keep", "")
    fetch.put("r/other/1/model.py", MODEL)
    config = {"model_metrics": {"metric_control": []}}
    assert fetch.run("pvc://c/r/", "repository", config=config, tritonVersion="26.06") == 0
    assert {"m/config.pbtxt", "other/1/model.py"} <= fetch.files()
    assert fetch.config()["platform"] == "ensemble"


def test_a_tensorrt_engine_lies_where_triton_looks(fetch: Fetch) -> None:
    fetch.put("e.plan", b"engine")
    assert fetch.run("pvc://c/e.plan", "tensorrt", config={"backend": "tensorrt"}) == 0
    assert fetch.files() == {"m/config.pbtxt", "m/1/model.plan"}


def _put(path: str, content: bytes | str) -> Callable[[Fetch], None]:
    def prepare(fetch: Fetch) -> None:
        fetch.put(path, content)

    return prepare


def _both(*steps: Callable[[Fetch], None]) -> Callable[[Fetch], None]:
    def prepare(fetch: Fetch) -> None:
        for step in steps:
            step(fetch)

    return prepare


def _link_out(fetch: Fetch) -> None:
    (fetch.volume / "a.onnx").symlink_to("/etc/passwd")


def _nothing(fetch: Fetch) -> None:
    pass


def _tiny(fetch: Fetch) -> None:
    fetch.put("big.tar.gz", tar({"model.py": "x" * 500_000}))
    fetch.more["SEAWALL_FETCH_MAX_BYTES"] = "100000"


def _late(fetch: Fetch) -> None:
    fetch.put("a.onnx", onnx_model(["n", 4]))
    fetch.more["SEAWALL_FETCH_TIMEOUT_SECONDS"] = "0"


GOOD = onnx_model(["n", 4])
FAILURES: dict[str, tuple[Callable[[Fetch], None], dict[str, Any], str, str]] = {
    "a missing file": (_nothing, {"uri": "pvc://c/a.onnx"}, "ModelNotFound", "no such file"),
    "an empty folder": (
        lambda f: (f.volume / "d").mkdir(),
        {"uri": "pvc://c/d/"},
        "ModelNotFound",
        "the folder is empty",
    ),
    "a wrong digest": (
        _put("a.onnx", GOOD),
        {"uri": "pvc://c/a.onnx", "sha256": "0" * 64},
        "DigestMismatch",
        "spec.model.sha256 wants 0000",
    ),
    "a wrong digest of what is no model": (
        _put("a.onnx", "rubbish"),
        {"uri": "pvc://c/a.onnx", "sha256": "0" * 64},
        "DigestMismatch",
        "spec.model.sha256",
    ),
    "a truncated model": (_put("a.onnx", GOOD[:-20]), {"uri": "pvc://c/a.onnx"}, "InvalidModel", "no ONNX file"),
    "an empty file": (_put("a.onnx", b""), {"uri": "pvc://c/a.onnx"}, "InvalidModel", "no ONNX file"),
    "a web page": (_put("a.onnx", "<html>"), {"uri": "pvc://c/a.onnx"}, "InvalidModel", "no ONNX file"),
    "a fixed batch": (
        _put("a.onnx", onnx_model([1, 4])),
        {"uri": "pvc://c/a.onnx", "config": {"max_batch_size": 8}},
        "InvalidModel",
        "input x has the shape [1, 4]: its first dimension does not vary",
    ),
    "external data that leads out": (
        _put("a.onnx", onnx_model(["n", 4], external="../../etc/passwd")),
        {"uri": "pvc://c/a.onnx"},
        "InvalidModel",
        "outside the folder",
    ),
    "external data at an absolute path": (
        _put("a.onnx", onnx_model(["n", 4], external="/etc/passwd")),
        {"uri": "pvc://c/a.onnx"},
        "InvalidModel",
        "outside the folder",
    ),
    "external data left behind": (
        _put("a.onnx", onnx_model(["n", 4], external="a.data")),
        {"uri": "pvc://c/a.onnx"},
        "InvalidModel",
        "was not fetched",
    ),
    "a link out of the volume": (
        _link_out,
        {"uri": "pvc://c/a.onnx"},
        "InvalidModel",
        "leads out of the volume",
    ),
    "a path out of the volume": (
        _nothing,
        {"uri": "pvc://c/../../etc/passwd"},
        "InvalidModel",
        "leads out of the volume",
    ),
    "an archive that writes outside": (
        _put("p.tar.gz", tar({"../../evil.py": "x"})),
        {"uri": "pvc://c/p.tar.gz", "format": "python"},
        "InvalidModel",
        "does not stay inside",
    ),
    "an archive with an absolute path": (
        _put("p.tar.gz", tar({"/evil.py": "x"})),
        {"uri": "pvc://c/p.tar.gz", "format": "python"},
        "InvalidModel",
        "does not stay inside",
    ),
    "an archive with a link": (
        _put("p.tar.gz", tar({"model.py": ""}, tarfile.SYMTYPE, "/etc/passwd")),
        {"uri": "pvc://c/p.tar.gz", "format": "python"},
        "InvalidModel",
        "is a link or a device",
    ),
    "an archive that is none": (
        _put("p.tar.gz", b"\x1f\x8b rubbish"),
        {"uri": "pvc://c/p.tar.gz", "format": "python"},
        "InvalidModel",
        "no readable tar",
    ),
    "an archive cut short": (
        _put("p.tar.gz", tar({"model.py": MODEL * 999})[:-30]),
        {"uri": "pvc://c/p.tar.gz", "format": "python"},
        "InvalidModel",
        "no readable tar",
    ),
    "a bomb": (_tiny, {"uri": "pvc://c/big.tar.gz", "format": "python"}, "NoSpace", "larger than the 100000 bytes"),
    "too slow": (_late, {"uri": "pvc://c/a.onnx"}, "FetchFailed", "longer than 0 s"),
    "no model.py": (
        _put("p/readme.txt", "x"),
        {"uri": "pvc://c/p/", "format": "python"},
        "InvalidModel",
        "no model.py",
    ),
    "no repository": (
        _put("p/readme.txt", "x"),
        {"uri": "pvc://c/p/", "format": "repository"},
        "InvalidModel",
        "no Triton repository",
    ),
    "a repository of others": (
        _both(_put("r/a/1/model.py", MODEL), _put("r/b/1/model.py", MODEL)),
        {"uri": "pvc://c/r/", "format": "repository"},
        "InvalidModel",
        "holds a, b, but no model named as the service, m",
    ),
    "a broken config of the model's": (
        _both(_put("r/config.pbtxt", "{"), _put("r/1/model.py", MODEL)),
        {"uri": "pvc://c/r/", "format": "repository"},
        "InvalidConfig",
        "config.pbtxt of the model",
    ),
    "a misspelt override": (
        _put("a.onnx", GOOD),
        {"uri": "pvc://c/a.onnx", "override": {"max_batchsize": 1}},
        "InvalidConfig",
        "max_batchsize",
    ),
    "an override of the name": (
        _put("a.onnx", GOOD),
        {"uri": "pvc://c/a.onnx", "override": {"name": "x"}},
        "InvalidConfig",
        "name is set by the operator",
    ),
    "a field for a newer server": (
        _put("a.onnx", GOOD),
        {"uri": "pvc://c/a.onnx", "override": {"model_metrics": {}}},
        "InvalidConfig",
        "needs Triton 24.11",
    ),
    "an unknown scheme": (_nothing, {"uri": "ftp://c/a.onnx"}, "UnsupportedScheme", "not supported"),
    "a folder over https": (
        _nothing,
        {"uri": "https://example.com/p/"},
        "UnsupportedScheme",
        "https cannot list a folder",
    ),
    "an unknown format": (_nothing, {"uri": "pvc://c/a", "format": "torch"}, "FetchFailed", "torch"),
    "a name that leads out": (_nothing, {"uri": "pvc://c/a.onnx", "name": "../x"}, "FetchFailed", "no name"),
}  # fmt: skip


@pytest.mark.parametrize(("prepare", "order", "reason", "words"), FAILURES.values(), ids=FAILURES.keys())
def test_a_failure_is_one_line_and_leaves_nothing(
    fetch: Fetch, prepare: Callable[[Fetch], None], order: dict[str, Any], reason: str, words: str
) -> None:
    prepare(fetch)
    whole = {"model_format": order.pop("format", "onnx"), **order} if "format" in order else dict(order)
    assert fetch.run(**whole) == 1
    told, message = fetch.told()
    assert told == reason
    assert words in message
    assert fetch.files() == set()
    assert not (fetch.volume.parent / "evil.py").exists()


@pytest.mark.parametrize("text", [None, "", "{", "[]", "7", '{"name": 1}'])
def test_an_order_that_is_none_is_told(tmp_path: Path, text: str | None) -> None:
    log = tmp_path / "log"
    environment = {
        "SEAWALL_TERMINATION_LOG": str(log),
        **({"SEAWALL_FETCH": text} if text is not None else {}),
    }
    assert main(environment) == 1
    assert json.loads(log.read_text())["reason"] == "FetchFailed"


def test_a_folders_digest_is_that_of_its_sorted_checksums(fetch: Fetch) -> None:
    lines = "".join(f"{fetch.put(f'p/{n}', n)}  {n}\n" for n in ("a/b.txt", "model.py"))
    digest = hashlib.sha256(lines.encode()).hexdigest()
    assert fetch.run("pvc://c/p/", "python", sha256=digest) == 0


def test_the_checker_reads_what_it_is_given() -> None:
    onnx.checker.check_model(onnx.load_from_string(GOOD))

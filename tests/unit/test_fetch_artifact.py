"""A pod that is told to serve a published artefact: proven file by file before anything is laid out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seawall.fetch import cache
from seawall.fetch.order import parse_order
from seawall.fetch.problem import FetchProblem
from seawall.fetch.run import main
from seawall.optimize.publish import Signer, open_store, publish
from seawall.optimize.types import Artifact
from support.artifacts import key_pair, manifest, order, result


class Pod:
    """One claim with an artefact on it, and the fetcher of a pod that mounts it."""

    def __init__(self, root: Path) -> None:
        self.root, self.claim = root, root / "claim"
        self.private, self.public = key_pair(root)
        self.more: dict[str, str] = {}
        (root / "models").mkdir()

    def publish(self, signer: Signer | None = None, kind: str = "onnx", **layout: Any) -> Artifact:
        folder = result(self.root / "built")
        if kind == "tensorrt":
            (folder / "model.onnx").rename(folder / "model.plan")
        made = manifest(kind=kind, **layout)
        return publish(folder, made, open_store("pvc://claim/models", mount=self.claim), signer)

    def folder(self, artifact: Artifact) -> Path:
        return self.claim / artifact.uri.removeprefix("pvc://claim/")

    def fetch(self, artifact: Artifact, keys: tuple[str, ...] = (), kind: str = "onnx") -> str:
        """Empty when the model is laid out; else the reason."""
        log = self.root / "termination-log"
        code = main(
            {
                "SEAWALL_FETCH": order(artifact.uri, artifact.digest, kind, keys),
                "SEAWALL_FETCH_MODELS": str(self.root / "models"),
                "SEAWALL_TERMINATION_LOG": str(log),
                **self.more,
            },
            lambda _: None,
        )
        self.told = json.loads(log.read_text())["message"] if code else ""
        return json.loads(log.read_text())["reason"] if code else ""

    def laid_out(self) -> set[str]:
        models = self.root / "models"
        return {p.relative_to(models).as_posix() for p in models.rglob("*") if p.is_file()}


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pod:
    made = Pod(tmp_path)
    monkeypatch.setenv("SEAWALL_FETCH_SOURCE", str(made.claim))
    return made


KINDS = {"onnx": "model.onnx", "tensorrt": "model.plan"}


@pytest.mark.parametrize(("kind", "file"), KINDS.items(), ids=KINDS)
def test_an_artefact_becomes_a_repository(pod: Pod, kind: str, file: str) -> None:
    made = pod.publish(Signer(pod.private), kind)
    assert pod.fetch(made, (pod.public,), kind) == ""
    assert pod.laid_out() == {"m/config.pbtxt", f"m/1/{file}", "m/1/data/w.bin"}


def _rewritten(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        raw = json.loads((folder / "manifest.json").read_text())
        change(raw)
        (folder / "manifest.json").write_text(json.dumps(raw))

    return damage


TAMPERED: dict[str, Callable[[Path], object]] = {
    "other bytes of the same size": lambda f: (f / "data/w.bin").write_bytes(b"X" * 7000),
    "a file that is longer": lambda f: (f / "data/w.bin").open("ab").write(b"more"),
    "an empty model": lambda f: (f / "model.onnx").write_bytes(b""),
    "a file is gone": lambda f: (f / "data/w.bin").unlink(),
    "a file too many": lambda f: (f / "model.py").write_text("import os"),
    "the manifest is gone": lambda f: (f / "manifest.json").unlink(),
    "a manifest with another result": _rewritten(lambda m: m["predicate"]["result"].update(accuracy=1)),
    "a manifest that names another file": _rewritten(lambda m: m["subject"][0].update(name="x")),
    "a manifest with other blanks": _rewritten(lambda m: None),
}


@pytest.mark.parametrize("damage", TAMPERED.values(), ids=TAMPERED)
def test_nothing_is_served_that_is_not_what_was_published(pod: Pod, damage: Callable[[Path], object]) -> None:
    made = pod.publish()
    damage(pod.folder(made))
    assert pod.fetch(made) == "ArtifactDigestMismatch"
    assert made.uri in pod.told
    assert pod.laid_out() == set()


def test_an_engine_is_not_served_as_a_graph(pod: Pod) -> None:
    made = pod.publish(kind="tensorrt")
    assert pod.fetch(made, kind="onnx") == "InvalidModel"
    assert "holds 'tensorrt', the order wants 'onnx'" in pod.told


def _envelope(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        raw = json.loads((folder / "manifest.dsse.json").read_text())
        change(raw)
        (folder / "manifest.dsse.json").write_text(json.dumps(raw))

    return damage


SIGNATURES: dict[str, tuple[Callable[[Path], object], str]] = {
    "untouched": (lambda f: None, ""),
    "another key id": (_envelope(lambda e: e["signatures"][0].update(keyid="cosign")), ""),
    "no key id": (_envelope(lambda e: e["signatures"][0].pop("keyid")), ""),
    "a second signature of nobody known": (
        _envelope(lambda e: e["signatures"].insert(0, {"keyid": "a", "sig": "AAAA"})),
        "",
    ),
    "no envelope": (lambda f: (f / "manifest.dsse.json").unlink(), "SignatureMissing"),
    "no signature in it": (_envelope(lambda e: e["signatures"].clear()), "SignatureInvalid"),
    "another signature": (_envelope(lambda e: e["signatures"][0].update(sig="AAAA")), "SignatureInvalid"),
    "too many of them": (_envelope(lambda e: e["signatures"].extend([{"sig": "AAAA"}] * 99)), "SignatureInvalid"),
    "another payload": (_envelope(lambda e: e.update(payload="e30=")), "SignatureInvalid"),
    "another type": (_envelope(lambda e: e.update(payloadType="text/plain")), "SignatureInvalid"),
    "no JSON": (lambda f: (f / "manifest.dsse.json").write_bytes(b"\xff"), "SignatureInvalid"),
    "no envelope in the JSON": (lambda f: (f / "manifest.dsse.json").write_text("[]"), "SignatureInvalid"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "outcome"), SIGNATURES.values(), ids=SIGNATURES)
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_signature_is_checked(
    pod: Pod, damage: Callable[[Path], object], outcome: str, kind: str, tmp_path: Path
) -> None:
    private, public = key_pair(tmp_path, kind)
    _, unrelated = key_pair(tmp_path)
    made = pod.publish(Signer(private))
    damage(pod.folder(made))
    assert pod.fetch(made, (unrelated, public)) == outcome


def test_a_signature_by_another_key_is_not_accepted(pod: Pod, tmp_path: Path) -> None:
    other, _ = key_pair(tmp_path)
    assert pod.fetch(pod.publish(Signer(other)), (pod.public,)) == "SignatureInvalid"


def test_without_keys_nobody_looks_at_signatures(pod: Pod) -> None:
    made = pod.publish(Signer(pod.private))
    (pod.folder(made) / "manifest.dsse.json").write_text("no envelope")
    assert pod.fetch(made) == ""


def test_a_key_that_is_none_is_told(pod: Pod) -> None:
    assert pod.fetch(pod.publish(Signer(pod.private)), ("no key",)) == "InvalidConfig"


def test_a_restart_needs_no_store_when_the_node_has_the_files(
    pod: Pod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "KEEP_FREE", 0.0)
    (tmp_path / "cache").mkdir()
    pod.more = {"SEAWALL_MODEL_CACHE": str(tmp_path / "cache")}
    made = pod.publish()
    assert pod.fetch(made) == ""
    first = pod.laid_out()
    shutil.rmtree(pod.claim)
    assert pod.fetch(made) == ""
    assert pod.laid_out() == first


ORDERS: dict[str, dict[str, Any]] = {
    "a digest that is none": {"artifact": {"digest": "abc"}},
    "a path for a digest": {"artifact": {"digest": "../../../etc/passwd"}},
    "no digest": {"artifact": {}},
    "one key that is no list": {"artifact": {"digest": "0" * 64, "publicKeys": "PEM"}},
    "a format that no build publishes": {"format": "python", "artifact": {"digest": "0" * 64}},
    "a layout of builds without an artefact": {"format": "pipeline"},
}


@pytest.mark.parametrize("change", ORDERS.values(), ids=ORDERS)
def test_an_order_that_is_none_is_refused(change: dict[str, Any]) -> None:
    raw = {"name": "m", "uri": "s3://b/k/", "format": "onnx", "tritonVersion": "26.06", **change}
    with pytest.raises(FetchProblem, match="SEAWALL_FETCH"):
        parse_order(json.dumps(raw))

"""What is published: the manifest, the key it is found by, and a folder as the simplest store."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from seawall.fetch.artifact import PREDICATE_TYPE, STATEMENT_TYPE
from seawall.optimize.publish import (
    Signer,
    Store,
    canonical,
    find,
    get_stage,
    key,
    lookup,
    open_store,
    publish,
    put_stage,
)
from seawall.optimize.types import BuildOrder, Passing, Refused, Target
from support.artifacts import KEY, OTHER_KEY, key_pair, manifest, result

ORDER = BuildOrder("s3://b/m.onnx", "onnx", Target("cpu", "cpu", price_per_hour=1.0), "int8")
DIGESTS = {"model": "1" * 64, "evaluation": "2" * 64}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def test_the_manifest_names_every_file_with_digest_and_size(store: Store, tmp_path: Path) -> None:
    made = publish(result(tmp_path / "a"), manifest(), store, None)
    content = Path(made.uri, "manifest.json").read_bytes()
    assert hashlib.sha256(content).hexdigest() == made.digest
    told = json.loads(content)
    assert canonical(told) == content
    assert (told["_type"], told["predicateType"]) == (STATEMENT_TYPE, PREDICATE_TYPE)
    assert {s["name"]: (s["digest"]["sha256"], s["annotations"]["bytes"]) for s in told["subject"]} == {
        name: (hashlib.sha256(Path(made.uri, name).read_bytes()).hexdigest(), size)
        for name, size in (
            ("model.onnx", (tmp_path / "a/model.onnx").stat().st_size),
            ("data/w.bin", 7000),
        )
    }
    assert told["predicate"]["stages"] == [
        {"name": "compress", "seconds": 1.5, "detail": {"method": "int8"}, "cached": False}
    ]


SAME_KEY: dict[str, Callable[[BuildOrder], BuildOrder]] = {
    "another price": lambda o: dataclasses.replace(o, target=Target("cpu", "cpu", price_per_hour=2.0)),
    "another address of the same model": lambda o: dataclasses.replace(o, model="hf://o/r/m.onnx"),
    "another name of the class": lambda o: dataclasses.replace(o, target=Target("other", "cpu")),
}
OTHER_KEYS: dict[str, Callable[[BuildOrder], BuildOrder]] = {
    "another preset": lambda o: dataclasses.replace(o, preset="fp16"),
    "another batch size": lambda o: dataclasses.replace(o, max_batch_size=9),
    "another processor": lambda o: dataclasses.replace(o, target=Target("cpu", "gpu")),
    "another Triton": lambda o: dataclasses.replace(o, target=Target("cpu", "cpu", triton_version="26.07")),
}


@pytest.mark.parametrize("change", SAME_KEY.values(), ids=SAME_KEY)
def test_what_changes_no_bit_changes_no_key(change: Callable[[BuildOrder], BuildOrder]) -> None:
    assert key(change(ORDER), DIGESTS) == key(ORDER, DIGESTS)


@pytest.mark.parametrize("change", OTHER_KEYS.values(), ids=OTHER_KEYS)
def test_another_request_has_another_key(change: Callable[[BuildOrder], BuildOrder]) -> None:
    assert key(change(ORDER), DIGESTS) != key(ORDER, DIGESTS)


def test_other_data_have_another_key() -> None:
    assert key(ORDER, {**DIGESTS, "evaluation": "3" * 64}) != key(ORDER, DIGESTS)


@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=str)
def test_what_is_no_number_is_in_no_manifest(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"p99": value})


def test_published_once_and_never_changed(store: Store, tmp_path: Path) -> None:
    first = publish(result(tmp_path / "a", b"one"), manifest(), store, None)
    assert publish(result(tmp_path / "b", b"two"), manifest(), store, None) == first
    assert Path(first.uri, "data/w.bin").read_bytes() == b"one"
    other = publish(result(tmp_path / "c", b"two"), manifest(OTHER_KEY), store, None)
    assert (find(KEY, store), find(OTHER_KEY, store)) == (first, other)
    found = lookup(KEY, store)
    assert found is not None
    assert (found[0], found[1].digest, found[1].predicate["key"]) == (first, first.digest, KEY)
    assert {p.name for p in (tmp_path / "store").iterdir()} == {KEY, OTHER_KEY}


def _damage(what: str, folder: Path) -> None:
    if what == "a file is missing":
        (folder / "data/w.bin").unlink()
    elif what == "a file is short":
        (folder / "data/w.bin").write_bytes(b"w")
    elif what == "a file too many":
        (folder / "data/more").write_bytes(b"")
    elif what == "no manifest":
        (folder / "manifest.json").unlink()
    elif what == "half a manifest":
        (folder / "manifest.json").write_bytes((folder / "manifest.json").read_bytes()[:100])
    else:
        (folder / "manifest.json").write_bytes(b"[]")


@pytest.mark.parametrize(
    "what",
    [
        "a file is missing",
        "a file is short",
        "a file too many",
        "no manifest",
        "half a manifest",
        "a manifest of nothing",
    ],
)
def test_what_is_not_whole_is_not_found_and_is_replaced(store: Store, tmp_path: Path, what: str) -> None:
    made = publish(result(tmp_path / "a"), manifest(), store, None)
    _damage(what, Path(made.uri))
    assert find(KEY, store) is None
    again = publish(result(tmp_path / "b", b"two"), manifest(), store, None)
    assert find(KEY, store) == again
    assert Path(again.uri, "data/w.bin").read_bytes() == b"two"
    assert [p.name for p in (tmp_path / "store").iterdir()] == [KEY]


def test_an_artefact_of_another_request_is_no_answer(store: Store, tmp_path: Path) -> None:
    """Even signed: whoever can write the store could exchange the folders."""
    private, public = key_pair(tmp_path)
    publish(result(tmp_path / "a"), manifest(), store, Signer(private))
    (tmp_path / "store" / KEY).rename(tmp_path / "store" / OTHER_KEY)
    assert find(OTHER_KEY, store, (public,)) is None


def test_with_trusted_keys_only_a_signed_one_is_found(store: Store, tmp_path: Path) -> None:
    (mine, public), (theirs, other) = key_pair(tmp_path), key_pair(tmp_path, "ecdsa")
    made = publish(result(tmp_path / "a"), manifest(), store, Signer(mine), (public,))
    assert find(KEY, store, (other, public)) == made
    assert find(KEY, store, (other,)) is None
    with pytest.raises(Refused, match=r"ArtifactConflict: .*without a signature that is trusted"):
        publish(result(tmp_path / "b"), manifest(), store, Signer(theirs), (other,))


BAD_KEYS = {"no key at all": b"hello", "a public one": None}


@pytest.mark.parametrize("content", BAD_KEYS.values(), ids=BAD_KEYS)
def test_a_key_that_cannot_sign_is_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content or key_pair(tmp_path)[1].encode())
    with pytest.raises(Refused, match="SigningKeyInvalid"):
        Signer(path)


def test_links_are_not_published(store: Store, tmp_path: Path) -> None:
    folder = result(tmp_path / "a")
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="link is neither a file nor a folder"):
        publish(folder, manifest(), store, None)


def test_a_manifest_that_lies_in_the_folder_is_not_part_of_the_model(store: Store, tmp_path: Path) -> None:
    folder = result(tmp_path / "a")
    (folder / "manifest.json").write_text("of an earlier time")
    made = publish(folder, manifest(), store, None)
    assert find(KEY, store) == made


def test_a_stage_that_cannot_be_read_counts_as_absent(store: Store, tmp_path: Path) -> None:
    put_stage(KEY, result(tmp_path / "a"), store)
    (tar,) = (tmp_path / "store" / "stages").iterdir()
    tar.write_bytes(tar.read_bytes()[:3000])
    assert not get_stage(KEY, tmp_path / "back", store)
    assert not (tmp_path / "back").exists()
    put_stage(KEY, tmp_path / "a", store)
    assert get_stage(KEY, tmp_path / "back", store)


def test_a_stage_larger_than_allowed_is_not_unpacked(store: Store, tmp_path: Path) -> None:
    put_stage(KEY, result(tmp_path / "a"), store)
    with pytest.raises(Passing, match="no room for the result of a stage"):
        get_stage(KEY, tmp_path / "back", store, max_bytes=100)


UNUSABLE = {
    "ftp://x/y": "is no store",
    "s3://": "is no store",
    "pvc://": "is no store",
    "pvc://claim/../up": "leads out of the volume",
    "oci://host": "does not look like",
    "oci://host/repo:tag": "name a repository",
}


@pytest.mark.parametrize(("uri", "said"), UNUSABLE.items(), ids=UNUSABLE)
def test_a_uri_that_is_no_store_is_told(uri: str, said: str) -> None:
    with pytest.raises(Refused, match=f"ArtifactStoreMissing: .*{said}"):
        open_store(uri)


def test_a_key_that_leads_elsewhere_is_no_key(store: Store) -> None:
    with pytest.raises(ValueError, match="is no key"):
        find("../../etc", store)

"""Publishing to real stores, and what a model's pod then makes of it."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from seawall.fetch.order import Credentials
from seawall.optimize.publish import Signer, Store, find, get_stage, open_store, publish, put_stage
from seawall.optimize.types import Artifact, Refused
from support.artifacts import key_pair, manifest, order, result

from .conftest import LOGIN, Place

pytestmark = pytest.mark.stores
LARGE = bytes(range(256)) * 4096 * 20
"""20 MiB: more than one part of an upload"""


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """One of its own for every test: the servers live as long as the run."""
    import hashlib

    return hashlib.sha256(request.node.nodeid.encode()).hexdigest()


def laid_out(folder: Path) -> set[str]:
    models = folder / "models"
    return {p.relative_to(models).as_posix() for p in models.rglob("*") if p.is_file()}


def reason(folder: Path) -> str:
    told = json.loads((folder / "termination-log").read_text())
    return str(told["reason"])


def test_what_is_published_is_found_and_served(place: Place, tmp_path: Path, key: str) -> None:
    private, public = key_pair(tmp_path)
    assert find(key, place.store()) is None
    made = publish(result(tmp_path / "a", LARGE), manifest(key), place.store(), Signer(private))
    assert made.uri.startswith(place.uri)
    assert find(key, place.store(), (public,)) == made
    assert place.fetch(tmp_path, order(made.uri, made.digest, keys=(public,))) == 0
    assert laid_out(tmp_path) == {"m/config.pbtxt", "m/1/model.onnx", "m/1/data/w.bin"}
    assert (tmp_path / "models/m/1/data/w.bin").read_bytes() == LARGE


def test_the_first_one_wins(place: Place, tmp_path: Path, key: str) -> None:
    first = publish(result(tmp_path / "a", b"one"), manifest(key), place.store(), None)
    again = publish(result(tmp_path / "b", b"two"), manifest(key), place.store(), None)
    assert again == first
    assert place.fetch(tmp_path, order(first.uri, first.digest)) == 0
    assert (tmp_path / "models/m/1/data/w.bin").read_bytes() == b"one"


class Halfway:
    """A store whose publisher dies before the last step, or that another publisher overtakes."""

    def __init__(self, store: Store, meanwhile: Any) -> None:
        self._store, self._meanwhile, self.uri = store, meanwhile, store.uri

    def find(self, key: str) -> Any:
        found, meanwhile = self._store.find(key), self._meanwhile
        self._meanwhile = lambda: None
        meanwhile()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_of_two_at_the_same_time_both_serve_the_same(place: Place, tmp_path: Path, key: str) -> None:
    """The second looks, sees nothing, and publishes after the first has."""
    overtaking: list[Artifact] = []

    def first() -> None:
        overtaking.append(publish(result(tmp_path / "a", b"one"), manifest(key), place.store(), None))

    store: Any = Halfway(place.store(), first)
    second = publish(result(tmp_path / "b", b"two"), manifest(key, note="later"), store, None)
    assert [second] == overtaking
    assert place.fetch(tmp_path, order(second.uri, second.digest)) == 0
    assert (tmp_path / "models/m/1/data/w.bin").read_bytes() == b"one"


def test_several_publishers_at_once_agree(place: Place, tmp_path: Path, key: str) -> None:
    """In an OCI registry the last tag counts; every answer is still an artefact that can be served."""
    made: list[Artifact] = []

    def build(number: int) -> None:
        folder = result(tmp_path / str(number), str(number).encode())
        made.append(publish(folder, manifest(key, builder=number), place.store(), None))

    threads = [threading.Thread(target=build, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    if not place.uri.startswith("oci"):
        assert len({artifact.digest for artifact in made}) == 1
    for artifact in made:
        assert place.fetch(tmp_path, order(artifact.uri, artifact.digest)) == 0


def stored(place: Place, key: str, content: bytes) -> list[Path]:
    """Where the server keeps a file of the artefact."""
    return [p for p in place.files.rglob("*") if p.is_file() and p.read_bytes() == content]


def test_a_file_changed_in_the_store_is_not_served(place: Place, tmp_path: Path, key: str) -> None:
    content = f"weights of {key}".encode()
    made = publish(result(tmp_path / "a", content), manifest(key), place.store(), None)
    (path,) = stored(place, key, content)
    path.write_bytes(b"x" * len(content))
    assert place.fetch(tmp_path, order(made.uri, made.digest)) == 1
    # A registry notices by itself that the blob is not what its name says.
    assert reason(tmp_path) in ("ArtifactDigestMismatch", "FetchFailed")
    assert laid_out(tmp_path) == set()


def test_an_artefact_that_lost_a_file_is_not_found_and_is_published_again(
    place: Place, tmp_path: Path, key: str
) -> None:
    content = f"weights of {key}".encode()
    publish(result(tmp_path / "a", content), manifest(key), place.store(), None)
    for path in stored(place, key, content):
        path.unlink()
    assert find(key, place.store()) is None
    made = publish(result(tmp_path / "b", content + b"2"), manifest(key), place.store(), None)
    assert find(key, place.store()) == made
    assert place.fetch(tmp_path, order(made.uri, made.digest)) == 0


def test_a_manifest_is_the_last_to_come(place: Place, tmp_path: Path, key: str) -> None:
    """A publisher that dies while it writes leaves nothing that is found, and the next one succeeds."""
    folder = result(tmp_path / "a")
    store: Any = place.store()
    for name in ("_rename", "_tag"):
        if hasattr(store, name):
            setattr(store, name, _killed)
    if place.uri.startswith("s3"):
        folder.joinpath("data", "z").mkdir()
        store.publish(key, {"model.onnx": folder / "model.onnx"}, {"manifest.json": b"{}"}, replace=False)
        assert find(key, place.store()) is None
    else:
        with pytest.raises(_Killed):
            publish(folder, manifest(key), store, None)
    assert find(key, place.store()) is None
    made = publish(folder, manifest(key), place.store(), None)
    assert find(key, place.store()) == made


class _Killed(BaseException):
    pass


def _killed(*_: object) -> None:
    raise _Killed


SIGNED_BY = {"nobody": "SignatureMissing", "somebody else": "SignatureInvalid", "the builder": None}


@pytest.mark.parametrize(("signer", "expected"), SIGNED_BY.items(), ids=str)
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_signature_is_demanded(
    s3: Place, tmp_path: Path, key: str, signer: str, expected: str | None, kind: str
) -> None:
    private, public = key_pair(tmp_path, kind)
    other, _ = key_pair(tmp_path, kind)
    signing = {"nobody": None, "somebody else": Signer(other), "the builder": Signer(private)}[signer]
    made = publish(result(tmp_path / "a"), manifest(key), s3.store(), signing)
    assert s3.fetch(tmp_path, order(made.uri, made.digest, keys=(public,))) == (1 if expected else 0)
    if expected:
        assert reason(tmp_path) == expected
        assert find(key, s3.store(), (public,)) is None
        with pytest.raises(Refused, match="ArtifactConflict"):
            publish(result(tmp_path / "b"), manifest(key), s3.store(), Signer(private), (public,))


def test_a_stage_is_kept_and_comes_back(place: Place, tmp_path: Path, key: str) -> None:
    assert not get_stage(key, tmp_path / "none", place.store())
    for number, content in enumerate((b"one", LARGE)):
        folder = result(tmp_path / f"stage{number}", content)
        put_stage(key, folder, place.store())
        assert get_stage(key, tmp_path / f"back{number}", place.store())
        assert (tmp_path / f"back{number}/data/w.bin").read_bytes() == content
        assert (tmp_path / f"back{number}/model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()


@pytest.mark.parametrize("name", ["s3", "oci", "oci_with_tokens"])
def test_a_wrong_secret_is_told(request: pytest.FixtureRequest, tmp_path: Path, key: str, name: str) -> None:
    place: Place = request.getfixturevalue(name)
    made = publish(result(tmp_path / "a"), manifest(key), place.store(), None)
    wrong = place.store(AWS_SECRET_ACCESS_KEY="wrong", OCI_PASSWORD="wrong")
    for ask in (
        lambda: find(key, wrong),
        lambda: publish(result(tmp_path / "b"), manifest("0" * 64), wrong, None),
        lambda: put_stage(key, tmp_path / "a", wrong),
        lambda: get_stage(key, tmp_path / "c", wrong),
    ):
        with pytest.raises(Refused, match="CredentialsRefused") as caught:
            ask()
        assert place.uri in caught.value.message
    secret = {"AWS_SECRET_ACCESS_KEY": "wrong", "OCI_PASSWORD": "wrong"}
    assert place.fetch(tmp_path, order(made.uri, made.digest), **secret) == 1
    assert reason(tmp_path) == "CredentialsRefused"


def test_a_bucket_that_is_not_there_is_told(s3: Place, tmp_path: Path, key: str) -> None:
    store = open_store("s3://nowhere/x", Credentials({**LOGIN, **s3.secret}))
    for ask in (
        lambda: find(key, store),
        lambda: publish(result(tmp_path / "a"), manifest(key), store, None),
        lambda: get_stage(key, tmp_path / "b", store),
    ):
        with pytest.raises(Refused, match="ArtifactStoreMissing"):
            ask()

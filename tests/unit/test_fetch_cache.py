"""The node's model cache: what it serves, what it never serves, and what keeps it inside its bound."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seawall.__main__ import main as seawall
from seawall.fetch import cache as cache_module
from seawall.fetch.cache import Cache, model_cache
from seawall.fetch.download import download
from seawall.fetch.janitor import MARKER, keep
from seawall.fetch.order import Budget
from seawall.fetch.problem import FetchProblem
from seawall.fetch.sources import RemoteFile

CONTENT = b"model" * 2000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NOW = 2_000_000_000.0


class Node:
    """A node's cache, and how often the source was asked."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.cache = Cache(root)
        self.root, self.folder = root, folder
        self.reads = 0

    def fetch(self, content: bytes = CONTENT, wanted: str | None = None, **file: Any) -> dict[str, str]:
        def read() -> Iterator[bytes]:
            self.reads += 1
            yield content[:7]
            yield content[7:]

        expected = wanted or hashlib.sha256(content).hexdigest()
        files = [RemoteFile("m.onnx", read, expected=expected, **file)]
        self.budget = Budget(10**6, 60, lambda: 0.0)
        return download(files, self.folder, self.budget, lambda _: None, self.cache)

    def entry(self, digest: str = DIGEST) -> Path:
        return self.cache.entry(digest)


@pytest.fixture(autouse=True)
def _on_any_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "KEEP_FREE", 0.0)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    for name in ("cache", "models"):
        (tmp_path / name).mkdir()
    return Node(tmp_path / "cache", tmp_path / "models")


def test_the_second_pod_does_not_fetch_again(node: Node) -> None:
    assert node.fetch() == node.fetch() == {"m.onnx": DIGEST}
    assert node.reads == 1
    assert (node.folder / "m.onnx").read_bytes() == CONTENT
    assert node.budget.used == len(CONTENT)


@pytest.mark.parametrize("promise", ["expected", "sha256"])
def test_a_digest_may_come_from_the_order_or_from_the_source(node: Node, promise: str) -> None:
    files = [RemoteFile("m", lambda: iter([CONTENT]), **{promise: DIGEST})]  # type: ignore[arg-type]
    download(files, node.folder, Budget(10**6, 60, lambda: 0.0), lambda _: None, node.cache)
    assert node.entry().read_bytes() == CONTENT


def test_without_a_digest_nothing_is_kept(node: Node) -> None:
    files = [RemoteFile("m", lambda: iter([CONTENT]))]
    download(files, node.folder, Budget(10**6, 60, lambda: 0.0), lambda _: None, node.cache)
    assert list(node.root.iterdir()) == []


def test_what_is_not_what_was_wanted_is_not_kept(node: Node) -> None:
    assert node.fetch(b"other", wanted=DIGEST) != {"m.onnx": DIGEST}
    assert list(node.root.rglob("*")) == []


def _pipe(entry: Path) -> None:
    entry.unlink()
    os.mkfifo(entry)


def _link(entry: Path) -> None:
    other = entry.parent.parent / "elsewhere"
    other.write_bytes(CONTENT)
    entry.unlink()
    entry.symlink_to(other)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "other bytes": lambda e: e.write_bytes(b"X" * len(CONTENT)),
    "a bit too long": lambda e: e.write_bytes(CONTENT + b"x"),
    "cut off": lambda e: e.write_bytes(CONTENT[:-1]),
    "empty": lambda e: e.write_bytes(b""),
    "a link, even to the right bytes": _link,
    "a pipe that would wait for ever": _pipe,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_is_never_served_and_is_replaced(
    node: Node, damage: Callable[[Path], object]
) -> None:
    node.fetch()
    damage(node.entry())
    assert node.fetch() == {"m.onnx": DIGEST}
    assert (node.folder / "m.onnx").read_bytes() == CONTENT
    assert node.reads == 2
    assert not node.entry().is_symlink()
    assert node.entry().read_bytes() == CONTENT
    assert node.budget.used == len(CONTENT)


def test_a_folder_in_an_entrys_place_does_no_harm(node: Node) -> None:
    node.entry().mkdir(parents=True)
    assert node.fetch() == {"m.onnx": DIGEST}


def test_a_cache_that_is_not_there_does_no_harm(node: Node) -> None:
    node.root.rmdir()
    assert node.fetch() == node.fetch() == {"m.onnx": DIGEST}
    assert node.reads == 2


def test_a_model_larger_than_allowed_is_not_served_from_the_cache_either(node: Node) -> None:
    node.fetch()
    with pytest.raises(FetchProblem, match="larger than the 9 bytes"):
        node.cache.take(DIGEST, node.folder / "m", Budget(9, 60, lambda: 0.0))


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63])
def test_what_is_no_digest_names_no_entry(node: Node, digest: str) -> None:
    with pytest.raises(ValueError, match="is no SHA-256"):
        node.cache.entry(digest)


def test_several_fetchers_at_once(node: Node, tmp_path: Path) -> None:
    found: list[dict[str, str]] = []

    def fetch(number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        found.append(Node(node.root, folder).fetch())

    threads = [threading.Thread(target=fetch, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [{"m.onnx": DIGEST}] * 8
    assert [p for p in node.root.rglob("*") if p.is_file()] == [node.entry()]


def put(root: Path, content: bytes, used: float) -> str:
    """One entry, last used then."""
    digest = hashlib.sha256(content).hexdigest()
    entry = Cache(root).entry(digest)
    entry.parent.mkdir(exist_ok=True)
    entry.write_bytes(content)
    os.utime(entry, (used, used))
    return digest


def kept(root: Path) -> set[str]:
    return {p.name for p in root.rglob("*") if p.is_file() and len(p.name) == 64}


def test_a_fetcher_makes_room_among_its_own_first(node: Node) -> None:
    old, young = put(node.root, b"a" * 8192, NOW - 9), put(node.root, b"b" * 8192, NOW - 5)
    source = node.folder / "m"
    source.write_bytes(b"c" * 8192)
    fresh = hashlib.sha256(b"c" * 8192).hexdigest()
    Cache(node.root, 20_000, lambda: NOW).put(fresh, source)
    assert kept(node.root) == {young, fresh}
    assert old not in kept(node.root)


def test_a_file_that_alone_is_too_large_pushes_nothing_out(node: Node) -> None:
    old = put(node.root, b"a" * 8192, NOW)
    source = node.folder / "m"
    source.write_bytes(b"c" * 30_000)
    Cache(node.root, 20_000, lambda: NOW).put(hashlib.sha256(b"c" * 30_000).hexdigest(), source)
    assert kept(node.root) == {old}


def test_what_others_are_writing_counts(node: Node) -> None:
    (node.root / ".part-other").write_bytes(b"p" * 16384)
    os.utime(node.root / ".part-other", (NOW, NOW))
    source = node.folder / "m"
    source.write_bytes(b"c" * 8192)
    Cache(node.root, 20_000, lambda: NOW).put(hashlib.sha256(b"c" * 8192).hexdigest(), source)
    assert kept(node.root) == set()
    assert [p.name for p in node.root.iterdir()] == [".part-other"]


def test_a_nearly_full_disk_is_left_alone(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "KEEP_FREE", 1.0)
    node.fetch()
    assert kept(node.root) == set()


SETTINGS = {
    "off": ({}, None),
    "empty": ({"SEAWALL_MODEL_CACHE": ""}, None),
    "on": ({"SEAWALL_MODEL_CACHE": "/cache"}, (Path("/cache"), None)),
    "bounded": (
        {"SEAWALL_MODEL_CACHE": "/cache", "SEAWALL_MODEL_CACHE_BYTES": "100"},
        (Path("/cache"), 100),
    ),
}


@pytest.mark.parametrize(("environment", "expected"), SETTINGS.values(), ids=SETTINGS)
def test_the_environment_says_whether_there_is_a_cache(environment: dict[str, str], expected: object) -> None:
    made = model_cache(environment)
    assert (made and (made.root, made.most)) == expected


# The node's view: all namespaces together.


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        (tmp_path / "shared" / name).mkdir(parents=True)
    return tmp_path / "shared"


def test_the_least_recently_used_go_first_whosever_they_are(shared: Path) -> None:
    a = put(shared / "one", b"a" * 8192, NOW - 30)
    b = put(shared / "two", b"b" * 8192, NOW - 40)
    c = put(shared / "one", b"c" * 8192, NOW - 20)
    assert keep(shared, 3 * 8192, lambda: NOW)
    assert kept(shared) == {a, b, c}
    assert keep(shared, 2 * 8192, lambda: NOW)
    assert kept(shared) == {a, c}
    assert keep(shared, 8192, lambda: NOW)
    assert kept(shared) == {c}
    assert keep(shared, 0, lambda: NOW)
    assert kept(shared) == set()


def test_a_file_being_served_was_used_just_now(shared: Path, tmp_path: Path) -> None:
    a, b = put(shared / "one", b"a" * 8192, NOW - 30), put(shared / "one", b"b" * 8192, NOW - 20)
    assert Cache(shared / "one", clock=lambda: NOW).take(a, tmp_path / "m", Budget(10**6, 60, lambda: 0.0))
    keep(shared, 8192, lambda: NOW)
    assert kept(shared) == {a}
    assert b not in kept(shared)


def test_a_time_in_the_future_is_no_place_for_ever(shared: Path) -> None:
    put(shared / "one", b"a" * 8192, NOW + 10**6)
    honest = put(shared / "two", b"b" * 8192, NOW - 1000)
    keep(shared, 8192, lambda: NOW)
    assert kept(shared) == {honest}


def test_parts_are_left_to_their_writers_until_these_are_long_dead(shared: Path) -> None:
    for name, age in (("young", 60), ("old", 7200)):
        (shared / "one" / f".part-{name}").write_bytes(b"p" * 8192)
        os.utime(shared / "one" / f".part-{name}", (NOW - age, NOW - age))
    keep(shared, 0, lambda: NOW)
    assert [p.name for p in (shared / "one").iterdir()] == [".part-young"]


def test_what_is_not_of_the_cache_stays(shared: Path, tmp_path: Path) -> None:
    keep(shared, 0, lambda: NOW)
    (outside := tmp_path / "outside").mkdir()
    precious = [outside / DIGEST, shared / "one" / "notes.txt", shared / "one" / "ab" / "short"]
    (shared / "one" / "ab").mkdir()
    for path in (*precious, shared / "FILE", shared / "one" / DIGEST[:2]):
        path.write_bytes(b"precious")
    (shared / "linked").symlink_to(outside)
    (shared / "two" / DIGEST[:2]).symlink_to(outside)
    (shared / "two" / "ab").mkdir()
    (shared / "two" / "ab" / ("ab" + "0" * 62)).symlink_to(precious[0])
    assert keep(shared, 0, lambda: NOW)
    assert all(path.read_bytes() == b"precious" for path in precious)
    assert (shared / "two" / "ab" / ("ab" + "0" * 62)).is_symlink()


def test_the_folders_are_opened_to_the_pods(shared: Path) -> None:
    shared.chmod(0o755)
    (shared / "one").chmod(0o700)
    keep(shared, 0, lambda: NOW)
    for folder in (shared, shared / "one", shared / "two"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o1777


@pytest.mark.parametrize("what", ["etc/passwd", "lib/kubelet/config.yaml"])
def test_a_folder_of_something_else_is_left_as_it_is(
    tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "var"
    (root / what).parent.mkdir(parents=True)
    (root / what).write_text("x")
    before = {p: p.stat().st_mode for p in (root, *root.rglob("*"))}
    assert seawall(["cache", "--path", str(root), "--max-bytes", "1Gi"]) == 1
    assert {p: p.stat().st_mode for p in (root, *root.rglob("*"))} == before
    assert "the folder holds something else" in capsys.readouterr().out


def test_the_command_looks_once_and_says_what_it_did(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(shared / "one", b"a" * 8192, NOW - 30)
    capsys.readouterr()
    assert seawall(["cache", "--path", str(shared), "--max-bytes", "4Ki"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()][-1]
    assert {k: told[k] for k in ("namespaces", "bytes", "most", "evicted", "freed")} == {
        "namespaces": 2,
        "bytes": 0,
        "most": 4096,
        "evicted": 1,
        "freed": 8192,
    }
    assert (shared / MARKER).is_file()


def test_the_command_goes_on_until_it_is_told_to_stop(shared: Path) -> None:
    command = [sys.executable, "-m", "seawall", "cache", "--path", str(shared), "--max-bytes", "1Gi"]
    with subprocess.Popen([*command, "--interval", "3600"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "looked at the cache" in line:
                process.terminate()
        assert process.wait() == 0


@pytest.mark.parametrize("arguments", [("--max-bytes", "much"), ("--max-bytes", "1", "--interval", "0")])
def test_odd_arguments_are_refused(shared: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match="2"):
        seawall(["cache", "--path", str(shared), *arguments])

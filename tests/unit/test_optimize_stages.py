"""The stage cache: what is used again, what is made anew, and what a killed build leaves."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from seawall.optimize import versions
from seawall.optimize.stages import RECORD, Stages, key_of


class Work:
    """Writes one file and counts how often."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self, folder: Path) -> Mapping[str, Any]:
        self.done += 1
        (folder / "graph").mkdir()
        (folder / "graph" / "model.onnx").write_bytes(b"weights")
        return {"method": "int8", "tried": ("a", "b")}


def test_the_same_material_is_worked_on_once(tmp_path: Path) -> None:
    work = Work()
    for _ in range(2):
        stages = Stages(tmp_path)
        done = stages.run("compress", {"step": "int8"}, work)
        assert (done.folder / "graph/model.onnx").read_bytes() == b"weights"
        assert done.detail == {"method": "int8", "tried": ["a", "b"]}
    assert work.done == 1
    assert [(s.name, s.cached) for s in stages.done] == [("compress", True)]


OTHERWISE = {
    "another name": ("prove", {"step": "int8"}),
    "another material": ("compress", {"step": "int4"}),
}


@pytest.mark.parametrize(("name", "material"), OTHERWISE.values(), ids=OTHERWISE.keys())
def test_anything_else_is_worked_on_anew(tmp_path: Path, name: str, material: Any) -> None:
    work, stages = Work(), Stages(tmp_path)
    stages.run("compress", {"step": "int8"}, work)
    stages.run(name, material, work)
    assert work.done == 2


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "a changed byte": lambda e: (e / "graph/model.onnx").write_bytes(b"weightz"),
    "a lost file": lambda e: (e / "graph/model.onnx").unlink(),
    "a file too many": lambda e: (e / "graph/more").write_bytes(b""),
    "no record": lambda e: (e / RECORD).unlink(),
    "half a record": lambda e: (e / RECORD).write_bytes((e / RECORD).read_bytes()[:20]),
    "a record of something else": lambda e: (e / RECORD).write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_entry_is_made_anew(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    work, stages = Work(), Stages(tmp_path)
    damage(stages.run("compress", 1, work).folder)
    done = stages.run("compress", 1, work)
    assert work.done == 2
    assert (done.folder / "graph/model.onnx").read_bytes() == b"weights"
    assert not list(tmp_path.glob(".making-*"))


def test_work_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fails(folder: Path) -> Mapping[str, Any]:
        (folder / "half").write_bytes(b"x")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        Stages(tmp_path).run("compress", 1, fails)
    assert list(tmp_path.iterdir()) == []


def test_fresh_work_replaces_what_was_there(tmp_path: Path) -> None:
    work, stages = Work(), Stages(tmp_path)
    stages.run("fetch", 1, work)
    stages.run("fetch", 1, work, fresh=True)
    assert work.done == 2
    assert len(list(tmp_path.iterdir())) == 1


class Store:
    """A store in a folder, as a machine that has gone left it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, key: str, folder: Path) -> bool:
        if not (self.folder / key).is_dir():
            return False
        shutil.copytree(self.folder / key, folder, dirs_exist_ok=True)
        return True

    def save(self, key: str, folder: Path) -> None:
        shutil.rmtree(self.folder / key, ignore_errors=True)
        shutil.copytree(folder, self.folder / key)


def test_costly_stages_come_from_the_store_on_another_machine(tmp_path: Path) -> None:
    work, store = Work(), Store(tmp_path / "store")
    for machine in ("first", "second"):
        stages = Stages(tmp_path / machine, store)
        stages.run("train", 1, work, costly=True)
        stages.run("convert", 1, work)
    assert work.done == 3
    assert [s.cached for s in stages.done] == [True, False]
    entry = next((tmp_path / "store").iterdir())
    (entry / "graph/model.onnx").write_bytes(b"rotten")
    Stages(tmp_path / "third", store).run("train", 1, work, costly=True)
    assert work.done == 4
    assert (entry / "graph/model.onnx").read_bytes() == b"weights"


def test_another_release_of_a_library_does_not_read_what_an_older_one_made(tmp_path: Path) -> None:
    releases = dict(versions.here())
    assert {"onnx", "onnxruntime", "seawall"} <= releases.keys()
    for name in ("onnx", "onnxruntime", "seawall"):
        assert key_of("prove", "m", releases | {name: "0.0.1"}) != key_of("prove", "m")
    assert key_of("prove", "m", releases) == key_of("prove", "m")


def test_releases_of_another_interpreter_are_asked_of_it(tmp_path: Path) -> None:
    found = versions.of(sys.executable, ("onnx", "no-such-library"))
    assert found == {"onnx": versions.here()["onnx"]}
    assert versions.of(str(tmp_path / "nowhere"), ("onnx",)) == {}

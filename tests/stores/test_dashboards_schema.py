"""The dashboards against the types that Grafana publishes of them, under a strict compiler."""

from __future__ import annotations

import copy
import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dashboards.grafana_types import program
from dashboards.queries import load
from seawall_cluster.cache import cache_directory

NPM = shutil.which("npm")
pytestmark = [pytest.mark.stores, pytest.mark.skipif(NPM is None, reason="npm is not here")]
PINNED = Path(__file__).parents[2] / "tools" / "dashboards" / "npm"
FLAGS = ["--noEmit", "--strict", "--skipLibCheck", "--moduleResolution", "bundler", "--module", "esnext"]


@pytest.fixture(scope="module")
def types() -> Path:
    """A folder with Grafana's types and the compiler, kept by what is pinned."""
    lock = PINNED / "package-lock.json"
    folder = cache_directory() / "npm" / f"grafana-types-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for file in (PINNED / "package.json", lock):
            shutil.copyfile(file, folder / file.name)
        command = [str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
        (folder / "done").touch()
    return folder


@pytest.fixture
def compiled(types: Path, tmp_path: Path) -> Callable[[Any], str]:
    """What the compiler says of dashboards; nothing if they are right."""
    (tmp_path / "node_modules").symlink_to(types / "node_modules")

    def compile_(pages: Any) -> str:
        (tmp_path / "check.ts").write_text(program(pages))
        command = ["node", str(types / "node_modules" / "typescript" / "bin" / "tsc"), *FLAGS, "check.ts"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
        assert (done.returncode == 0) == (not done.stdout)
        return done.stdout

    return compile_


def test_grafanas_types_hold_the_dashboards(compiled: Callable[[Any], str]) -> None:
    assert compiled(load()) == ""


def wrong(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    pages = copy.deepcopy(load())
    change(pages["service"])
    return pages


def panel_of(page: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(panel for panel in page["panels"] if panel["type"] == kind)


WRONG: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a number as text": (lambda page: page.update(schemaVersion="41"), "not assignable to type 'number'"),
    "a word that is none of a list": (
        lambda page: panel_of(page, "timeseries")["options"]["legend"].update(displayMode="tabel"),
        "Did you mean '\"table\"'",
    ),
    "a field of a panel that there is not": (
        lambda page: panel_of(page, "stat").update(heigth=4),
        "'\"heigth\"' does not exist",
    ),
    "an option of a plugin that there is not": (
        lambda page: panel_of(page, "heatmap")["options"].update(cellGapp=4),
        "'\"cellGapp\"'",
    ),
}


@pytest.mark.parametrize(("change", "said"), WRONG.values(), ids=list(WRONG))
def test_a_mistake_is_seen(
    compiled: Callable[[Any], str], change: Callable[[dict[str, Any]], object], said: str
) -> None:
    assert said in compiled(wrong(change))

"""When tools/images builds, what it takes for changed, and what it learns from the machine."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load() -> ModuleType:
    """The program, which has no suffix, as a module."""
    loader = importlib.machinery.SourceFileLoader("tools_images", str(ROOT / "tools" / "images"))
    spec = importlib.util.spec_from_loader("tools_images", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tools_images"] = module  # dataclasses look their module up
    loader.exec_module(module)
    return module


images = load()
host = sys.modules["builder.host"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "checkout"
    for name, content in (("one/Containerfile", "FROM scratch"), ("one/sub/code.py", "1"), ("list.txt", "a")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    monkeypatch.setattr(images, "ROOT", root)
    monkeypatch.setattr(images, "STORE", tmp_path / "store")
    monkeypatch.setattr(images, "ALL", ("one",))
    monkeypatch.setattr(
        images, "IMAGES", {"one": images.Image("one", "localhost/one:dev", "one", ("one", "list.txt"))}
    )
    return root


CHANGES = {
    "a file of a folder": ("one/sub/code.py", "2", True),
    "a named file": ("list.txt", "b", True),
    "a new file": ("one/sub/more.py", "", True),
    "bytecode": ("one/sub/__pycache__/code.pyc", "x", False),
    "a file beside the inputs": ("README.md", "x", False),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_counts_as_a_change(checkout: Path, case: str) -> None:
    name, content, counts = CHANGES[case]
    image = images.IMAGES["one"]
    before = image.archive(checkout)
    (checkout / name).parent.mkdir(parents=True, exist_ok=True)
    (checkout / name).write_text(content)
    assert (image.archive(checkout) != before) is counts


def test_the_build_context_holds_the_inputs_and_nothing_else(checkout: Path, tmp_path: Path) -> None:
    (checkout / "secret.key").write_text("x")
    images.IMAGES["one"].stage(tmp_path / "context")
    found = {str(path.relative_to(tmp_path / "context")) for path in (tmp_path / "context").rglob("*.*")}
    assert found == {"list.txt", "one/sub/code.py"}
    assert images.IMAGES["one"].archive(tmp_path / "context") == images.IMAGES["one"].archive(checkout)


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["images", *words])
    assert images.main() == 0
    return capsys.readouterr().out


def test_an_image_is_built_once_and_older_ones_go(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    built: list[Path] = []

    def build(image: Any) -> Path:
        built.append(image.archive(checkout))
        built[-1].touch()
        return built[-1]

    monkeypatch.setattr(images, "build", build)
    first = run(monkeypatch, capsys, "all").strip()
    assert run(monkeypatch, capsys, "one").strip() == first == str(built[0])
    other = Path(first).with_name("one-more-0123456789abcdef.tar")
    other.touch()
    (checkout / "list.txt").write_text("b")
    told = json.loads(run(monkeypatch, capsys, "--json", "one"))
    assert told == {"one": {"image": "localhost/one:dev", "archive": str(built[1])}}
    assert sorted(path.name for path in images.STORE.glob("*.tar")) == sorted([built[1].name, other.name])


def test_settings_of_the_machine_become_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full, empty, bundle = tmp_path / "full", tmp_path / "empty", tmp_path / "ca.pem"
    full.mkdir()
    empty.mkdir()
    (full / "one.whl").touch()
    for name in (*host.CA_VARIABLES, *host.PROXIES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CERT", str(bundle))
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:word@index.example/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", f"{full} {empty}")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    settings = host.pip_settings()
    assert settings["find-links"] == [str(full)]
    words = host.secrets(tmp_path, settings)
    assert f"id=ca,src={bundle}" in words
    assert words[-2:] == ["--build-arg", "https_proxy"]
    assert not any("index.example" in word for word in words)
    written = (tmp_path / "pip").read_text().splitlines()
    assert "index-url = https://me:word@index.example/simple" in written
    assert "cert = /run/build/ca.pem" in written

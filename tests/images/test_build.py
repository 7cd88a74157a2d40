"""When tools/images builds, what it takes for changed, and what it learns from the machine."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(name: str, path: str) -> ModuleType:
    """A program, which may have no suffix, as a module."""
    loader = importlib.machinery.SourceFileLoader(name, str(ROOT / path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    loader.exec_module(module)
    return module


images = load("tools_images", "tools/images")
apart = load("images_apart", "images/operator/apart.py")
IMAGES = images.IMAGES
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


@pytest.mark.parametrize("name", IMAGES)
def test_what_an_image_is_made_of_is_there(name: str) -> None:
    image = IMAGES[name]
    assert [each for each in image.inputs if not (ROOT / each).exists()] == []
    told = (ROOT / image.containerfile).read_text()
    stages = set(re.findall(r"^FROM .* AS ([a-z-]+)$", told, re.MULTILINE))
    assert image.target in stages | {""}
    given = {argument.partition("=")[0] for argument in image.arguments}
    assert given <= set(re.findall(r"^ARG ([A-Z_]+)", told, re.MULTILINE))


def lock(**releases: str) -> str:
    heads = {name: f"{name.replace('_', '-')}=={release}" for name, release in releases.items()}
    lines = [
        f"{head} \\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}\n    # via x"
        for head in heads.values()
    ]
    return "# a comment\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("wanted", "there", "left"),
    [
        (lock(torch="2.1", numpy="1.26"), lock(torch="2.1", numpy="2.4"), ["numpy==1.26"]),
        (lock(torch="2.1"), lock(torch="2.1", more="1"), []),
        (lock(torch="2.1+cpu"), lock(torch="2.1"), ["torch==2.1+cpu"]),
        (lock(ml_dtypes="0.5"), lock(), ["ml-dtypes==0.5"]),
        (lock(A="1").replace("A==", "A[more]=="), lock(a="1"), []),
        (lock(a="1").replace("1 \\", "1 ; sys_platform == 'linux' \\"), lock(a="1"), []),
    ],
)
def test_what_another_lock_pins_in_the_same_release_is_not_installed_twice(
    wanted: str, there: str, left: list[str]
) -> None:
    made = apart.apart(wanted, there)
    assert [line.split()[0] for line in made.splitlines() if not line[0].isspace()] == left
    assert made.count("--hash=") == 2 * len(left)


def test_a_line_that_pins_nothing_is_refused() -> None:
    with pytest.raises(SystemExit, match="no pinned requirement: torch>=2"):
        apart.apart("torch>=2\n", "")


def test_the_locks_for_gpus_borrow_what_is_large() -> None:
    texts = [(ROOT / "requirements" / f"{name}.txt").read_text() for name in ("gpu", "training")]
    left = {name for name, _ in apart.pins(apart.apart(*texts))}
    assert "nvidia-modelopt" in left
    assert [name for name in left if name == "torch" or name.startswith(("nvidia-cu", "nvidia-nccl"))] == []

"""Rules of the house that no other tool checks: what must not exist, and what must say the same in two places."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import seawall

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HIDDEN_BUT_OURS = {".ci", ".gitignore", ".dockerignore", ".containerignore"}
MADE = {"build", "dist", "__pycache__"}

# Spelt in pieces, so that this file does not name what it forbids.
REGISTRIES = [
    "pypi" + ".org",
    "pythonhosted" + ".org",
    "proxy.golang" + ".org",
    "npmjs" + ".org",
    "crates" + ".io",
]
MACHINE_PATH = re.compile(r"(?<![\w/.}-])/(?:ro" + r"ot|wo" + r"rk)(?=[/\s\"'`,;]|$)", re.MULTILINE)
HOME_OF_ROOT = re.compile(r":/ro" + r"ot:")
"""The account's home in a passwd line of an image."""


def files():
    """Every file of the checkout that somebody wrote."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders if f not in MADE and (not f.startswith(".") or f in HIDDEN_BUT_OURS)]
        folders[:] = [f for f in folders if not f.endswith(".egg-info")]
        for name in names:
            if not name.startswith(".") or name in HIDDEN_BUT_OURS:
                yield Path(folder) / name


def text_of(path):
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""  # a binary file names nothing


def offenders(pattern):
    return [str(p.relative_to(ROOT)) for p in files() if pattern.search(text_of(p))]


def distribution(requirement):
    return re.match(r"[\w.-]+", requirement)[0].lower()


def direct_dependencies():
    project = PROJECT["project"]
    groups = [PROJECT["build-system"]["requires"], project["dependencies"]]
    groups += project["optional-dependencies"].values()
    return {distribution(r) for group in groups for r in group} - {"seawall"}


def test_the_folder_operator_is_no_package():
    assert not (ROOT / "operator" / "__init__.py").exists(), "it would shadow the standard library's operator"


def test_every_direct_dependency_is_explained_and_nothing_else():
    listed = re.findall(r"^\| `([\w.-]+)` \|", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE)
    assert len(listed) == len(set(listed)), "listed twice"
    assert {name.lower() for name in listed} == direct_dependencies()


def test_lock_files_carry_hashes_and_no_addresses():
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    assert locks
    for lock in locks:
        text = lock.read_text()
        assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host| @ ", text), lock.name
        pins = re.findall(r"^[\w.-]+(?:\[[\w,.-]+\])?==", text, re.MULTILINE)
        assert pins, f"{lock.name} pins nothing"
        assert text.count("--hash=sha256:") >= len(pins), f"{lock.name} lacks hashes"


@pytest.mark.parametrize("host", REGISTRIES)
def test_no_file_names_a_package_registry(host):
    assert offenders(re.compile(re.escape(host))) == []


def test_no_file_names_a_path_of_one_machine():
    found = [
        str(p.relative_to(ROOT)) for p in files() if MACHINE_PATH.search(HOME_OF_ROOT.sub("", text_of(p)))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cd /ro" + "ot/project", True),
        ('path = "/wo' + 'rk/main"', True),
        ("HOME=/ro" + "ot", True),
        ("mount /proc/self/ro" + "ot", False),
        ("/var/lib/wo" + "rk/x", False),
        ("the ro" + "ot user", False),
        ("{folder}/wo" + "rk/", False),
    ],
)
def test_what_counts_as_a_machine_path(text, found):
    assert bool(MACHINE_PATH.search(text)) is found


def test_the_version_is_said_the_same_everywhere():
    version = PROJECT["project"]["version"]
    charts = [yaml.safe_load(p.read_text()) for p in (ROOT / "charts").glob("*/Chart.yaml")]
    assert charts
    assert {str(chart["appVersion"]) for chart in charts} == {version}
    assert seawall.__version__ == version
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_ci_entry_runs_everything():
    entry = ROOT / ".ci" / "run"
    assert os.access(entry, os.X_OK)
    assert "make test" in entry.read_text()

"""What the pages name is there: files, targets, fields, values of the chart, settings, series, extras, links."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import yaml

from seawall import ports
from seawall.api import crd
from seawall.settings import Settings
from support import pages
from support.pages import ROOT, Piece

HOSTS = {"in-toto.io", "kind.sigs.k8s.io"}
"""Whose pages may be linked: they cannot be asked here whether they are still there, so there are few."""

FOLDERS = "bench|charts|crds|docs|examples|images|operator|requirements|schemas|tests|tools"
PATH = re.compile(rf"@?((?:{FOLDERS})/[\w./*{{}}-]*[\w/*}}])")
ROOMS = "|".join(sorted(p.parent.name for p in (ROOT / "operator" / "seawall").glob("*/__init__.py")))
MODULE = re.compile(rf"(?:{ROOMS})/[\w/]+\.py")


def words_shown() -> Iterator[tuple[Piece, str]]:
    for piece in pages.inline():
        yield from ((piece, word) for word in piece.text.split())
    for piece in pages.blocks("sh", "console"):
        for _, words in pages.commands(pages.typed(piece)):
            yield from ((piece, word) for word in words)


def files_shown() -> list[tuple[str, str, str]]:
    found = []
    for piece, word in words_shown():
        if match := PATH.fullmatch(word):
            found.append((str(piece), "", re.sub(r"{\w+}|\bNAME\b", "*", match[1])))
        elif MODULE.fullmatch(word):
            found.append((str(piece), "operator/seawall", word))
    return found


def test_files_that_are_named_exist():
    shown = files_shown()
    assert len(shown) >= 100
    missing = [f"{where}: {path}" for where, base, path in shown if not list((ROOT / base).glob(path))]
    assert missing == []


def test_targets_that_are_named_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = [
        (str(piece), target)
        for piece in (*pages.inline(), *pages.blocks("sh", "console"))
        for target in re.findall(r"^make ([a-z-]+)", piece.text, re.MULTILINE)
    ]
    assert len(shown) >= 20
    assert [f"{where}: make {target}" for where, target in shown if target not in targets] == []


FIELD = re.compile(r"(?:spec|status)(?:\.[a-zA-Z][\w]*(?:\[\])?)+")


def has_field(kind: str, path: str) -> bool:
    schema: dict[str, Any] = crd.schema(kind)
    for name in path.replace("[]", "").split("."):
        while schema.get("type") == "array":
            schema = schema["items"]
        if schema.get("x-kubernetes-preserve-unknown-fields"):
            return True
        if name not in schema.get("properties", {}):
            return "additionalProperties" in schema
        schema = schema["properties"][name]
    return True


OTHERS_FIELDS = {
    "spec.replicas",
    "spec.predictor",
    "spec.transformer",
    "status.url",
    "spec.versions",
    "status.storedVersions",
}
"""Of Deployments, of KServe's InferenceServices and of CustomResourceDefinitions."""


def test_fields_that_are_named_exist():
    shown = [(str(p), p.text) for p in pages.inline() if FIELD.fullmatch(p.text)]
    assert len(shown) >= 40
    unknown = [
        f"{where}: {path}"
        for where, path in shown
        if not any(has_field(kind, path) for kind in crd.MODELS)
        and not any(path == other or path.startswith(f"{other}.") for other in OTHERS_FIELDS)
    ]
    assert unknown == []


VALUE = re.compile(r"(?!\S+\.(?:yaml|json|md)$)[a-zA-Z]+(?:\.[a-zA-Z]+)+(?:=\S+)?")


def test_values_of_the_chart_that_are_named_exist():
    values = yaml.safe_load((ROOT / "charts" / "seawall" / "values.yaml").read_text())

    def there(path: str) -> bool:
        inner: Any = values
        for name in path.split("."):
            if not isinstance(inner, dict) or (inner and name not in inner):
                return False
            inner = inner.get(name, {})
        return True

    # `metrics` and `accelerators` are words of values alone; a field of a spec has another first word.
    shown = [
        (str(piece), piece.text.partition("=")[0])
        for piece in pages.inline()
        if VALUE.fullmatch(piece.text) and piece.text.split(".")[0] in values.keys() - {"image"}
    ]
    assert len(shown) >= 40
    assert [f"{where}: {path}" for where, path in shown if not there(path)] == []


def test_every_setting_is_in_the_operators_table_and_nothing_else():
    section = (ROOT / "docs" / "operator.md").read_text().split("\n## Settings")[1]
    listed = re.findall(r"`([A-Z][A-Z_]+)`", "".join(re.findall(r"^\|([^|]+)\|", section, re.MULTILINE)))
    assert len(listed) == len(set(listed)), "listed twice"
    assert {name.lower() for name in listed} == set(Settings.model_fields)


def series_there_are() -> set[str]:
    folders = (ROOT / "operator" / "seawall" / "runtime", ROOT / "operator" / "seawall" / "desired")
    source = "".join(path.read_text() for folder in folders for path in folder.glob("*.py"))
    # Most are put together from a field's name: f"seawall_{name}".
    return set(re.findall(r'"(?:seawall_)?([a-z0-9_]+)"', source))


def test_series_of_the_operator_that_are_named_exist():
    there = series_there_are()
    shown = [
        (str(piece), name)
        for piece in pages.inline()
        for name in re.findall(r"(?<![/\w])seawall_[a-z0-9_]*[a-z0-9]", piece.text)
    ]
    shown = [(where, name) for where, name in shown if name != "seawall_cluster"]  # a package of tools/
    assert len(shown) >= 40
    endings = re.compile(r"_(total|bucket|count|sum)$")
    missing = [
        f"{where}: {name}"
        for where, name in shown
        if not {name.removeprefix("seawall_"), endings.sub("", name).removeprefix("seawall_")} & there
    ]
    assert missing == []


def test_every_room_and_every_door_is_in_the_architecture():
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z]+)` \| (.*)$", page.split("\n## Rooms")[1], re.MULTILINE))
    assert rows.keys() == {*ROOMS.split("|"), "ports"}
    doors = {name for name, value in vars(ports).items() if getattr(value, "_is_protocol", False)}
    assert set(re.findall(r"`(\w+)`", rows["ports"])) == doors - {"Protocol"}


def test_extras_that_are_named_exist():
    there = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"].keys()
    named = r"\bextra `([a-z]+)`|\b(?:seawall|\.)\[([a-z]+)\]"
    shown = [
        (page.name, found[1] or found[2])
        for page in pages.PAGES
        for found in re.finditer(named, page.read_text(encoding="utf-8"))
    ]
    assert len(shown) >= 8
    assert [f"{where}: {extra}" for where, extra in shown if extra not in there] == []


def test_links_between_files_lead_somewhere():
    """Of the pages that are no part of the site, whose links mkdocs follows."""
    outside = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "examples").rglob("*.md")]
    shown = [
        (page, target)
        for page in outside
        for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    ]
    assert len(shown) >= 20
    assert [f"{page.name}: {target}" for page, target in shown if not (page.parent / target).exists()] == []


def test_links_that_lead_outside_are_few_and_safe():
    shown = pages.links()
    assert len(shown) >= 2
    for piece in shown:
        address = urlsplit(piece.text)
        assert address.hostname in HOSTS, f"{piece}: {piece.text}"
        assert address.scheme == "https", f"{piece}: {piece.text}"

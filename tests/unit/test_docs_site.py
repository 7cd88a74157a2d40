"""The site builds without a warning, links and anchors included, and its pages ask no other host for anything."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.pages import PAGES, ROOT

pytestmark = pytest.mark.long
LOADED = {
    "script": "src", "link": "href", "img": "src", "source": "src", "iframe": "src", "object": "data",
    "video": "src", "audio": "src", "embed": "src", "use": "href",
}  # fmt: skip
"""What a browser fetches by itself when it opens a page."""
NOT_LOADED = {"canonical", "next", "prev", "edit"}
"""Relations of <link> that a browser does not follow."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    made = subprocess.run(
        [ROOT / "tools" / "venv", "docs"], capture_output=True, text=True, check=False, timeout=600
    )
    assert made.returncode == 0, made.stderr
    built = subprocess.run(
        [made.stdout.strip(), "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=600,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return folder


class Loads(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if set((given.get("rel") or "").split()) & NOT_LOADED:
            return
        for name in (LOADED.get(tag), "srcset"):
            if name and (address := given.get(name)):
                self.addresses += [part.split()[0] for part in address.split(",")]


def loads(text: str) -> list[str]:
    reader = Loads()
    reader.feed(text)
    return reader.addresses


def elsewhere(addresses: list[str]) -> Iterator[str]:
    yield from (address for address in addresses if urlsplit(address).netloc)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('<script src="https://cdn.example/x.js">', ["https://cdn.example/x.js"]),
        ('<link rel="stylesheet" href="//cdn.example/x.css">', ["//cdn.example/x.css"]),
        ('<link rel="canonical" href="https://docs.example/">', []),
        ('<img src="pictures/a.png" srcset="https://cdn.example/b.png 2x">', ["https://cdn.example/b.png"]),
        ('<a href="https://kind.example">', []),
    ],
)
def test_what_counts_as_asking_another_host(text, found):
    assert list(elsewhere(loads(text))) == found


def test_every_page_is_there(site):
    pages = [page for page in PAGES if page.is_relative_to(ROOT / "docs")]
    assert len(pages) >= 50
    missing = [
        str(page)
        for page in pages
        if not (site / page.relative_to(ROOT / "docs")).with_suffix(".html").exists()
    ]
    assert missing == []


def test_no_page_asks_another_host(site):
    pages = sorted(site.rglob("*.html"))
    asked = {
        f"{page.relative_to(site)}: {address}"
        for page in pages
        for address in elsewhere(loads(page.read_text(encoding="utf-8")))
    }
    assert asked == set()
    assert sum(len(loads(page.read_text(encoding="utf-8"))) for page in pages) > len(pages)


def test_no_page_makes_the_theme_fetch_a_script(site):
    """The theme gets a drawing program, and figures of a repository, from their hosts where a page asks for them."""
    text = "".join(page.read_text(encoding="utf-8") for page in site.rglob("*.html"))
    assert 'class="mermaid"' not in text
    assert 'data-md-component="source"' not in text


def test_no_style_asks_another_host(site):
    styles = sorted(site.rglob("*.css"))
    assert styles
    for style in styles:
        text = style.read_text(encoding="utf-8")
        assert "url(http" not in text.replace('"', "").replace("'", ""), style
        assert "@import" not in text, style

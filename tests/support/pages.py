"""The pages of the documentation, taken apart: fenced blocks and inline code, each with the line where it stands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md")

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_INLINE = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")
_LINK = re.compile(r"\]\((https?://[^)\s]+)\)|<(https?://[^>\s]+)>")
_HEREDOC = re.compile(r"<<-?'?(\w+)'?")
_ENDS = frozenset("|&;()<>\n")


@dataclass(frozen=True)
class Piece:
    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> list[Piece]:
    return [
        Piece(page, 1 + text.count("\n", 0, found.start()), found["language"], found["text"])
        for page, text in _texts()
        for found in _FENCE.finditer(text)
        if found["language"] in languages
    ]


def inline() -> list[Piece]:
    """What stands between backticks outside of the blocks; a break of the line within is a space."""
    return [
        Piece(page, 1 + prose.count("\n", 0, found.start()), "", " ".join(found[1].split()))
        for page, prose in _prose()
        for found in _INLINE.finditer(prose)
    ]


def links() -> list[Piece]:
    """Addresses outside of the project that a reader may click."""
    return [
        Piece(page, 1 + prose.count("\n", 0, found.start()), "", found[1] or found[2])
        for page, prose in _prose()
        for found in _LINK.finditer(prose)
    ]


def typed(piece: Piece) -> str:
    """Of a console only what was typed, not what was answered."""
    if piece.language == "sh":
        return piece.text
    kept, goes_on = [], False
    for line in piece.text.split("\n"):
        kept.append(line if goes_on or line.startswith("$ ") else "")
        goes_on = bool(kept[-1]) and line.endswith("\\")
    return "\n".join(kept)


def commands(text: str) -> Iterator[tuple[int, list[str]]]:
    """Line (from 0) and words of each command in a block of shell, pipes, lists and substitutions taken apart."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        begin, whole = at, lines[at].removeprefix("$ ")
        while whole.endswith("\\") and at + 1 < len(lines):
            at += 1
            whole = whole[:-1] + lines[at]
        if here := _HEREDOC.search(whole):
            at = lines.index(here[1], at)
        while _open_quote(whole) and at + 1 < len(lines):
            at += 1
            whole += "\n" + lines[at]
        at += 1
        for words in _apart(whole):
            yield begin, words


def heredocs(text: str, program: str) -> Iterator[str]:
    """What is fed to `program` by a here-document."""
    for found in re.finditer(rf"^{program}\b[^\n]*<<-?'?(\w+)'?\n(.*?)^\1$", text, re.MULTILINE | re.DOTALL):
        yield found[2]


def _texts() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        yield page, page.read_text(encoding="utf-8")


def _prose() -> Iterator[tuple[Path, str]]:
    """The same with every block made empty, lines kept."""
    for page, text in _texts():
        yield page, _FENCE.sub(lambda found: "\n" * found[0].count("\n"), text)


def _open_quote(line: str) -> bool:
    try:
        shlex.split(line, comments=True)
    except ValueError:
        return True
    return False


def _apart(line: str) -> Iterator[list[str]]:
    reader = shlex.shlex(line, posix=True, punctuation_chars="|&;()<>")
    reader.whitespace_split = True
    words: list[str] = []
    for word in reader:
        if word and set(word) <= _ENDS:
            if words:
                yield words
            words = []
        else:
            words.append(word)
    if words:
        yield words

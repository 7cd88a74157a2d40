"""docs/cli.md: every command is in it, and every line that it shows is one that the program takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from seawall.__main__ import COMMANDS, parser

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
INSIDE = ("fetch", "cache", "build", "comparator")
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


def shown():
    """The words of each `seawall` in the page's blocks, without what a shell adds around it."""
    for block in BLOCKS:
        for line in block.splitlines():
            for part in re.split(r"\||<\(", line):
                words = shlex.split(part.replace(")", ""), comments=True)
                if words[:1] == ["seawall"]:
                    yield words[1:][: words.index(">") - 1] if ">" in words else words[1:]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in INSIDE])
def test_every_command_has_a_section_with_an_example(command):
    section = re.search(rf"^## seawall {command}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section, f"docs/cli.md has no section `## seawall {command}`"
    assert f"seawall {command}" in "".join(re.findall(r"```sh\n(.*?)```", section[1], re.DOTALL))
    assert f"(#seawall-{command})" in PAGE.split("## Installing")[0]


@pytest.mark.parametrize("command", INSIDE)
def test_what_pods_run_is_named(command):
    assert f"`seawall {command}`" in PAGE.split("## Inside pods")[1]


def test_there_are_examples():
    assert len(list(shown())) > 20


@pytest.mark.parametrize("words", list(shown()), ids=" ".join)
def test_every_example_is_one_that_the_program_takes(words):
    assert callable(parser().parse_args(words).func)


@pytest.mark.parametrize("option", sorted(set(re.findall(r"`(--[a-z-]+)", PAGE))))
def test_every_option_that_is_named_exists(option):
    subparsers = next(a for a in parser()._actions if a.choices)
    known = {o for p in subparsers.choices.values() for a in p._actions for o in a.option_strings}
    assert option in known


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([a-z-]+\.md)\)", PAGE))))
def test_every_page_that_is_linked_exists(link):
    assert (Path(__file__).parents[2] / "docs" / link).is_file()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example(command):
    subparsers = next(a for a in parser()._actions if a.choices)
    chosen = subparsers.choices[command]
    assert "example" in (chosen.epilog or "")
    assert f"seawall {command}" in chosen.epilog

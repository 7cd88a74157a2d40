"""Which words may come next, found in the parser that will read them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence

Lookup = Callable[[str, str, dict[str, str]], Iterable[str]]
"""lookup(kind, beginning, options given so far) -> names"""
NAMES = {
    "name": "service",
    "namespace": "namespace",
    "context": "context",
    "accelerator": "class",
    "target": "class",
}
"""Destination of an argument -> whose names it takes."""
FILE_WORDS = ("FILE", "DIR", "PATH", "OUT", "MODEL")
LOOKUP_SECONDS = 2.0
Found = tuple[list[tuple[str, str]], bool]
"""(word, what it means); whether a file's name may come too"""


class _Place:
    """How far the words have led into the parser."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.options: dict[str, str] = {}
        self.pending: argparse.Action | None = None
        self._enter(parser)

    def _enter(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser
        self.positionals = [a for a in parser._actions if not a.option_strings]  # noqa: SLF001 - no public way

    def read(self, word: str) -> None:
        if word == "=":  # bash takes --color=always apart
            return
        if self.pending is not None:
            self.options[self.pending.dest] = word
            self.pending = None
        elif word.startswith("-") and word != "-":
            name, given, value = word.partition("=")
            action = self.option(name)
            if action is not None and given:
                self.options[action.dest] = value
            elif action is not None and action.nargs != 0:
                self.pending = action
        elif self.positionals:
            self._positional(self.positionals[0], word)

    def _positional(self, action: argparse.Action, word: str) -> None:
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            chosen = action.choices.get(word)
            if chosen is not None:
                self._enter(chosen)
        elif action.nargs not in ("+", "*", argparse.REMAINDER):
            self.positionals.pop(0)

    def option(self, name: str) -> argparse.Action | None:
        return next((a for a in self.parser._actions if name in a.option_strings), None)  # noqa: SLF001


def answers(parser: argparse.ArgumentParser, words: Sequence[str], lookup: Lookup) -> Found:
    """The last word is the one at hand; it may be empty."""
    place = _Place(parser)
    for word in words[:-1]:
        place.read(word)
    current = "" if words[-1] == "=" else words[-1]
    if place.pending is not None:
        return _values(place.pending, current, place, lookup)
    name, given, value = current.partition("=")
    action = place.option(name) if given else None
    if action is not None:
        found, files = _values(action, value, place, lookup)
        return [(f"{name}={word}", about) for word, about in found], files
    if current.startswith("-"):
        return _options(place.parser, current), False
    if place.positionals:
        return _values(place.positionals[0], current, place, lookup)
    return _options(place.parser, current), False


def _options(parser: argparse.ArgumentParser, current: str) -> list[tuple[str, str]]:
    shown = [a for a in parser._actions if a.option_strings and a.help != argparse.SUPPRESS]  # noqa: SLF001
    return [
        (name, _about(parser, action))
        for action in shown
        for name in action.option_strings
        if name.startswith(current) and (name.startswith("--") or current in ("-", name))
    ]


def _about(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """The help in one line, with its %-marks resolved."""
    return " ".join(parser._get_formatter()._expand_help(action).split()) if action.help else ""  # noqa: SLF001


def _values(action: argparse.Action, current: str, place: _Place, lookup: Lookup) -> Found:
    if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
        helps = {a.dest: a.help or "" for a in action._choices_actions}  # noqa: SLF001
        return [(n, helps.get(n, "")) for n in action.choices if n.startswith(current)], False
    if action.choices is not None:
        return [(str(c), "") for c in action.choices if str(c).startswith(current)], False
    if action.dest in NAMES:
        names = lookup(NAMES[action.dest], current, place.options)
        return [(n, "") for n in names if n.startswith(current)], False
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    return [], metavar in FILE_WORDS


def lookup(kind: str, current: str, options: dict[str, str]) -> list[str]:
    """Names from the cluster, the kubeconfig or the catalogue; none where nobody answers."""
    from seawall.api.catalogue import classes  # noqa: PLC0415
    from seawall.cli.services import ClusterError, Services, contexts  # noqa: PLC0415

    if kind == "class":
        return [str(entry["metadata"]["name"]) for entry in classes()]
    try:
        if kind == "context":
            return contexts()
        services = Services(options.get("context"), seconds=LOOKUP_SECONDS)
        if kind == "namespace":
            return sorted({str(s["metadata"]["namespace"]) for s in services.list(None)})
        namespace = options.get("namespace") or services.default_namespace
        return sorted(str(s["metadata"]["name"]) for s in services.list(namespace))
    except ClusterError:
        return []


__all__ = ["answers", "lookup"]

"""Reading somebody else's manifest so that nothing of it is lost in silence.

A Part is emptied as its fields are understood. What is still in it at the end was not, and is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


class CannotConvert(Exception):
    """No manifest can be made of it, in one sentence."""


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing to tell about one field."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


@dataclass(slots=True)
class Report:
    """What is left out, and what came along but means something else now."""

    left_out: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)

    def leave(self, path: str, message: str) -> None:
        self.left_out.append(Remark(path, message))

    def note(self, path: str, message: str) -> None:
        self.notes.append(Remark(path, message))


class Part:
    """One object of the manifest. Empty values count as absent, as they do for the API server."""

    def __init__(self, path: str, value: Any) -> None:
        if value is not None and not isinstance(value, Mapping):
            raise CannotConvert(f"{path}: must be an object")
        self.path = path
        self._rest = {str(key): inner for key, inner in (value or {}).items() if not _empty(inner)}

    def __bool__(self) -> bool:
        return bool(self._rest)

    def __contains__(self, key: str) -> bool:
        return key in self._rest

    def at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def take(self, key: str, default: Any = None) -> Any:
        return self._rest.pop(key, default)

    def put(self, key: str, value: Any) -> None:
        """Back, for somebody else to take."""
        if not _empty(value):
            self._rest[key] = value

    def part(self, key: str) -> Part:
        return Part(self.at(key), self.take(key))

    def number(self, key: str) -> int | None:
        value = self.take(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).isdecimal():
            raise CannotConvert(f"{self.at(key)}: must be a whole number, not {value!r}")
        return int(value)

    def texts(self, key: str) -> dict[str, str]:
        """A map of strings, such as labels."""
        return {str(k): str(v) for k, v in Part(self.at(key), self.take(key)).rest().items()}

    def objects(self, key: str) -> list[dict[str, Any]]:
        """A list of objects."""
        value = self.take(key) or []
        if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
            raise CannotConvert(f"{self.at(key)}: must be a list of objects")
        return [dict(item) for item in value]

    def rest(self) -> dict[str, Any]:
        """What nobody has taken."""
        return dict(self._rest)

    def drop(self, *keys: str) -> None:
        """Fields that mean nothing outside the cluster they come from."""
        for key in keys:
            self._rest.pop(key, None)

    def remaining(self) -> Iterator[tuple[str, str]]:
        """(key, path) of what nobody has taken."""
        yield from ((key, self.at(key)) for key in self._rest)


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, dict | list | str) and not value)


__all__ = ["CannotConvert", "Part", "Remark", "Report"]

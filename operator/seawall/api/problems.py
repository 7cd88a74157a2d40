"""One thing that is wrong with a manifest, and where."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Problem:
    path: str
    """such as spec.rollout.steps[0].weight"""
    message: str
    blocking: bool = field(default=False, compare=False)
    """the API server evaluates no rules on an object with such a problem, and neither do we"""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def child(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name

"""Why something is not acted on: a reason for machines and a sentence for the person who typed it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    reason: str
    message: str

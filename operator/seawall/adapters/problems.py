"""What an API server's refusal means: come again, never come again, or somebody else was here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seawall.ports import ApiConflict, ApiRejected, ApiUnavailable

PASSING = frozenset({401, 408, 409, 410, 425, 429})
"""Besides every 5xx. 401: the mounted token is replaced once an hour and read again."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    data: dict[str, Any]
    retry_after: str | None = None

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def message(self) -> str:
        return str(self.data.get("message") or f"HTTP {self.status}")

    @property
    def causes(self) -> list[str]:
        details = self.data.get("details") or {}
        return [str(cause.get("reason", "")) for cause in details.get("causes") or ()]

    @property
    def is_uid_mismatch(self) -> bool:
        """The object of that name is another incarnation than the one meant."""
        return self.status == 409 and "uid" in self.message.lower() and not self.causes


def problem(answer: Answer, what: str) -> Exception:
    text = f"{what}: {answer.message}"
    if answer.status == 409 and "FieldManagerConflict" in answer.causes:
        return ApiConflict(text)
    if answer.status in PASSING or answer.status >= 500:
        return ApiUnavailable(text, _seconds(answer))
    return ApiRejected(answer.message)


def _seconds(answer: Answer) -> float | None:
    told = answer.retry_after or (answer.data.get("details") or {}).get("retryAfterSeconds")
    try:
        return float(told) if told else None
    except (TypeError, ValueError):
        return None

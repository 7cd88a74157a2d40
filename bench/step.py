"""What every step of the measurement shares: the server, the operator and the calls of the step at hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from audit import AuditLog, Call, work
from world import ApiServer, Operator

QUIET_SECONDS = 3.0
STEP_LIMIT_SECONDS = 150.0


@dataclass
class Bench:
    server: ApiServer
    operator: Operator
    audit: AuditLog
    calls: list[Call] = field(default_factory=list)
    """of the step at hand"""

    def read(self) -> list[Call]:
        """Adds what is new to the step's calls; returns what is new."""
        new = self.audit.new()
        self.calls += new
        return new

    def begin(self) -> None:
        self.read()
        self.calls = []

    def wait(self, what: str, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + STEP_LIMIT_SECONDS
        while not done():
            if time.monotonic() > deadline:
                raise SystemExit(f"{what}: not after {STEP_LIMIT_SECONDS:.0f} s")
            time.sleep(0.1)
            self.operator.check()
            self.read()

    def wait_quiet(self) -> None:
        """Until the operator has had nothing to do for a while."""
        last = time.monotonic()
        deadline = last + STEP_LIMIT_SECONDS
        while time.monotonic() - last < QUIET_SECONDS:
            if time.monotonic() > deadline:
                raise SystemExit(f"the operator is not quiet after {STEP_LIMIT_SECONDS:.0f} s")
            time.sleep(0.1)
            self.operator.check()
            if work(self.read()):
                last = time.monotonic()

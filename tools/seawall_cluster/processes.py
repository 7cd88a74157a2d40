"""Starting programs, waiting for what they promise, and saying what they said when they die."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from .errors import ClusterError

POLL_SECONDS = 0.05


@dataclass
class Daemon:
    """One long-running program; its output goes to a log of its own."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self, group: int | None = None) -> None:
        """Start; with `group`, as a member of that process group (0: as the leader of a new one)."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                list(self.command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(self.environment if self.environment is not None else quiet_environment()),
                process_group=group,
            )

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL and reap. The API server takes more than 5 s to end by itself."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def last_words(self, lines: int = 5) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def quiet_environment() -> dict[str, str]:
    """The environment without proxies: nothing that runs here may leave the machine."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def wait_until(true: Callable[[], bool], what: str, seconds: float, daemons: Sequence[Daemon] = ()) -> None:
    """Wait for a condition; a daemon that died meanwhile ends the wait with its last words."""
    deadline = time.monotonic() + seconds
    while not true():
        for daemon in daemons:
            if not daemon.running():
                raise ClusterError(f"{daemon.name} ended while waiting for {what}:\n{daemon.last_words()}")
        if time.monotonic() > deadline:
            said = "\n".join(f"{daemon.name}: {daemon.last_words(3)}" for daemon in daemons)
            raise ClusterError(f"no {what} after {seconds:.0f} s\n{said}".rstrip())
        time.sleep(POLL_SECONDS)


def free_ports(count: int) -> list[int]:
    """Free loopback ports below the range from which the kernel takes outgoing ones."""
    ports: list[int] = []
    for port in random.sample(range(20000, 32000), 500):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise ClusterError("no free loopback ports")

"""Programs of other people, and programs that need another interpreter: started with next to no environment.

They see neither credentials nor the home folder, get a time limit, and everything that they started ends
with them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seawall.optimize.types import Refused

KEPT = (
    "PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "LD_LIBRARY_PATH", "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES",
)  # fmt: skip
"""All of the environment that is passed on; nothing in it can be a secret."""
TAIL_LINES = 15
LINE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Ended:
    code: int | None
    """None: its time was over"""
    tail: str
    """the last lines of what it wrote"""


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    scratch: Path,
    seconds: float,
    heard: Callable[[str], None] = lambda line: None,
    refusal: str = "ConversionFailed",
) -> Ended:
    """`scratch` is its home and temporary folder; `heard` gets every line. Raises Refused(refusal) where it
    cannot start."""
    scratch.mkdir(parents=True, exist_ok=True)
    passed = {name: os.environ[name] for name in KEPT if name in os.environ}
    passed |= {"HOME": str(scratch), "TMPDIR": str(scratch), **environment}
    try:
        running = subprocess.Popen(
            list(command),
            env=passed,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise Refused(refusal, f"{command[0]} cannot be started: {error.strerror}") from error
    over = threading.Event()

    def stop() -> None:
        over.set()
        _end(running.pid)

    alarm = threading.Timer(seconds, stop)
    alarm.daemon = True
    alarm.start()
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    assert running.stdout is not None  # noqa: S101 - as asked for above
    with running.stdout as stream:
        while piece := stream.readline(LINE_BYTES):
            line = piece.decode("utf-8", "replace").rstrip()
            if line:
                tail.append(line)
                heard(line)
    code = running.wait()
    alarm.cancel()
    _end(running.pid)
    return Ended(None if over.is_set() else code, "\n".join(tail))


def _end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)

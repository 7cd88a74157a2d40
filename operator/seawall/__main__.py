"""The one program, `seawall`: finds the command and lets it run.

Exit codes: 0 done, 1 a negative outcome, 2 bad usage or bad input.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from seawall import __version__

COMMANDS = (
    "operator", "crd", "render", "optimize", "simulate", "status", "rollout", "fetch", "cache", "build",
    "judge", "comparator",
)  # fmt: skip
"""Modules of seawall.cli; each has add(subparsers), and imports what is heavy only when it runs."""


def parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="seawall", description="Model inference on Kubernetes, kept inside a latency SLO."
    )
    top.add_argument("--version", action="version", version=f"seawall {__version__}")
    subparsers = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in commands:
        importlib.import_module(f"seawall.cli.{command}").add(subparsers)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Only the named command's module is imported: an init container starts in the path of every pod.
    wanted = [given[0]] if given and given[0] in COMMANDS else list(COMMANDS)
    args = parser(wanted).parse_args(given)
    try:
        return int(args.func(args))
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())

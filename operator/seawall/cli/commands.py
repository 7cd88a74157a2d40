"""The list of commands, and the parser that they make together."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

from seawall import __version__

COMMANDS = (
    "operator", "crd", "render", "optimize", "simulate", "status", "rollout", "fetch", "cache", "build",
    "judge", "comparator", "convert", "doctor", "completion", "schema",
)  # fmt: skip
"""Modules of seawall.cli; each has add(subparsers), and imports what is heavy only when it runs."""


def parser(commands: Sequence[str] = COMMANDS, prog: str = "seawall") -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog=prog, description="Model inference on Kubernetes, kept inside a latency SLO."
    )
    top.add_argument("--version", action="version", version=f"seawall {__version__}")
    subparsers = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in commands:
        importlib.import_module(f"seawall.cli.{command}").add(subparsers)
    return top

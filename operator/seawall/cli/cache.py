"""`seawall cache`: keeps the node's model cache inside its bound; a DaemonSet of the chart runs it."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from seawall.api.units import parse_quantity

EPILOG = """\
The folder holds one folder per namespace, made by the kubelet for the pods' subPath, and in each the files by
their SHA-256. Only these are ever deleted, the least recently used first, whosever they are.

example:
  seawall cache --path /cache --max-bytes 50Gi --interval 60
"""


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "cache",
        help="keep a node's model cache inside its bound",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--path", type=Path, required=True, metavar="P", help="the cache's folder")
    parser.add_argument("--max-bytes", type=_bytes, required=True, metavar="N", help="such as 50Gi")
    parser.add_argument(
        "--interval", type=_seconds, metavar="S", help="seconds between two looks; without it, one look"
    )
    parser.set_defaults(func=run)


def _bytes(text: str) -> int:
    try:
        count = int(parse_quantity(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if count < 0:
        raise argparse.ArgumentTypeError(f"{text} is less than nothing")
    return count


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError(f"{text} is no interval")
    return seconds


def run(args: argparse.Namespace) -> int:
    from seawall.fetch.janitor import keep  # noqa: PLC0415

    if not args.path.is_dir():
        sys.stderr.write(f"{args.path} is no folder\n")
        return 2
    stop = threading.Event()

    def stopped(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    # The first process of a container has no default for SIGTERM.
    signal.signal(signal.SIGTERM, stopped)
    while keep(args.path, args.max_bytes):
        if args.interval is None or stop.wait(args.interval):
            return 0
    return 1

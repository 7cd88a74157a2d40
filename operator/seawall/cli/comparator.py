"""`seawall comparator`: what the pod of a shadow step runs; its order comes in the environment."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

EPILOG = """\
example:
  SEAWALL_COMPARATOR='{"order":"3-1f2e3d4c/1","model":"minilm","stable":"http://minilm:8000",
    "candidate":"http://minilm-candidate:8000","percent":5}' seawall comparator --port 8000
  curl localhost:8000/counts

exit codes: 0 stopped by SIGTERM or SIGINT, 2 the order cannot be read
"""


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "comparator",
        help="compare two revisions on copies of live requests (what a shadow step's pod runs)",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default=None, help="address to listen on; all of them if absent")
    parser.add_argument("--port", type=int, default=8000)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    from seawall.adapters.comparator import BadOrder, serve  # noqa: PLC0415
    from seawall.runtime.telemetry import configure_logging  # noqa: PLC0415

    configure_logging("INFO")
    try:
        serve(os.environ, args.host, args.port)
    except BadOrder as problem:
        print(f"seawall comparator: {problem}", file=sys.stderr)
        return 2
    return 0

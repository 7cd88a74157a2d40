"""`seawall fetch`: what the init container of a model pod runs; its order comes in the environment."""

from __future__ import annotations

import argparse
import os
from typing import Any

EPILOG = """\
example:
  SEAWALL_FETCH='{"name":"digits","uri":"https://models.example.com/digits.onnx","format":"onnx",
    "tritonVersion":"26.06","config":{},"override":{}}' SEAWALL_FETCH_MODELS=./models seawall fetch
"""


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "fetch",
        help="fetch a model and lay it out for Triton (what a model pod's init container runs)",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    from seawall.fetch.run import main  # noqa: PLC0415

    return main(os.environ)

"""`seawall build`: the phases of a ModelBuild's Job; its order comes in the environment."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

EPILOG = """\
example:
  SEAWALL_BUILD='{"model":"s3://models/digits.onnx",…}' SEAWALL_ARTIFACTS=s3://artifacts/builds \\
    seawall build prepare compress

exit codes: 0 done, 1 refused (the sentence is in the termination log), 75 a fault that may pass
"""


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "build",
        help="build a model as a ModelBuild asks (what its Job's containers run)",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "phases",
        nargs="+",
        choices=("prepare", "compress", "finish"),
        metavar="PHASE",
        help="prepare, compress or finish; one after the other",
    )
    parser.add_argument(
        "--work", type=Path, default=Path("/build"), help="shared folder (default: %(default)s)"
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    from seawall.optimize.job import main  # noqa: PLC0415

    return main(args.phases, os.environ, args.work)

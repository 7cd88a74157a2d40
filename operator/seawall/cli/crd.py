"""`seawall crd`: the CustomResourceDefinitions, to standard output or into a directory."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "crd",
        help="print the CustomResourceDefinitions",
        description="Print the CustomResourceDefinitions of Seawall.",
        epilog="example: seawall crd | kubectl apply --server-side -f -",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write one file per definition into DIR instead"
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    from seawall.api import crd  # noqa: PLC0415

    files = crd.files()
    if args.out is None:
        sys.stdout.write("---\n".join(files.values()))
        return 0
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (args.out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        print(f"cannot write to {args.out}: {error.strerror}", file=sys.stderr)
        return 2
    return 0

"""`seawall schema`: JSON Schemas of the resources, for editors and for checks without a cluster."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

EPILOG = """\
example:
  seawall schema --out ~/.seawall/schemas
  seawall schema InferenceService | jq .properties.spec.properties.slo

An editor with the YAML language server reads one by the first line of a manifest:
  # yaml-language-server: $schema=/home/me/.seawall/schemas/inferenceservice.json
A schema knows fields, types and shapes of texts; `seawall render` checks every rule of the API server.

exit codes: 0 written, 2 no such kind, or the folder cannot be written
"""


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    from seawall.api.validate import KINDS  # noqa: PLC0415

    parser = subparsers.add_parser(
        "schema",
        help="print the resources' JSON Schemas",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", nargs="?", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write one file for each kind into DIR instead"
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    from seawall.api import editor  # noqa: PLC0415

    if args.out is None:
        if args.kind is None:
            print("seawall schema: name a kind, or a folder with --out", file=sys.stderr)
            return 2
        print(editor.render(editor.json_schema(args.kind)), end="")
        return 0
    wanted = {
        n: t for n, t in editor.files().items() if args.kind is None or n == f"{args.kind.lower()}.json"
    }
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        for name, text in wanted.items():
            (args.out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        print(f"seawall schema: cannot write to {args.out}: {error.strerror}", file=sys.stderr)
        return 2
    return 0

"""`seawall convert`: a KServe InferenceService as one of Seawall's, and each field that cannot come along."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from seawall.cli.convert_kserve import Converted
    from seawall.cli.convert_part import Remark
    from seawall.cli.convert_source import Wanted

EPILOG = """\
example:
  kubectl get inferenceservices.serving.kserve.io flowers -o yaml | seawall convert - --slo 50ms
  seawall convert kserve/*.yaml --slo 20ms --class nvidia-l4 --gateway infra/public --strict

The manifests go to standard output. Each line on standard error names a file, an object and a field: what is
left out and why, or, after `note`, what came along and has to be looked at. ServingRuntimes among the files
tell which runtimes are Triton.

exit codes: 0 converted, 1 a service could not be, or something was left out (--strict), 2 bad input
"""


def add(subparsers: Any) -> None:
    from seawall.api.v1alpha1 import Format  # noqa: PLC0415

    parser = subparsers.add_parser(
        "convert",
        help="turn KServe InferenceServices into Seawall's (no cluster needed)",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="manifests; - reads standard input")
    parser.add_argument(
        "--slo", required=True, metavar="P99", help="the objective, such as 20ms; KServe has none"
    )
    parser.add_argument(
        "--class", dest="accelerator", metavar="NAME",
        help="AcceleratorClass (default: cpu without devices, else what the manifest's node selector tells)",
    )  # fmt: skip
    parser.add_argument("--uri", metavar="URI", help="where the model is, instead of storageUri")
    parser.add_argument(
        "--format",
        choices=get_args(Format),
        metavar="FORMAT",
        help="how it is stored, instead of modelFormat",
    )
    parser.add_argument(
        "--credentials-secret", metavar="NAME", help="Secret with the keys of the model's store"
    )
    parser.add_argument("--gateway", metavar="[NS/]NAME", help="Gateway by which clients come from outside")
    parser.add_argument("--hostname", metavar="HOST", help="name there (default: that of status.url)")
    parser.add_argument("--strict", action="store_true", help="exit code 1 if anything was left out")
    parser.add_argument("--json", action="store_true", help="one JSON object: manifests, leftOut, notes")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    from seawall.cli.convert_source import Wanted  # noqa: PLC0415

    wanted = Wanted(
        slo=args.slo,
        accelerator=args.accelerator,
        uri=args.uri,
        format=args.format,
        credentials_secret=args.credentials_secret,
        gateway=args.gateway,
        hostname=args.hostname,
    )
    documents: list[tuple[str, Any]] = []
    for name in args.files:
        try:
            documents += [(name, document) for document in _documents(name)]
        except (OSError, ValueError) as error:
            print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
            return 2
    services = [(name, d) for name, d in documents if _is_service(d)]
    if problem := _misuse(services, wanted):
        print(f"seawall convert: {problem}", file=sys.stderr)
        return 2
    for name, document in documents:
        if not _is_service(document) and not _is_runtime(document):
            print(f"{name}: {_label(document)}: is no KServe InferenceService: passed over", file=sys.stderr)
    return _converted(services, wanted, _tritons(documents), args)


def _misuse(services: Sequence[tuple[str, Any]], wanted: Wanted) -> str:
    if not services:
        return "there is no InferenceService of serving.kserve.io/v1beta1 in these files"
    if len(services) > 1 and (wanted.uri or wanted.hostname):
        return "--uri and --hostname are for one service; these files hold several"
    if wanted.hostname and not wanted.gateway:
        return "--hostname needs --gateway"
    return ""


def _converted(
    services: Sequence[tuple[str, Any]], wanted: Wanted, tritons: set[str], args: argparse.Namespace
) -> int:
    from seawall.api.catalogue import classes  # noqa: PLC0415
    from seawall.api.validate import problems  # noqa: PLC0415
    from seawall.cli.convert_kserve import CannotConvert, convert  # noqa: PLC0415

    done: list[tuple[str, Converted]] = []
    failed = 0
    for name, document in services:
        where = f"{name}: {_label(document)}"
        try:
            made = convert(document, wanted, tritons, classes())
        except CannotConvert as refused:
            print(f"{where}: {refused}", file=sys.stderr)
            failed += 1
            continue
        if wrong := problems(made.manifest):
            for problem in wrong:
                print(f"{where}: converted: {problem}", file=sys.stderr)
            failed += 1
            continue
        done.append((where, made))
    _print(done, as_json=args.json)
    lost = any(made.report.left_out for _, made in done)
    return 1 if failed or (args.strict and lost) else 0


def _print(done: Sequence[tuple[str, Converted]], *, as_json: bool) -> None:
    manifests = [made.manifest for _, made in done]
    if as_json:
        told = {
            "leftOut": [_as_json(where, remark) for where, made in done for remark in made.report.left_out],
            "notes": [_as_json(where, remark) for where, made in done for remark in made.report.notes],
        }
        print(json.dumps({"manifests": manifests, **told}, indent=2))
        return
    from seawall.cli.manifests import dump  # noqa: PLC0415

    print(dump(manifests), end="")
    for where, made in done:
        for remark in made.report.left_out:
            print(f"{where}: {remark.path}: left out: {remark.message}", file=sys.stderr)
        for remark in made.report.notes:
            print(f"{where}: {remark.path}: note: {remark.message}", file=sys.stderr)


def _as_json(where: str, remark: Remark) -> dict[str, str]:
    return {"object": where, "field": remark.path, "message": remark.message}


def _documents(name: str) -> Iterator[Any]:
    """The documents of one file, lists taken apart. Raises OSError, or ValueError for broken YAML."""
    from seawall.cli.manifests import load  # noqa: PLC0415

    text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    for document in load(text):
        if isinstance(document, dict) and str(document.get("kind")).endswith("List"):
            yield from document.get("items") or ()
        elif document is not None:
            yield document


def _is_service(document: Any) -> bool:
    from seawall.cli.convert_kserve import KIND, KSERVE  # noqa: PLC0415

    return isinstance(document, dict) and (document.get("apiVersion"), document.get("kind")) == (KSERVE, KIND)


def _is_runtime(document: Any) -> bool:
    return isinstance(document, dict) and document.get("kind") in ("ServingRuntime", "ClusterServingRuntime")


def _tritons(documents: Sequence[tuple[str, Any]]) -> set[str]:
    """Names of the runtimes among the files whose image is Triton."""
    found = set()
    for _, document in documents:
        if _is_runtime(document):
            spec = document.get("spec") or {}
            images = [str(c.get("image", "")) for c in spec.get("containers") or () if isinstance(c, dict)]
            if any("tritonserver" in image for image in images):
                found.add(str((document.get("metadata") or {}).get("name")))
    return found


def _label(document: Any) -> str:
    if not isinstance(document, dict):
        return "document"
    meta = document.get("metadata")
    name = meta.get("name") if isinstance(meta, dict) else None
    return f"{document.get('kind') or 'document'}/{name or '(without name)'}"

"""`seawall render`: what the operator would apply for these manifests, without a cluster."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FETCHER_IMAGE = "localhost/seawall/operator:dev"
PROMETHEUS = "http://prometheus-operated.monitoring.svc:9090"
CAPABILITIES = ("keda", "metrics-api", "prometheus-operator")
EPILOG = """\
example:
  seawall render -f examples/digits.yaml
  kustomize build . | seawall render -f - --json | jq -r '.[].kind'

A model that has to be converted, compressed or split is built first: then its ModelBuild is printed, and the
Deployment follows in the cluster when that is done.
Files may hold AcceleratorClasses too; if none does, the shipped catalogue is known.
A Deployment has spec.replicas where the spec says a number (modes Fixed and External). Where the count
follows the load it has none: in the cluster it begins at minReplicas, and the operator or an autoscaler moves
it. An autoscaler is printed for modes HPA and KEDA, and for Auto where --capabilities lets it choose one;
in the cluster it is made when the first revision serves.
The contents of Secrets and ConfigMaps are not known here, so a revision that depends on them gets another
name in the cluster.

exit codes: 0 rendered, 1 the operator would refuse it, 2 the API server would or the input is unreadable
"""


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "render",
        help="print every object that the operator would apply (no cluster needed)",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-f", "--filename", action="append", required=True, metavar="FILE",
        help="manifests in YAML or JSON; - reads standard input; may be repeated",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of YAML documents")
    parser.add_argument(
        "--operator-image",
        default=os.environ.get("SEAWALL_FETCHER_IMAGE", FETCHER_IMAGE),
        help="image that the operator and its fetcher run (default: %(default)s)",
    )
    parser.add_argument(
        "--capabilities", default="", metavar="LIST",
        help="what the cluster serves, of keda, metrics-api, prometheus-operator, separated by commas: mode "
        "Auto chooses by it, and monitors are printed for the last (default: none, so Auto means Direct)",
    )  # fmt: skip
    parser.add_argument(
        "--prometheus-url", metavar="URL",
        default=os.environ.get("SEAWALL_PROMETHEUS_URL") or PROMETHEUS,
        help="where KEDA asks (default: %(default)s)",
    )  # fmt: skip
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    documents: list[tuple[str, Any]] = []
    problems: list[str] = []
    for name in args.filename:
        try:
            documents += [(name, document) for document in _documents(name)]
        except (OSError, ValueError) as error:
            problems.append(f"{name}: {' '.join(str(error).split())}")
    unknown = sorted(_listed(args.capabilities) - set(CAPABILITIES))
    if unknown:
        problems.append(f"--capabilities: {', '.join(unknown)} is none of {', '.join(CAPABILITIES)}")
    problems += _api_problems(documents)
    if not problems and not any(_kind(d) == "InferenceService" for _, d in documents):
        problems.append(f"{', '.join(args.filename)}: there is no InferenceService to render")
    if problems:
        _tell(problems)
        return 2
    rendered, refusals = _rendered(
        documents, args.operator_image, _listed(args.capabilities), args.prometheus_url
    )
    _print(rendered, args.json)
    builds = [made["metadata"]["name"] for made in rendered if made["kind"] == "ModelBuild"]
    _tell([f"the Deployment follows when ModelBuild {name} is done" for name in builds])
    _tell(refusals)
    return 1 if refusals else 0


def _documents(name: str) -> Iterator[Any]:
    """The documents of one file, Lists taken apart. Raises OSError, or ValueError for broken YAML."""
    from seawall.cli.manifests import load  # noqa: PLC0415

    text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    for document in load(text):
        if isinstance(document, dict) and document.get("kind") == "List":
            yield from document.get("items") or ()
        elif document is not None:
            yield document


def _api_problems(documents: list[tuple[str, Any]]) -> list[str]:
    from seawall.api.validate import problems  # noqa: PLC0415

    found: list[str] = []
    seen: set[tuple[Any, ...]] = set()
    for name, document in documents:
        where = f"{name}: {_label(document)}"
        found += [f"{where}: {problem}" for problem in problems(document)]
        meta = document.get("metadata") if isinstance(document, dict) else None
        if isinstance(meta, dict):
            identity = (_kind(document), str(meta.get("namespace")), str(meta.get("name")))
            if identity in seen:
                found.append(f"{where}: metadata.name: is given twice in these files")
            seen.add(identity)
    return found


def _listed(text: str) -> set[str]:
    return {word.strip() for word in text.split(",") if word.strip()}


def _rendered(
    documents: list[tuple[str, Any]], image: str, able: set[str], prometheus_url: str
) -> tuple[list[dict[str, Any]], list[str]]:
    from seawall.api.catalogue import classes  # noqa: PLC0415
    from seawall.api.v1alpha1 import AcceleratorClass, InferenceService  # noqa: PLC0415
    from seawall.decide.preview import assumed, render  # noqa: PLC0415
    from seawall.decide.types import Capabilities  # noqa: PLC0415
    from seawall.desired.inputs import Platform  # noqa: PLC0415
    from seawall.desired.podschema import PodTemplateError  # noqa: PLC0415

    given = [d for _, d in documents if _kind(d) == "AcceleratorClass"]
    manifests = {c["metadata"]["name"]: c for c in given or classes()}
    known = {name: AcceleratorClass.model_validate(c) for name, c in manifests.items()}
    platform = Platform(image)
    cluster = Capabilities(
        keda="keda" in able,
        prometheus_operator="prometheus-operator" in able,
        metrics_api="Ours" if "metrics-api" in able else "Absent",
    )
    objects: dict[tuple[str, str, str], dict[str, Any]] = {}
    refused: list[str] = []
    for name, document in documents:
        if _kind(document) != "InferenceService":
            continue
        reasons = _refusals(document, manifests, platform)
        try:
            if not reasons:
                spec = InferenceService.model_validate(document).spec
                served = assumed(spec, cluster, prometheus_url)
                for made in render(document, known, platform, served):
                    meta = made["metadata"]
                    objects[made["kind"], meta["namespace"], meta["name"]] = made
        except PodTemplateError as error:
            reasons = [f"InvalidPodTemplate: spec.podTemplate: {error}"]
        refused += [f"{name}: {_label(document)}: {reason}" for reason in reasons]
    return list(objects.values()), refused


def _refusals(document: dict[str, Any], manifests: dict[str, Any], platform: Any) -> list[str]:
    """What the operator would write into SpecAccepted, by the operator's own rules."""
    from seawall.decide.acceptance import accept  # noqa: PLC0415
    from seawall.decide.types import Capabilities, Observed  # noqa: PLC0415

    spec = document["spec"]
    observed = Observed(
        service=document,
        platform=platform,
        now=datetime.now(UTC),
        accelerator=manifests.get(spec["accelerator"]["class"]),
        config_problem=_config_problem(spec["model"].get("config")),
        # What the cluster serves nobody can tell here: gateways are taken for granted.
        capabilities=Capabilities(gateway_api=True, grpc_routes=True, prometheus_url=PROMETHEUS),
    )
    return [f"{refusal.reason}: {refusal.message}" for refusal in accept(observed).refusals]


def _config_problem(config: dict[str, Any] | None) -> str | None:
    if not config:
        return None
    from seawall.fetch.modelconfig import check_override  # noqa: PLC0415

    return check_override(config)


def _print(objects: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(objects, indent=2))
    elif objects:
        from seawall.cli.manifests import dump  # noqa: PLC0415

        print(dump(objects), end="")


def _kind(document: Any) -> Any:
    return document.get("kind") if isinstance(document, dict) else None


def _label(document: Any) -> str:
    meta = document.get("metadata") if isinstance(document, dict) else None
    name = meta.get("name") if isinstance(meta, dict) else None
    return f"{_kind(document) or 'document'}/{name or '(without name)'}"


def _tell(lines: list[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr)

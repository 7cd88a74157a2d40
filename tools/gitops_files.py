#!/usr/bin/env python3
"""Writes what under examples/gitops follows from other files: Argo CD's ConfigMap from its scripts, and the
Kustomize base from the chart. The tests compare.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT / "tools") not in sys.path:
    sys.path.append(str(ROOT / "tools"))

from seawall_cluster import binaries  # noqa: E402

PLACE = ROOT / "examples" / "gitops"
SCRIPTS = PLACE / "argocd" / "resource_customizations"
NAMESPACE = "seawall-system"
MADE = "# Made by tools/gitops_files.py from {}; change that instead.\n"


class Block(str):
    """Text that is to be read by people."""


class Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        return super().increase_indent(flow, False)


Dumper.add_representer(
    Block, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")
)


def text(value: Any) -> str:
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, width=1000)


def config_map() -> str:
    data = {}
    for health in sorted(SCRIPTS.glob("*/*/health.lua")):
        kind = health.parent
        resource = f"{kind.parent.name}_{kind.name}"
        data[f"resource.customizations.health.{resource}"] = Block(health.read_text())
        if (kind / "actions").is_dir():
            actions = {
                "discovery.lua": Block((kind / "actions" / "discovery.lua").read_text()),
                "definitions": [
                    {"name": script.parent.name, "action.lua": Block(script.read_text())}
                    for script in sorted(kind.glob("actions/*/action.lua"))
                ],
            }
            data[f"resource.customizations.actions.{resource}"] = Block(text(actions))
    made = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "argocd-cm",
            "namespace": "argocd",
            "labels": {"app.kubernetes.io/name": "argocd-cm", "app.kubernetes.io/part-of": "argocd"},
        },
        "data": data,
    }
    return MADE.format("the scripts beside it") + text(made)


def base() -> str:
    """The chart with its defaults, without its tests; the definitions are a file of their own."""
    helm = binaries.ensure(["helm"])["helm"]
    command = [
        *(str(helm), "template", "seawall", str(ROOT / "charts" / "seawall")),
        *("--namespace", NAMESPACE, "--no-hooks"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    manifests = [each for each in yaml.safe_load_all(done.stdout) if each]
    for manifest in manifests:
        without_helm(manifest)
    return MADE.format("charts/seawall") + "---\n".join(map(text, manifests))


def without_helm(manifest: Any) -> None:
    """Labels that say that Helm manages it, which is not so here."""
    labels = manifest["metadata"].get("labels", {})
    for key in ("helm.sh/chart", "app.kubernetes.io/managed-by"):
        labels.pop(key, None)
    template = manifest.get("spec", {}).get("template")
    if template is not None:
        without_helm(template)


def definitions() -> str:
    files = sorted((ROOT / "crds").glob("*.yaml"))
    return MADE.format("crds") + "---\n".join(path.read_text().removeprefix("---\n") for path in files)


def files() -> dict[str, str]:
    """By path below examples/gitops."""
    return {
        "argocd/argocd-cm.yaml": config_map(),
        "base/crds.yaml": definitions(),
        "base/operator.yaml": base(),
    }


def main() -> int:
    for name, content in files().items():
        (PLACE / name).parent.mkdir(parents=True, exist_ok=True)
        (PLACE / name).write_text(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())

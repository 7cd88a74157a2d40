"""The charts as Helm renders them. `HELM` is None where there is none yet; the node tier always builds it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "seawall"
CRDS = ROOT / "charts" / "seawall-crds"
CACHE = Path(
    os.environ.get("SEAWALL_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seawall"
)
Object = dict[str, Any]


def find_helm() -> str | None:
    if found := shutil.which("helm"):
        return found
    built = sorted(CACHE.glob("bin/helm-v*/helm"))
    return str(built[-1]) if built else None


HELM = find_helm()


def helm(
    *args: str, stdin: str | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    assert HELM
    return subprocess.run([HELM, *args], input=stdin, capture_output=True, text=True, check=False, env=env)


@cache
def _template(chart: Path, namespace: str, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return helm("template", "seawall", str(chart), "--namespace", namespace, *words)


def template(
    values: Mapping[str, str], *more: str, chart: Path = CHART, namespace: str = "seawall-system"
) -> subprocess.CompletedProcess[str]:
    """With values as words of --set; the same question is asked of Helm once."""
    settings = [argument for key, value in values.items() for argument in ("--set", f"{key}={value}")]
    return _template(chart, namespace, (*settings, *more))


def given(values: Object, *more: str, chart: Path = CHART) -> subprocess.CompletedProcess[str]:
    """With values as a file."""
    words = ("template", "seawall", str(chart), "--namespace", "seawall-system", "--values", "-")
    return helm(*words, *more, stdin=json.dumps(values))


def documents(text: str) -> list[Object]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [document for document in yaml.load_all(text, Loader=loader) if document]


def rendered(values: Mapping[str, str], *more: str, chart: Path = CHART) -> list[Object]:
    done = template(values, *more, chart=chart)
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [made for made in objects if made["kind"] == kind]


def rules(objects: list[Object]) -> list[Object]:
    """Of every Role and ClusterRole that the operator is bound to."""
    [deployment] = of_kind(objects, "Deployment")
    account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
    bound = {
        (binding["roleRef"]["kind"], binding["roleRef"]["name"])
        for kind in ("RoleBinding", "ClusterRoleBinding")
        for binding in of_kind(objects, kind)
        if any(subject["name"] == account for subject in binding["subjects"])
    }
    roles = of_kind(objects, "Role") + of_kind(objects, "ClusterRole")
    return [
        rule for role in roles if (role["kind"], role["metadata"]["name"]) in bound for rule in role["rules"]
    ]

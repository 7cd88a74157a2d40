"""Rules put to the real promtool, over series that a test makes up."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from seawall_cluster import binaries

PROMTOOL = binaries.find("promtool")


def needs_promtool(test: Callable[..., None]) -> Callable[..., None]:
    missing = pytest.mark.skipif(
        PROMTOOL is None, reason="promtool is not in the cache (tools/cluster up --with prometheus makes it)"
    )
    return pytest.mark.long(missing(test))


def promtool(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(PROMTOOL), *args], capture_output=True, text=True, check=False)


def labelled(name: str, labels: Mapping[str, str]) -> str:
    return name + "{" + ",".join(f'{key}="{value}"' for key, value in sorted(labels.items())) + "}"


def examined(
    folder: Path, groups: Sequence[dict[str, Any]], test: dict[str, Any], every: str, evaluated: str = "15s"
) -> None:
    """`test`: as promtool's `tests` has it. `every`: between two samples of a series."""
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": list(groups)}))
    whole = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": evaluated,
        "fuzzy_compare": True,
        "tests": [{"interval": every, **test}],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(whole))
    done = promtool("test", "rules", folder / "test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def checked(folder: Path, groups: Sequence[dict[str, Any]]) -> None:
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": list(groups)}))
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", path)
    assert done.returncode == 0, done.stdout + done.stderr


def firing(alert: str, by: Sequence[str], found: Sequence[Mapping[str, str]], at: str) -> dict[str, Any]:
    """That at this moment exactly these fire."""
    names = ", ".join(["alertname", *by])
    expr = f'count by ({names}) (ALERTS{{alertname="{alert}",alertstate="firing"}})'
    expected = [{"labels": labelled("", {"alertname": alert, **labels}), "value": 1} for labels in found]
    return {"expr": expr, "eval_time": at, "exp_samples": expected}

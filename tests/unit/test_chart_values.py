"""Every value of both charts: said in a comment, held by the schema, used by a template; and wrong ones refused."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from seawall.settings import Settings
from support.chart import CHART, CRDS, HELM, given, rendered

pytestmark = [pytest.mark.long, pytest.mark.skipif(HELM is None, reason="helm is not built yet")]
Path_ = tuple[str, ...]
SCHEMAS = {chart: json.loads((chart / "values.schema.json").read_text()) for chart in (CHART, CRDS)}
VALUES = {chart: yaml.safe_load((chart / "values.yaml").read_text()) for chart in (CHART, CRDS)}
FREE = {"global", *(f"affinity.{name}" for name in ("nodeAffinity", "podAffinity", "podAntiAffinity"))}
FREE |= {f"variable.valueFrom.{name}Ref" for name in ("secretKey", "configMapKey", "field", "resourceField")}
FREE |= {"peers[].namespaceSelector", "peers[].podSelector"}
"""Objects that the API server checks, or that are other charts'."""
ROLES = {("watchNamespaces",): ["one"], ("metricsAPI", "enabled"): False, ("rbac", "create"): True}
TPU = {("accelerators", "install"): True}
BESIDE: dict[str, dict[tuple[str, ...], Any]] = {
    "rbac.clusterRoles": ROLES,
    "prometheus.podMonitor.tokenSecret": {("prometheus", "podMonitor", "enabled"): True},
    "accelerators.tpu.image": TPU | {("accelerators", "tpu", "tritonVersion"): "25.01"},
    "accelerators.tpu.tritonVersion": TPU | {("accelerators", "tpu", "image"): "registry.example/tpu:1"},
}
"""What has to hold for a value to make a difference, where that is neither all defaults nor all others."""


def leaves(values: dict[str, Any], above: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value and (*above, name) not in WHOLE:
            yield from leaves(value, (*above, name))
        else:
            yield (*above, name), value


WHOLE = {("resources", "requests"), ("resources", "limits")}
"""Values of our own making with fields that are the user's to name."""
LEAVES = [(chart, path, value) for chart in (CHART, CRDS) for path, value in leaves(VALUES[chart])]
IDS = [f"{chart.name}:{'.'.join(path)}" for chart, path, _ in LEAVES]


def resolved(chart: Path, schema: dict[str, Any]) -> dict[str, Any]:
    """With what a reference refers to; what stands beside it stays."""
    while ref := schema.get("$ref"):
        name = ref.removeprefix("#/definitions/")
        schema = SCHEMAS[chart]["definitions"][name] | {k: v for k, v in schema.items() if k != "$ref"}
    return schema


def schema_of(chart: Path, path: Path_) -> dict[str, Any]:
    found = SCHEMAS[chart]
    for name in path:
        found = resolved(chart, found["properties"][name])
    return found


def another(chart: Path, path: Path_, value: Any) -> Any:
    """A value that differs from the default and that the schema takes."""
    schema = schema_of(chart, path)
    if "examples" in schema:
        return schema["examples"][0]
    if "enum" in schema:
        return next(word for word in schema["enum"] if word != value)
    if isinstance(value, bool):
        return not value
    return value + 1 if value + 1 <= schema["maximum"] else value - 1


def put(values: dict[str, Any], path: Path_, value: Any) -> dict[str, Any]:
    made = copy.deepcopy(values)
    place = made
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return made


@cache
def others(chart: Path) -> dict[str, Any]:
    """Every value changed at once."""
    made = VALUES[chart]
    for of, path, value in LEAVES:
        if of == chart:
            made = put(made, path, another(chart, path, value))
    return made


def output(chart: Path, values: dict[str, Any]) -> str:
    """Empty where the values do not go together."""
    done = given(values, chart=chart)
    return done.stdout if done.returncode == 0 else ""


@cache
def whole(chart: Path, which: str) -> str:
    return output(chart, VALUES[chart] if which == "defaults" else others(chart))


@pytest.mark.parametrize("chart", [CHART, CRDS], ids=lambda chart: chart.name)
def test_the_defaults_go_together_and_so_does_the_opposite_of_all(chart: Path) -> None:
    assert whole(chart, "defaults")
    assert whole(chart, "others")


@pytest.mark.parametrize(("chart", "path", "value"), LEAVES, ids=IDS)
def test_a_value_is_used(chart: Path, path: Path_, value: Any) -> None:
    """Changed alone, or kept alone while all others change: the output is another one."""
    other = another(chart, path, value)
    if beside := BESIDE.get(".".join(path)):
        held = VALUES[chart]
        for more, wanted in beside.items():
            held = put(held, more, wanted)
        before, after = output(chart, put(held, path, value)), output(chart, put(held, path, other))
        assert after
        assert before != after
        return
    alone = output(chart, put(VALUES[chart], path, other))
    kept = output(chart, put(others(chart), path, value))
    assert (alone and alone != whole(chart, "defaults")) or (kept and kept != whole(chart, "others"))


def lines_of(chart: Path) -> dict[Path_, bool]:
    """Whether a comment stands above each key of values.yaml, or behind it."""
    found: dict[Path_, bool] = {}
    above: list[tuple[int, str]] = []
    before = ""
    for line in (chart / "values.yaml").read_text().splitlines():
        if key := re.match(r"( *)([A-Za-z]+):", line):
            indent = len(key[1])
            above = [each for each in above if each[0] < indent] + [(indent, key[2])]
            said = before.strip().startswith("#") or " # " in line
            found[tuple(name for _, name in above)] = said
        before = line
    return found


@pytest.mark.parametrize(("chart", "path", "value"), LEAVES, ids=IDS)
def test_a_value_is_said_in_a_comment(chart: Path, path: Path_, value: Any) -> None:
    said = lines_of(chart)
    beside = (*path[:-1], "commonLabels") if path[-1] == "commonAnnotations" else path
    assert said[beside]


def objects(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object" or "properties" in schema:
            yield path, schema
        for word, below in schema.items():
            if word in ("properties", "definitions", "patternProperties"):
                for name, one in below.items():
                    yield from objects(one, f"{path}.{name}".lstrip("."))
            elif word in ("items", "additionalProperties"):
                yield from objects(below, path + "[]")


@pytest.mark.parametrize("chart", [CHART, CRDS], ids=lambda chart: chart.name)
def test_the_schema_knows_every_field_of_every_object(chart: Path) -> None:
    loose = {
        path
        for path, schema in objects(SCHEMAS[chart])
        if schema.get("additionalProperties", True) is True and path not in FREE
    }
    assert loose == set()
    assert {path for path in SCHEMAS[chart]["properties"] if path != "global"} == set(VALUES[chart])


@pytest.mark.parametrize(("chart", "path", "value"), LEAVES, ids=IDS)
def test_a_value_has_a_bound(chart: Path, path: Path_, value: Any) -> None:
    """Not merely a type: a pattern, a list of words, a range, or fields that are known."""
    schema = schema_of(chart, path)
    bounds = {"pattern", "enum", "maximum", "items", "anyOf", "properties", "additionalProperties"}
    assert schema.get("type") == "boolean" or schema.keys() & bounds


def test_the_settings_that_may_be_given_as_variables_are_those_without_a_value() -> None:
    name = SCHEMAS[CHART]["definitions"]["variable"]["properties"]["name"]
    allowed = set(name["anyOf"][1]["enum"])
    every = rendered({"rbac.clusterRoles": "true"}) + yaml_objects(others(CHART))
    deployments = [made for made in every if made["kind"] == "Deployment"]
    chart = {
        variable["name"]
        for made in deployments
        for variable in made["spec"]["template"]["spec"]["containers"][0]["env"]
        if variable["name"].startswith("SEAWALL_")
    }
    chart |= {"SEAWALL_METRICS_API_PORT", "SEAWALL_METRICS_API_SERVICE"}
    known = {f"SEAWALL_{field.upper()}" for field in Settings.model_fields}
    # The Role names the Lease, and the pod's ports and probes are the chart's.
    fixed = {"SEAWALL_LEASE_NAME", "SEAWALL_LISTEN_HOST", "SEAWALL_HEALTH_PORT", "SEAWALL_METRICS_PORT"}
    assert allowed == known - chart - fixed


def yaml_objects(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [made for made in yaml.safe_load_all(output(CHART, values)) if made]

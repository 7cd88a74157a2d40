"""The dashboards as files: what the code makes, what Grafana and the chart need of them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dashboards.__main__ import made
from dashboards.queries import FOLDER, asked, load, panels, queries
from dashboards.story import Story
from dashboards.triton_text import Device, Pod
from prometheus_client.parser import text_string_to_metric_families
from seawall_cluster import binaries

from seawall.desired.triton import HISTOGRAM

ROOT = Path(__file__).parents[2]
RECORDED = Path(__file__).with_name("triton-2.51.metrics")
"""What a triton-cpu image told after fifty requests to a model with metric tags."""
PAGES = load()
UIDS = {"fleet": "seawall-fleet", "operator": "seawall-operator", "service": "seawall-service"}
TITLED = [(name, panel) for name, page in PAGES.items() for panel in panels(page)]
every_page = pytest.mark.parametrize("page", PAGES.values(), ids=list(PAGES))
every_panel = pytest.mark.parametrize(
    "panel", [panel for _, panel in TITLED], ids=[f"{name}: {panel['title']}" for name, panel in TITLED]
)


def test_what_is_written_is_what_the_code_makes() -> None:
    written = {file.name: file.read_text() for file in FOLDER.iterdir()}
    assert written == made(), "run: make dashboards"


def test_addresses_stay() -> None:
    assert {name: page["uid"] for name, page in PAGES.items()} == UIDS
    assert all("id" not in page for page in PAGES.values()), "Grafana's own number is another in each"


@every_page
def test_panels_have_numbers_and_titles_of_their_own(page: dict[str, Any]) -> None:
    numbers = [panel["id"] for panel in page["panels"]]
    titles = [panel["title"] for panel in panels(page)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(set(titles)) == len(titles)


@every_page
def test_no_two_panels_lie_on_one_another(page: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in page["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells


@every_panel
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith("."), "a sentence"
    shown = panel["fieldConfig"]["defaults"] if "fieldConfig" in panel else {}
    if panel["type"] in ("timeseries", "stat"):
        assert shown["unit"]
    assert panel["targets"]
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references)


def test_the_data_source_is_always_the_one_that_is_chosen() -> None:
    found = []
    pending: list[Any] = list(PAGES.values())
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            found += [each["datasource"]] if "datasource" in each else []
            pending += each.values()
        elif isinstance(each, list):
            pending += each
    assert {json.dumps(each, sort_keys=True) for each in found} == {
        '{"type": "prometheus", "uid": "${datasource}"}'
    }


@every_page
def test_links_lead_to_pages_that_exist(page: dict[str, Any]) -> None:
    text = json.dumps(page)
    assert set(re.findall(r"/d/([a-z-]+)", text)) <= set(UIDS.values())
    assert [link["tags"] for link in page["links"]] == [["seawall"]]
    assert "seawall" in page["tags"]


@every_page
def test_variables_are_declared(page: dict[str, Any]) -> None:
    declared = {variable["name"]: "x" for variable in page["templating"]["list"]}
    for panel in panels(page):
        for target in panel["targets"]:
            asked(target["expr"], declared | {"__rate_interval": "1m"})


def test_a_variable_without_a_value_is_told() -> None:
    with pytest.raises(ValueError, match="without a value"):
        asked('up{job="$job"}', {"jo": "x"})


def exported() -> set[str]:
    """Names that the operator, the pods and the rules have."""
    story = Story(7200, 0.0)
    story.go_on(6600)
    story.go_on(5)
    samples = {each.name for family in story.telemetry.registry.collect() for each in family.samples}
    pods = {name for pod in story.pods() for name, *_ in pod.samples()}
    rules = {rule.get("record") for group in story.rules()["groups"] for rule in group["rules"]}
    return samples | pods | rules | {"ALERTS"}


def test_every_series_that_is_asked_for_is_exported() -> None:
    """Whether it has data is for tests/stores; a renamed series is told here already."""
    exprs = " ".join(query.expr for query in queries(PAGES))
    names = set(re.findall(r"\b(?:seawall_|seawall:|nv_|process_|ALERTS)[a-z0-9_:]*", exprs))
    assert len(names) > 40
    families = {f"seawall_reconcile_seconds{end}" for end in ("_bucket",)}
    assert names - families <= exported()


def keys(text: str) -> dict[str, set[frozenset[str]]]:
    """Series -> the label sets that it has."""
    found: dict[str, set[frozenset[str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).add(frozenset(sample.labels))
    return found


def test_made_up_pods_speak_as_a_real_triton() -> None:
    """Of what the recorded one has, the dashboards' series have the same names and labels."""
    recorded = keys(RECORDED.read_text())
    pod = Pod("search", "minilm", "r1", "p1", (19,), below=[0.0])
    told = {name: labels for name, labels in keys(pod.text()).items() if not name.startswith(HISTOGRAM)}
    assert told
    for name, labels in told.items():
        assert labels == recorded[name], name


def test_a_pod_with_a_gpu_names_it() -> None:
    pod = Pod("search", "minilm", "r1", "p1", (19,), Device("GPU-1", 24e9, 72.0), below=[0.0])
    devices = {name: labels for name, labels in keys(pod.text()).items() if "gpu" in name or "energy" in name}
    assert len(devices) == 6
    assert all(labels == {frozenset({"gpu_uuid"})} for labels in devices.values())


def chart(*settings: str) -> list[dict[str, Any]]:
    helm = binaries.find("helm")
    if helm is None:
        pytest.skip("helm is not built yet")
    command = [str(helm), "template", "seawall", str(ROOT / "charts" / "seawall"), "--namespace", "infra"]
    done = subprocess.run([*command, *settings], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each and each["kind"] == "ConfigMap"]


def loaded(maps: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        file.removesuffix(".json"): json.loads(text)
        for each in maps
        for file, text in each.get("data", {}).items()
        if file.endswith(".json")
    }


def test_the_chart_brings_none_unless_asked() -> None:
    assert loaded(chart()) == {}


def test_the_chart_brings_each_as_a_config_map_of_its_own() -> None:
    maps = [
        each
        for each in chart("--set", "dashboards.enabled=true")
        if "grafana_dashboard" in each["metadata"]["labels"]
    ]
    assert loaded(maps) == PAGES
    assert {each["metadata"]["name"] for each in maps} == {f"seawall-dashboard-{name}" for name in PAGES}
    for each in maps:
        assert each["metadata"]["namespace"] == "infra"
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert each["metadata"]["annotations"] == {"grafana_folder": "Seawall"}


def test_the_chart_finds_another_sidecar() -> None:
    maps = chart(
        *("--set", "dashboards.enabled=true", "--set", "dashboards.namespace=monitoring"),
        *("--set", "dashboards.label=boards", "--set-string", "dashboards.labelValue=true"),
        *("--set", "dashboards.folder=ML", "--set", "dashboards.folderAnnotation=where"),
    )
    found = [each["metadata"] for each in maps if "boards" in each["metadata"]["labels"]]
    assert len(found) == len(PAGES)
    assert {each["namespace"] for each in found} == {"monitoring"}
    assert {each["labels"]["boards"] for each in found} == {"true"}
    assert {each["annotations"]["where"] for each in found} == {"ML"}
    assert not any("grafana_dashboard" in each["labels"] for each in found)

"""Values of the chart that a page shows are ones that the chart takes, and so is what `--set` names there."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from support import pages
from support.chart import CHART, CRDS, HELM, given, template

pytestmark = [pytest.mark.long, pytest.mark.skipif(HELM is None, reason="helm is not built yet")]
DIGEST = "sha256:" + 64 * "0"
TOP = yaml.safe_load((CHART / "values.yaml").read_text()).keys()


def shown() -> list[Any]:
    found = []
    for piece in pages.blocks("yaml"):
        values = yaml.safe_load(textwrap.dedent(piece.text.replace("sha256:…", DIGEST)))
        if values.keys() <= TOP:
            found.append(pytest.param(values, id=str(piece)))
    return found


def settings() -> Iterator[tuple[str, str, dict[str, str]]]:
    for piece in pages.blocks("sh"):
        for _, words in pages.commands(piece.text):
            if words[0] == "helm" and "--set" in words:
                said = [words[at + 1].partition("=") for at, word in enumerate(words) if word == "--set"]
                chart = next(word for word in words if word.startswith("charts/"))
                yield str(piece), chart, {name: value for name, _, value in said}


@pytest.mark.parametrize("values", shown())
def test_the_chart_takes_the_values_of_a_page(values):
    done = given(values)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("chart", "values"), [pytest.param(chart, values, id=where) for where, chart, values in settings()]
)
def test_the_chart_takes_what_a_command_sets(chart, values):
    done = template(values, chart={"charts/seawall": CHART, "charts/seawall-crds": CRDS}[chart])
    assert done.returncode == 0, done.stderr


def test_there_are_such_pages():
    assert len(shown()) >= 6
    assert len(list(settings())) >= 2

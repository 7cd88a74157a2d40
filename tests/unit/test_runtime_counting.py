"""Windows with what a user's templates say of them: when they are asked, of which moment, and what then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from seawall.adapters.scrape import PodMetrics
from seawall.decide.types import Windows
from seawall.ports import NoCount
from seawall.runtime import counting
from support.dataplane import CANDIDATE, REVISION, ScalerScene, arrive, route
from support.scene import KEY

pytestmark = pytest.mark.long


def template(name: str = "fallbacks") -> dict[str, Any]:
    def arm(revision: str) -> dict[str, str]:
        return {"bad": f'bad{{n="{{{{name}}}}",r="{revision}"}}', "total": f'{name}{{r="{revision}"}}'}

    return {"name": name, "stable": arm("{{stable}}"), "candidate": arm("{{candidate}}")}


class Asked:
    """A Prometheus in which every counter grows by one a second, those of bad things by a tenth."""

    def __init__(self) -> None:
        self.questions: list[tuple[str, float]] = []
        self.says: Callable[[str, float], float] = lambda query, at: at / (10 if "bad" in query else 1)
        self.free = asyncio.Event()
        self.free.set()

    async def count(self, query: str, at: float) -> float:
        self.questions.append((query, at))
        await self.free.wait()
        return self.says(query, at)


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
async def scene(asked: Asked) -> ScalerScene:
    """A candidate at a step, asked for a minute."""
    scene = ScalerScene()
    scene.plane.count = asked.count  # type: ignore[attr-defined]
    scene.serve()
    route(scene, candidate=True, step=1, analysis={"templates": [template()]})
    arrive(scene)
    scene.plane.rates["digits"] = 20.0
    await pass_(scene, 60)
    return scene


async def pass_(scene: ScalerScene, seconds: float) -> None:
    await scene.pass_(seconds)
    for _ in range(100):
        await asyncio.sleep(0)


def public(scene: ScalerScene) -> Windows:
    return scene.scaler.windows(KEY)


async def test_each_end_of_a_window_is_asked_about_once(scene: ScalerScene, asked: Asked) -> None:
    windows = public(scene).closed
    assert len(windows) >= 2
    for window in windows:
        assert window.stable.seen("fallbacks") == pytest.approx((1.5, 15))
        assert window.candidate.seen("fallbacks") == pytest.approx((1.5, 15))
        assert window.untold == ""
    ends = {window.end for window in windows}
    queries = {f'{kind}r="{of}"}}' for of in (REVISION, CANDIDATE)
               for kind in ('bad{n="digits",', "fallbacks{")}  # fmt: skip
    assert {query for query, _ in asked.questions} == queries
    assert {at for _, at in asked.questions} == ends | {min(ends) - 15}
    assert len(asked.questions) == len(set(asked.questions))


async def test_a_window_is_public_and_wakes_once_it_was_asked_about(scene: ScalerScene, asked: Asked) -> None:
    before, asked.free = public(scene), asyncio.Event()
    scene.woken.clear()
    await pass_(scene, 15)
    assert (public(scene), scene.woken) == (before, [])
    asked.free.set()
    await pass_(scene, 0)
    assert len(public(scene).closed) == len(before.closed) + 1
    assert scene.woken == [KEY]


async def test_nobody_is_asked_without_a_candidate(asked: Asked) -> None:
    scene = ScalerScene()
    scene.plane.count = asked.count  # type: ignore[attr-defined]
    scene.serve()
    route(scene, analysis={"templates": [template()]})
    await pass_(scene, 60)
    assert len(public(scene).closed) >= 2
    assert asked.questions == []


LOST: dict[str, tuple[Callable[[str, float], float], str]] = {
    "several series": (
        lambda query, at: _refused(query, at, "the query returns 3 series; sum them"),
        "The template fallbacks has no data: candidate.total: the query returns 3 series; sum them",
    ),
    "a counter that falls": (lambda _, at: 1e12 - at, "The template fallbacks has no data: stable.bad fell"),
    "more bad ones than there are": (
        lambda query, at: at * (2 if "bad" in query else 1),
        "stable.bad grew by more than stable.total",
    ),
}


def _refused(query: str, at: float, why: str) -> float:
    if query.startswith("fallbacks") and CANDIDATE in query:
        raise NoCount(why)
    return at / 10


@pytest.mark.parametrize("name", LOST)
async def test_what_is_no_count_costs_the_template_its_window(
    scene: ScalerScene, asked: Asked, name: str
) -> None:
    fine, known = asked.says, len(public(scene).closed)
    asked.says, sentence = LOST[name]
    # What was read before was something else, so that a fall is seen from the second window on.
    await pass_(scene, 30)
    window = public(scene).closed[-1]
    assert sentence in window.untold
    assert (window.tells("fallbacks"), window.tells("errors")) == (False, True)
    assert float(window.stable.requests) > 0, "the others have theirs"
    asked.says = fine
    await pass_(scene, 30)
    assert len(public(scene).closed) == known + 4
    assert public(scene).closed[-1].untold == ""


async def test_one_templates_loss_is_that_templates(scene: ScalerScene, asked: Asked) -> None:
    route(scene, candidate=True, step=1, analysis={"templates": [template(), template("retries")]})
    asked.says = lambda query, at: _refused(query, at, "no")
    await pass_(scene, 30)
    window = public(scene).closed[-1]
    assert [window.tells(name) for name in ("fallbacks", "retries")] == [False, True]
    assert "fallbacks has no data: candidate.total: no" in window.untold


async def test_who_never_answers_is_not_waited_for(
    scene: ScalerScene, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "PATIENCE_SECONDS", 0.01)
    known, asked.free = len(public(scene).closed), asyncio.Event()
    await pass_(scene, 15)
    for _ in range(200):
        if len(public(scene).closed) > known:
            break
        await asyncio.sleep(0.01)
    assert public(scene).closed[-1].untold == (
        "The template fallbacks has no data: Prometheus takes too long to answer"
    )


async def test_windows_that_have_waited_too_long_go_without(scene: ScalerScene, asked: Asked) -> None:
    known, asked.free = len(public(scene).closed), asyncio.Event()
    await pass_(scene, 15 * 7)
    assert len(public(scene).closed) == known
    asked.free.set()
    await pass_(scene, 0)
    told = [window.untold for window in public(scene).closed[known:]]
    assert [bool(each) for each in told] == [False, True, True, False, False, False, False]


async def test_a_surprise_is_logged_and_asked_again(
    scene: ScalerScene, asked: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    fine, known = asked.says, len(public(scene).closed)

    def broken(_query: str, _at: float) -> float:
        raise RuntimeError("broken")

    asked.says = broken
    await pass_(scene, 15)
    assert "a window was not counted" in caplog.text
    assert len(public(scene).closed) == known
    asked.says = fine
    await pass_(scene, 5)
    assert [window.untold for window in public(scene).closed[known:]] == [""]


async def test_templates_that_are_taken_away_are_not_asked_any_more(scene: ScalerScene, asked: Asked) -> None:
    route(scene, candidate=True, step=1, analysis={})
    asked.questions.clear()
    await pass_(scene, 30)
    assert (asked.questions, public(scene).closed[-1].stable.further) == ([], {})


async def test_an_operator_without_a_prometheus_says_so(asked: Asked) -> None:
    scene = ScalerScene()
    scene.plane.count = PodMetrics().count  # type: ignore[attr-defined]
    scene.serve()
    route(scene, candidate=True, step=1, analysis={"templates": [template()]})
    arrive(scene)
    await pass_(scene, 60)
    assert "stable.bad: there is no Prometheus to ask" in public(scene).closed[-1].untold

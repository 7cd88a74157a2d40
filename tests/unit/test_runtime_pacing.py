"""Who may follow a change of the platform now, and who waits."""

from __future__ import annotations

from seawall.decide.types import Key, PlatformUpdate
from seawall.runtime.pacing import Pacing

A, B, C = (Key("ns", name) for name in "abc")


class Scene:
    def __init__(self, services: int = 10, slots: int = 0) -> None:
        self.now = 0.0
        self.woken: list[Key] = []
        self.woken_after: list[tuple[Key, float]] = []
        self.pacing = Pacing(
            services=lambda: services,
            wake=self.woken.append,
            wake_after=lambda key, delay: self.woken_after.append((key, delay)),
            clock=lambda: self.now,
            slots=slots,
            failure_hold=600.0,
        )


def test_the_share_is_two_percent_and_at_least_one_unless_it_is_set() -> None:
    assert Scene(services=10).pacing.limit == 1
    assert Scene(services=1000).pacing.limit == 20
    assert Scene(services=1000, slots=3).pacing.limit == 3


def test_one_goes_the_next_waits_and_is_woken_when_the_first_is_done() -> None:
    scene = Scene()
    assert scene.pacing.may_start(A)
    scene.pacing.note(A, PlatformUpdate.RUNNING)
    assert scene.pacing.may_start(A), "who runs goes on"
    assert not scene.pacing.may_start(B)
    scene.pacing.note(B, PlatformUpdate.WAITING)
    scene.pacing.note(C, PlatformUpdate.WAITING)
    assert scene.woken == []
    scene.pacing.note(A, PlatformUpdate.NONE)
    assert scene.woken == [B], "in the order of asking, as many as there are places"


def test_a_failed_one_keeps_its_place_for_a_while() -> None:
    scene = Scene()
    scene.pacing.note(A, PlatformUpdate.RUNNING)
    scene.pacing.note(B, PlatformUpdate.WAITING)
    scene.pacing.note(A, PlatformUpdate.NONE, rolled_back=True)
    assert scene.woken == []
    assert not scene.pacing.may_start(B)
    scene.pacing.note(B, PlatformUpdate.WAITING)
    assert scene.woken_after[-1] == (B, 600.0)
    scene.now = 601.0
    assert scene.pacing.may_start(B)


def test_a_service_that_is_deleted_gives_its_place_back() -> None:
    scene = Scene()
    scene.pacing.note(A, PlatformUpdate.RUNNING)
    scene.pacing.note(B, PlatformUpdate.WAITING)
    scene.pacing.forget(A)
    assert scene.woken == [B]


def test_after_a_start_the_places_are_read_from_the_statuses() -> None:
    scene = Scene()
    scene.pacing.restore(
        [
            (A, {"rollout": {"phase": "Verifying", "trigger": "Platform"}}),
            (B, {"rollout": {"phase": "Verifying", "trigger": "Spec"}}),
            (C, {"rollout": {"phase": "RolledBack", "trigger": "Platform"}}),
            (Key("ns", "d"), {}),
        ]
    )
    assert scene.pacing.running == {A}

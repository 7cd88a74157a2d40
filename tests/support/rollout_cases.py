"""Where a canary may be when something goes wrong, and what is asked of it then."""

from __future__ import annotations

from typing import Any

from seawall.decide.rollout_state import Phase
from support.rollout_sim import OPEN, B, Sim


def canary(index: int = 1, **over: Any) -> Sim:
    """A at work, B at this step with its weight in force, and the judge undecided."""
    sim = Sim.serving(**over)
    sim.edit(B)
    sim.until(lambda s: s.step == index)
    sim.look_says = OPEN
    sim.until(lambda s: s.step == index and s.step_started_at is not None)
    sim.look()
    return sim


def watching() -> Sim:
    sim = Sim.serving()
    sim.edit(B)
    sim.until(lambda s: s.phase is Phase.WATCHING)
    sim.look()
    return sim


def hold(sim: Sim) -> str:
    return sim.state.hold.reason if sim.state.hold is not None else ""


def pause(sim: Sim) -> str:
    return sim.state.pause.reason if sim.state.pause is not None else ""


def rejected(sim: Sim) -> tuple[str, str]:
    found = sim.state.rejected
    return (found.revision, found.reason) if found is not None else ("", "")

"""What the queue promises, whatever the order of events: searched by hypothesis, on the bookkeeping alone."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from seawall.runtime.queue import BACKOFF_BASE, BACKOFF_CAP, Keys
from support.fuzz import EXAMPLES

NAMES = st.sampled_from(["a", "b", "c", "d"])


class QueueMachine(RuleBasedStateMachine):
    """A model beside the queue: which keys still owe somebody a run that starts later than the request."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: Keys[str] = Keys()
        self.now = 0.0
        self.owed: set[str] = set()
        self.owed_live: set[str] = set()
        self.deadlines: dict[str, float] = {}
        self.running: set[str] = set()
        self.failures: dict[str, int] = {}

    @rule(name=NAMES, live=st.booleans())
    def add(self, name: str, live: bool) -> None:
        self.keys.add(name, self.now, live=live)
        self.owed.add(name)
        if live:
            self.owed_live.add(name)

    @rule(name=NAMES, delay=st.floats(0.1, 50))
    def add_after(self, name: str, delay: float) -> None:
        self.keys.add_after(name, delay, self.now)
        self.deadlines[name] = min(self.deadlines.get(name, float("inf")), self.now + delay)

    @rule(seconds=st.floats(0, 400))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        upcoming = self.keys.wake(self.now)
        for name in [n for n, due in self.deadlines.items() if due <= self.now]:
            del self.deadlines[name]
            self.owed.add(name)
            self.owed_live.add(name)
        assert upcoming == min(self.deadlines.values(), default=None)

    @rule()
    def take(self) -> None:
        waiting = self.owed - self.running
        name = self.keys.take(self.now)
        if name is None:
            assert not waiting
            return
        assert name not in self.running, "a key ran twice at the same time"
        assert name in waiting
        live_waiting = self.owed_live - self.running
        assert not live_waiting or name in live_waiting, "the backlog went before an edit"
        self.owed.discard(name)
        self.owed_live.discard(name)
        self.deadlines.pop(name, None)
        self.running.add(name)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), requeue=st.none() | st.floats(0.1, 20))
    def succeed(self, data: st.DataObject, requeue: float | None) -> None:
        name = data.draw(st.sampled_from(sorted(self.running)))
        self.running.discard(name)
        self.failures.pop(name, None)
        self.keys.done(name, self.now, requeue_after=requeue)
        if requeue is not None:
            self.deadlines[name] = min(self.deadlines.get(name, float("inf")), self.now + requeue)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), spread=st.floats(0, 0.999), at_least=st.sampled_from([0.0, 7.0]))
    def fail(self, data: st.DataObject, spread: float, at_least: float) -> None:
        name = data.draw(st.sampled_from(sorted(self.running)))
        self.running.discard(name)
        self.failures[name] = self.failures.get(name, 0) + 1
        pause = self.keys.failed(name, self.now, spread=spread, at_least=at_least)
        middle = min(BACKOFF_CAP, BACKOFF_BASE * 2.0 ** (self.failures[name] - 1))
        assert max(at_least, 0.75 * middle) <= pause <= max(at_least, 1.25 * middle)
        self.deadlines[name] = min(self.deadlines.get(name, float("inf")), self.now + pause)

    @invariant()
    def nothing_is_lost_and_nothing_made_up(self) -> None:
        assert set(self.keys.running) == self.running
        assert len(self.keys) == len(self.owed - self.running)
        assert self.keys.sleeping == len(self.deadlines)

    def teardown(self) -> None:
        """From any state, finishing what runs and taking what waits serves everything that was owed."""
        for name in sorted(self.running):
            self.keys.done(name, self.now)
        served = set()
        while (name := self.keys.take(self.now)) is not None:
            served.add(name)
            self.keys.done(name, self.now)
        assert served == self.owed


TestKeys = QueueMachine.TestCase
TestKeys.settings = settings(max_examples=max(100, EXAMPLES // 10), stateful_step_count=40, deadline=None)

"""Who holds the lease, told by each one's own clock; a fake Lease with optimistic locking stands in."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from seawall.decide.types import ObjectRef
from seawall.ports import ApiConflict, ApiUnavailable
from seawall.runtime.fence import Fenced, LeaseLost
from seawall.runtime.leader import Leader, LeaseTimes
from support.fakecluster import FakeCluster

TIMES = LeaseTimes(duration=15, renew_deadline=10, retry=0.01)


class FakeLease:
    def __init__(self) -> None:
        self.record: dict[str, Any] | None = None
        self.down = False
        self.version = 0

    async def read(self) -> dict[str, Any] | None:
        if self.down:
            raise ApiUnavailable("down")
        return copy.deepcopy(self.record)

    async def write(self, spec: dict[str, Any], current: dict[str, Any] | None) -> dict[str, Any]:
        if self.down:
            raise ApiUnavailable("down")
        held = (self.record or {}).get("metadata", {}).get("resourceVersion")
        if held != (current or {}).get("metadata", {}).get("resourceVersion"):
            raise ApiConflict("somebody was faster")
        self.version += 1
        self.record = {"metadata": {"resourceVersion": str(self.version)}, "spec": spec}
        return copy.deepcopy(self.record)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def attempt(leader: Leader) -> bool:
    """Whether one attempt to take the lease succeeds."""
    task = asyncio.create_task(leader.acquire())
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    return leader.leads


async def test_the_first_takes_it_and_the_second_waits(clock: Clock) -> None:
    lease = FakeLease()
    first, second = Leader(lease, "a", TIMES, clock), Leader(lease, "b", TIMES, clock)
    assert await attempt(first)
    assert not await attempt(second)
    assert lease.record is not None
    assert lease.record["spec"]["holderIdentity"] == "a"


async def test_a_dead_leaders_lease_is_taken_after_its_duration_and_never_before_it_stops_writing(
    clock: Clock,
) -> None:
    lease = FakeLease()
    first, second = Leader(lease, "a", TIMES, clock), Leader(lease, "b", TIMES, clock)
    assert await attempt(first)
    assert not await attempt(second)
    clock.now += 9.9
    assert first.leads
    clock.now += 0.2
    assert not first.leads, "the holder stops believing after the renewal deadline"
    assert not await attempt(second), "and the other one still waits then"
    clock.now += 5
    assert await attempt(second)
    assert lease.record is not None
    assert lease.record["spec"]["leaseTransitions"] == 2


async def test_a_candidate_counts_from_when_it_saw_the_last_renewal(clock: Clock) -> None:
    lease = FakeLease()
    first, second = Leader(lease, "a", TIMES, clock), Leader(lease, "b", TIMES, clock)
    assert await attempt(first)
    assert not await attempt(second)
    clock.now += 8
    assert await attempt(first)  # renews
    clock.now += 8
    assert not await attempt(second)


async def test_a_released_lease_is_taken_at_once(clock: Clock) -> None:
    lease = FakeLease()
    first, second = Leader(lease, "a", TIMES, clock), Leader(lease, "b", TIMES, clock)
    assert await attempt(first)
    await first.release()
    assert not first.leads
    assert await attempt(second)


async def test_a_restarted_container_of_the_same_pod_takes_its_own_lease_back(clock: Clock) -> None:
    lease = FakeLease()
    assert await attempt(Leader(lease, "pod-1", TIMES, clock))
    assert await attempt(Leader(lease, "pod-1", TIMES, clock))


async def test_keeping_ends_when_the_api_is_gone_for_longer_than_the_deadline() -> None:
    lease = FakeLease()
    leader = Leader(lease, "a", LeaseTimes(duration=2, renew_deadline=0.1, retry=0.01))
    await leader.acquire()
    lease.down = True
    await leader.keep()
    assert not leader.leads


async def test_keeping_ends_at_once_when_somebody_else_holds_it(clock: Clock) -> None:
    lease = FakeLease()
    leader = Leader(lease, "a", TIMES, clock)
    await leader.acquire()
    assert lease.record is not None
    lease.record["spec"]["holderIdentity"] = "b"
    lease.record["metadata"]["resourceVersion"] = "77"
    await leader.keep()
    assert not leader.leads


async def test_without_the_lease_reads_pass_and_every_write_is_refused() -> None:
    cluster = FakeCluster()
    fenced = Fenced(cluster, lambda: False)
    ref = ObjectRef("v1", "Service", "ns", "x")
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x", "namespace": "ns"}}
    assert await fenced.get(ref) is None
    assert (await fenced.list("v1", "Service"))[0] == []
    for write in (
        fenced.apply(manifest, force=True),
        fenced.apply_status(ref, {}),
        fenced.patch(ref, ()),
        fenced.delete(ref),
        fenced.record(manifest, None),  # type: ignore[arg-type]
    ):
        with pytest.raises(LeaseLost):
            await write
    assert cluster.writes() == 0

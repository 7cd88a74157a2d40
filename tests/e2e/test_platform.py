"""A change of the platform reaches the services one at a time and costs none of them a request."""

import asyncio
import copy
from typing import Any

import pytest
import pytest_asyncio
from demo_kube import wait_for
from load import running

pytestmark = [pytest.mark.node, pytest.mark.asyncio(loop_scope="module")]

NAMES = ("first", "second", "third")
CHANGED_FLAG = "--log-verbose=0"


@pytest_asyncio.fixture(loop_scope="module")
async def cpu_class(kube: Any) -> Any:
    """The class as it is; put back afterwards."""
    before = copy.deepcopy((await kube.get("acceleratorclass", "cpu"))["spec"]["runtime"])
    yield before
    await kube.patch("acceleratorclass", "cpu", {"spec": {"runtime": {**before, "args": before.get("args")}}})


async def rollout(kube: Any, name: str) -> dict[str, Any]:
    made = await kube.get("inferenceservice", name)
    return dict((made.get("status") or {}).get("rollout") or {})


async def test_a_changed_class_rolls_the_services_one_after_the_other(
    kube: Any, digits: Any, manifest: Any, operator: Any, cpu_class: Any
) -> None:
    await operator.steady()
    for name in NAMES:
        await kube.apply(manifest(name))
    for name in NAMES:
        await kube.wait_ready(name)
    old = {name: (await rollout(kube, name))["stableRevision"] for name in NAMES}
    load = digits.load(kube, "second", "http", 40.0)
    at_once: list[int] = []

    async def all_moved() -> tuple[bool, str]:
        made = {o["metadata"]["name"]: o["status"]["rollout"] for o in await kube.listed("inferenceservice")}
        states = [made[name] for name in NAMES]
        at_once.append(sum("candidateRevision" in state for state in states))
        moved = [n for n, state in zip(NAMES, states, strict=True) if state["stableRevision"] != old[n]]
        return len(moved) == len(NAMES), f"moved: {moved}"

    async with running(load):
        await asyncio.sleep(1)
        args = [*(cpu_class.get("args") or []), CHANGED_FLAG]
        await kube.patch("acceleratorclass", "cpu", {"spec": {"runtime": {"args": args}}})
        await wait_for(all_moved, "every service to run on the changed class", 180)
    assert max(at_once) == 1
    assert load.tally.report()["failed"] == 0
    for name in NAMES:
        assert await digits.accuracy(kube, name, "http") > 0.95

"""What is taken from the cluster for measuring and sizing: roles, profiles, pods, prices, memories."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from seawall.decide.arms import Arm, arms, build_profile
from seawall.decide.children import revisions
from seawall.decide.objective import tally
from seawall.decide.types import Capabilities
from seawall.measure.types import Counts, Reading
from seawall.sizing.profile import PodProfile
from seawall.sizing.state import Bounds
from support.town import START, Town, service

SCALED = {"mode": "HPA", "minReplicas": 2, "maxReplicas": 9}
GPU = {
    "apiVersion": "serving.seawall.dev/v1alpha1",
    "kind": "AcceleratorClass",
    "metadata": {"name": "cpu"},
    "spec": {
        "type": "gpu", "resourceName": "nvidia.com/gpu", "computeCapability": "8.9",
        "runtime": {"image": "triton:1", "tritonVersion": "26.06"},
        "cost": {"perHour": "0.71"}, "power": {"idleWatts": 20, "peakWatts": 72},
    },
}  # fmt: skip


def town(**spec: Any) -> Town:
    can = Capabilities(metrics_api="Ours")
    return Town(service=service(scaling=SCALED, **spec), over={"capabilities": can})


def test_the_stable_revision_as_it_is_measured_and_sized() -> None:
    here = town(batching={"maxQueueDelay": "500us", "maxQueueSize": 16}, parallelism={"instances": 2})
    revision = here.installed()
    here.step()
    [arm] = arms(here.observed())
    assert (arm.namespace, arm.service, arm.revision, arm.role) == ("demo", "digits", revision, "Stable")
    assert (arm.slo_ms, arm.mode, arm.bounds) == (20.0, "HPA", Bounds(2, 9))
    assert (arm.model, dict(arm.pods)) == (
        "digits",
        {f"digits-{revision}-{i}": f"10.1.0.{i}" for i in range(2)},
    )
    assert (arm.replicas, arm.ready, arm.starting) == (2, 2, 0)
    assert (arm.max_batch_size, arm.instances, arm.max_queue_delay_ms, arm.max_queue_size) == (8, 2, 0.5, 16)
    assert (arm.profile, arm.profile_from, arm.published) == (None, "None", None)
    assert (arm.window_days, arm.availability, arm.remembered) == (30.0, None, ())


def test_a_candidate_is_an_arm_of_its_own_and_a_drained_revision_is_none() -> None:
    here = town()
    old = here.installed()
    here.edit(model={"uri": "s3://models/digits-2.onnx", "format": "onnx"})
    here.step()
    new = here.service["status"]["rollout"]["candidateRevision"]
    assert [(a.revision, a.role) for a in arms(here.observed())] == [(old, "Stable"), (new, "Candidate")]
    here.make_ready(new)
    here.answer()
    assert [(a.revision, a.role) for a in arms(here.observed())] == [(new, "Stable")]


@pytest.mark.parametrize("broken", [{"slo": {"p99": "20"}}, {"model": {}}])
def test_a_spec_that_cannot_be_read_has_no_arms(broken: dict[str, Any]) -> None:
    here = town()
    here.installed()
    here.edit(**broken)
    assert arms(here.observed()) == ()


def test_what_a_new_leader_takes_from_the_status() -> None:
    here = town(slo={"p99": "20ms", "availability": "99.9%", "window": "7d"})
    revision = here.installed()
    here.step()
    status = here.service["status"] = copy.deepcopy(here.service["status"])
    status["scaling"] |= {"load": "7.31", "revision": revision}
    status["slo"]["days"] = [{"day": "2026-10-31", "total": 100, "good": 99, "failed": 1}]
    [arm] = arms(here.observed())
    assert (arm.published, arm.window_days, arm.availability) == (7.31, 7.0, pytest.approx(0.999))
    assert arm.remembered == (("2026-10-31", 100.0, 99.0, 1.0),)
    status["scaling"]["revision"] = "another"
    assert arms(here.observed())[0].published is None


DEVICES = {
    "a whole GPU": ({}, (0.71, 20.0, 72.0, True, 1)),
    "two of them": ({"accelerator": {"class": "cpu", "count": 2}}, (1.42, 40.0, 144.0, True, 2)),
    "a slice": ({"resource": "nvidia.com/mig-1g.5gb"}, (0.71, 20.0, 72.0, False, 1)),
}


@pytest.mark.parametrize(("change", "expected"), DEVICES.values(), ids=DEVICES)
def test_price_power_and_instances_are_a_pods(change: dict[str, Any], expected: tuple[Any, ...]) -> None:
    change = dict(change)
    here = town()
    here.accelerator = copy.deepcopy(GPU)
    if resource := change.pop("resource", None):
        here.accelerator["spec"]["resourceName"] = resource
    here.service["spec"] |= change
    here.installed()
    [arm] = arms(here.observed())
    found = (arm.price_per_hour, arm.idle_watts, arm.peak_watts, arm.owns_device, arm.instances)
    assert found == pytest.approx(expected)


def test_starts_are_told_from_the_pods_and_absurd_ones_are_not() -> None:
    here = town()
    revision = here.installed()
    for number, seconds in ((0, 42), (1, 4000)):
        pod = here.objects["Pod", f"digits-{revision}-{number}"]
        made = START.strftime("%Y-%m-%dT%H:%M:%SZ")
        ready = (START + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        pod["metadata"]["creationTimestamp"] = made
        pod["status"]["conditions"] = [{"type": "Ready", "status": "True", "lastTransitionTime": ready}]
    [arm] = arms(here.observed())
    assert arm.starts == {f"digits-{revision}-0": 42.0}


def test_when_a_server_was_started_is_told_from_its_own_container() -> None:
    here = town()
    revision = here.installed()
    first, second = (here.objects["Pod", f"digits-{revision}-{number}"] for number in (0, 1))
    at = (START + timedelta(seconds=7)).strftime("%Y-%m-%dT%H:%M:%SZ")
    running = {"state": {"running": {"startedAt": at}}}
    first["status"]["containerStatuses"] = [
        {"name": "sidecar", "state": {"running": {"startedAt": "2020-01-01T00:00:00Z"}}},
        {"name": "triton", **running},
    ]
    second["status"]["containerStatuses"] = [{"name": "triton", "state": {"waiting": {}}}]
    [arm] = arms(here.observed())
    assert arm.started == {first["metadata"]["name"]: START.timestamp() + 7}


TOLD = {
    "instances": 1, "maxBatchSize": 4, "maxQueueDelayMs": "0", "overheadMs": "0.4",
    "batches": [{"size": 1, "meanMs": "7.0", "stdMs": "0.2"}, {"size": 4, "meanMs": "10.0"}],
}  # fmt: skip
PROFILES = {
    "as the build tells it": (TOLD, 10.0),
    "nothing told": (None, None),
    "no batches": ({**TOLD, "batches": []}, None),
    "a mean that is no number": ({**TOLD, "batches": [{"size": 1, "meanMs": "fast"}]}, None),
}


@pytest.mark.parametrize(("profile", "fours"), PROFILES.values(), ids=PROFILES)
def test_a_builds_profile_is_read_from_its_status(profile: Any, fours: float | None) -> None:
    here = town()
    here.installed()
    [revision] = revisions(here.observed()).values()
    inputs = copy.deepcopy(revision.inputs)
    assert inputs is not None
    inputs.platform["artifact"] = {"build": "b", "uri": "s3://x", "digest": "d", "format": "onnx"}
    builds = {"b": {"status": {"result": {"profile": profile}}}}
    found = build_profile(builds, inputs)
    assert (found.service_time(4) if isinstance(found, PodProfile) else None) == fours
    if isinstance(found, PodProfile):
        assert found.max_batch_size == 8  # spec.model.maxBatchSize: what the pods form
        assert found.service_time(8) == 20.0
    assert build_profile({}, inputs) is None
    assert build_profile(builds, revision.inputs) is None


def counted(total: float, good: float, failed: float = 0.0, **over: Any) -> Arm:
    counts = Counts(total, good, failed)
    return Arm("demo", "digits", "aa", 20.0, "HPA", Bounds(), reading=Reading(0.0, counts=counts), **over)


def test_the_budget_goes_on_from_what_the_status_remembers() -> None:
    yesterday = ("2026-10-31", 1000.0, 995.0, 2.0)
    found = [counted(100, 99, remembered=(yesterday,)), counted(10, 10, remembered=(yesterday,))]
    first = tally(None, found, START)
    assert first is not None
    ledger, budget = first
    assert budget.days == (yesterday, ("2026-11-01", 110.0, 109.0, 0.0))
    assert budget.attainment == pytest.approx(1104 / 1110)
    assert budget.remaining == pytest.approx(1 - 6 / 11.1)
    again = tally(ledger, found, START)
    assert again is not None
    assert again[1].days == (yesterday, ("2026-11-01", 220.0, 218.0, 0.0))
    strict = tally(ledger, [counted(0, 0, availability=0.999)], START)
    assert strict is not None
    assert strict[1].remaining == pytest.approx(1 - 2 / 1.11)
    shorter = tally(ledger, [counted(0, 0, window_days=1.0)], datetime(2026, 11, 4, tzinfo=UTC))
    assert shorter is not None
    assert shorter[1].attainment is None
    assert tally(ledger, [], START) is None

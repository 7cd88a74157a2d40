"""KEDA and the autoscaler that it makes do what the load says, and never remove a pod for want of an answer."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from seawall_cluster.processes import wait_until

from .stand import Keda, Stand

# Of an API server and its neighbours; the node is not needed.
pytestmark = pytest.mark.apiserver
PATIENCE = 120.0
LONG_ENOUGH = 20.0
"""Four rounds of the autoscaler, one of KEDA's own."""


def eventually(what: str, true: Callable[[], bool]) -> None:
    wait_until(true, what, PATIENCE)


def scaled_to(stand: Stand, replicas: int, load: float) -> None:
    stand.says(load)
    eventually(f"{replicas} for a load of {load}", lambda: stand.replicas == replicas)


def test_a_load_becomes_as_many_pods(stand: Stand) -> None:
    stand.scaled()
    for load, replicas in ((2.55, 3), (3.0, 3), (10.4, 9), (8.0, 8)):
        scaled_to(stand, replicas, load)
    assert stand.condition("Ready")["status"] == "True"
    assert stand.autoscaler_condition("ScalingActive")["status"] == "True"
    rules = stand.hpa["spec"]["behavior"]
    assert (rules["scaleUp"]["tolerance"], rules["scaleDown"]["tolerance"]) == ("0", "0")


def test_a_tenth_more_is_not_lost(stand: Stand) -> None:
    stand.scaled(maximum=12)
    scaled_to(stand, 10, 9.6)
    scaled_to(stand, 11, 10.4)
    scaled_to(stand, 10, 9.9)


def test_the_operators_own_applies_leave_the_count_alone(stand: Stand) -> None:
    stand.scaled()
    scaled_to(stand, 3, 2.55)
    stand.renders_again()
    assert stand.replicas == 3


def test_a_count_that_is_found_stands_until_the_first_load(stand: Stand) -> None:
    stand.counts(4)
    stand.scaled()
    eventually("KEDA has its fallback", lambda: stand.condition("Fallback").get("status") == "True")
    time.sleep(LONG_ENOUGH)
    assert stand.replicas == 4
    scaled_to(stand, 6, 5.1)


def test_a_load_that_is_withdrawn_holds_the_count_until_it_is_back(stand: Stand) -> None:
    stand.scaled()
    scaled_to(stand, 3, 2.55)
    before = stand.generation
    stand.says(None)
    eventually("KEDA has its fallback", lambda: stand.condition("Fallback").get("status") == "True")
    time.sleep(LONG_ENOUGH)
    assert (stand.replicas, stand.generation) == (3, before)
    scaled_to(stand, 5, 4.2)
    eventually("the fallback is over", lambda: stand.condition("Fallback").get("status") == "False")


def test_a_prometheus_that_is_gone_holds_the_count_until_it_is_back(stand: Stand) -> None:
    stand.scaled(minimum=2)
    scaled_to(stand, 5, 4.2)
    before = stand.generation
    stand.prometheus.kill()
    stand.says(1.0)
    eventually("KEDA has its fallback", lambda: stand.condition("Fallback").get("status") == "True")
    time.sleep(LONG_ENOUGH)
    assert (stand.replicas, stand.generation) == (5, before)
    stand.prometheus.start()
    eventually("the load is followed again", lambda: stand.replicas < 5)


def test_a_keda_that_is_gone_holds_the_count_until_it_is_back(stand: Stand, installed: Keda) -> None:
    stand.scaled()
    scaled_to(stand, 3, 2.55)
    before = stand.generation
    installed.kill()
    stand.says(6.0)

    def told() -> bool:
        active = stand.autoscaler_condition("ScalingActive")
        return active["status"] == "False" and active["reason"] == "FailedGetExternalMetric"

    eventually("the autoscaler says that it cannot ask", told)
    assert (stand.replicas, stand.generation) == (3, before)
    installed.start()
    eventually("the load is followed again", lambda: stand.replicas == 6)


def test_a_pause_holds_the_count_and_its_end_lets_it_go(stand: Stand) -> None:
    stand.scaled()
    scaled_to(stand, 3, 2.55)
    stand.scaled(paused="true")
    eventually("KEDA is paused", lambda: stand.condition("Paused").get("status") == "True")
    before = stand.generation
    stand.says(6.0)
    time.sleep(LONG_ENOUGH)
    assert (stand.replicas, stand.generation) == (3, before)
    stand.scaled()
    eventually("the load is followed again", lambda: stand.replicas == 6)


def test_a_pause_at_a_count_goes_there(stand: Stand) -> None:
    stand.scaled()
    scaled_to(stand, 3, 2.55)
    stand.scaled(paused_replicas="7")
    eventually("seven pods", lambda: stand.replicas == 7)
    stand.scaled()
    eventually("the load is followed again", lambda: stand.replicas < 7)


def test_a_mode_that_is_left_leaves_its_count(stand: Stand) -> None:
    stand.scaled()
    scaled_to(stand, 3, 2.55)
    before = stand.generation
    stand.server.kubectl("delete", "scaledobject", stand.name, "-n", stand.owner.namespace, "--wait=true")
    eventually("KEDA's autoscaler is gone", lambda: not stand.hpa)
    assert (stand.replicas, stand.generation) == (3, before)

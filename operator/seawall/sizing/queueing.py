"""Closed forms from queueing theory: sanity bounds for the simulated table, and words for `explain`.

None of them knows dynamic batching behind a dispatcher, so none of them sizes anything: with the profile of
docs/sizing.md, M/D/1 with the time of a batch of one needs eight times the pods, and M/D/1 with the time
per request of a full batch half of them. Rates are per second, times in seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from seawall.sizing.profile import PodProfile


@dataclass(frozen=True, slots=True)
class Bounds:
    """What queueing theory says about one pod at one rate, in ms; inf where it is not stable."""

    stable: bool
    limit_rps: float
    inoue_mean_ms: float
    """upper bound of the mean latency of a server that takes everything waiting as one batch"""
    floor_ms: float
    """no request is faster: one batch of one, and the overhead"""


def utilisation(profile: PodProfile, rate_rps: float) -> float:
    """Share of what the pod can do at all; stable below 1 (r < m*B/s(B))."""
    return rate_rps / profile.limit_rps


def erlang_c(servers: int, load: float) -> float:
    """Probability that a request waits in M/M/c with offered load a = lambda*E[S] (Erlang, 1917).

    By the recursion of the blocking formula, which neither overflows nor cancels.
    """
    if servers < 1 or not load >= 0:
        raise ValueError(f"no queue has {servers} servers and a load of {load}")
    if load >= servers:
        return 1.0
    blocking = 1.0
    for k in range(1, servers + 1):
        blocking = load * blocking / (k + load * blocking)
    return blocking / (1 - load / servers * (1 - blocking))


def wait_mmc(rate: float, service: float, servers: int) -> float:
    """Mean wait in M/M/c."""
    if rate * service >= servers:
        return math.inf
    return erlang_c(servers, rate * service) / (servers / service - rate)


def wait_allen_cunneen(rate: float, service: float, servers: int, ca2: float, cs2: float) -> float:
    """Mean wait in G/G/c, approximately (Allen 1978): M/M/c times (ca2+cs2)/2; exact for M/M/c and M/G/1."""
    return wait_mmc(rate, service, servers) * (ca2 + cs2) / 2


def wait_kingman(rate: float, service: float, ca2: float, cs2: float) -> float:
    """Mean wait in G/G/1 in heavy traffic (Kingman 1961)."""
    rho = rate * service
    return math.inf if rho >= 1 else rho / (1 - rho) * (ca2 + cs2) / 2 * service


def wait_quantile(mean_wait: float, waiting: float, quantile: float) -> float:
    """The wait that a share `quantile` stays below, with the exponential tail of M/M/c."""
    if not math.isfinite(mean_wait):
        return math.inf
    if waiting <= 1 - quantile:
        return 0.0
    return mean_wait / waiting * math.log(waiting / (1 - quantile))


def inoue_mean(rate: float, alpha: float, tau0: float) -> float:
    """Mean latency of one server that takes all waiting requests as one batch of time alpha*b + tau0.

    After Inoue, "Queueing analysis of GPU-based inference servers with dynamic batching" (Performance
    Evaluation 2021, arXiv:1912.06322), in the form of the project's notes; the tests hold it against a
    simulation, the wording of the theorem was not compared. Unlimited batch size, Poisson arrivals.
    """
    load = rate * alpha
    if load >= 1:
        return math.inf
    light = (alpha + tau0) / (2 * (1 - load)) * (1 + 2 * rate * tau0 + (1 - rate * tau0) / (1 + load))
    heavy = 1.5 * tau0 / (1 - load) + alpha / 2 * (load + 2) / (1 - load**2)
    return min(light, heavy)


def bounds(profile: PodProfile, rate_rps: float) -> Bounds:
    """For one pod; Inoue's form only where its model applies: one instance and no delay."""
    tau0, alpha = profile.line
    stable = rate_rps < profile.limit_rps
    applies = profile.instances == 1 and profile.max_queue_delay_ms == 0
    mean = inoue_mean(rate_rps, alpha / 1000, tau0 / 1000) * 1000 if stable and applies else math.inf
    return Bounds(
        stable=stable,
        limit_rps=profile.limit_rps,
        inoue_mean_ms=mean + profile.overhead_ms,
        floor_ms=profile.service_time(1) + profile.overhead_ms,
    )

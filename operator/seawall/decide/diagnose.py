"""From the state of a revision's pods to one sentence about what is wrong.

Kubernetes spreads the reason over pod conditions, waiting reasons, last terminations and Deployment
conditions; the person at 3 a.m. wants one of them, the right one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FETCH_CONTAINER = "fetch"
IMAGE_REASONS = frozenset(
    {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
CONFIG_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
FETCH_REASONS = frozenset(
    {
        "DigestMismatch",
        "ModelNotFound",
        "CredentialsRefused",
        "InvalidModel",
        "InvalidConfig",
        "UnsupportedScheme",
        "FetchFailed",
        "NoSpace",
        "ArtifactDigestMismatch",
        "SignatureMissing",
        "SignatureInvalid",
    }
)
PERMANENT = frozenset(
    {
        "DigestMismatch",
        "InvalidModel",
        "InvalidConfig",
        "UnsupportedScheme",
        "ArtifactDigestMismatch",
        "SignatureMissing",
        "SignatureInvalid",
    }
)
"""What the same revision can never recover from."""
REFUSALS_BEFORE_GIVING_UP = 3


@dataclass(frozen=True, slots=True)
class Trouble:
    condition: str
    """ModelReady or WorkloadReady"""
    reason: str
    message: str
    permanent: bool = False
    """the same revision cannot get better by itself"""


def trouble_of(pods: Sequence[Mapping[str, Any]], deployment: Mapping[str, Any] | None) -> Trouble | None:
    """The first trouble in order of how much it explains; None while all is well or merely starting."""
    found = [t for pod in pods if not pod["metadata"].get("deletionTimestamp") for t in _pod_troubles(pod)]
    for condition in ("ModelReady", "WorkloadReady"):
        permanent = [t for t in found if t.condition == condition and t.permanent]
        if permanent:
            return permanent[0]
    if found:
        return found[0]
    return _deployment_trouble(deployment)


def _pod_troubles(pod: Mapping[str, Any]) -> Iterable[Trouble]:
    status = pod.get("status") or {}
    name = pod["metadata"]["name"]
    if status.get("reason") == "Evicted":
        yield Trouble("WorkloadReady", "Evicted", f"Pod {name} was evicted: {status.get('message', '')}")
    for container in status.get("initContainerStatuses") or ():
        yield from _container_troubles(name, container)
    for container in status.get("containerStatuses") or ():
        if not container.get("ready"):
            yield from _container_troubles(name, container)
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield Trouble(
                "WorkloadReady", "Unschedulable", f"No node fits pod {name}: {condition.get('message', '')}"
            )


def _container_troubles(pod: str, container: Mapping[str, Any]) -> Iterable[Trouble]:
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in IMAGE_REASONS:
        image = container.get("image", "")
        yield Trouble("WorkloadReady", "ImagePullFailed", f"Image {image} of pod {pod}: {message or reason}")
        return
    if reason in CONFIG_REASONS:
        yield Trouble("WorkloadReady", "ContainerConfigError", f"Pod {pod}: {message or reason}")
        return
    ended = _last_termination(container)
    if ended is None:
        return
    restarts = int(container.get("restartCount") or 0)
    if ended.get("reason") == "OOMKilled":
        yield Trouble(
            "WorkloadReady",
            "OOMKilled",
            f"Container {container.get('name')} of pod {pod} ran out of its memory limit and was killed"
            f" ({restarts} restarts); raise the limit through spec.podTemplate",
        )
    elif container.get("name") == FETCH_CONTAINER:
        yield _fetch_trouble(pod, ended)
    else:
        yield _server_trouble(pod, container, ended, restarts)


def _last_termination(container: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """How the container last ended, if that was a failure and it is not running well since."""
    for place in ("state", "lastState"):
        ended: Mapping[str, Any] | None = (container.get(place) or {}).get("terminated")
        if ended is not None:
            failed = int(ended.get("exitCode") or 0) != 0 or ended.get("reason") == "OOMKilled"
            return ended if failed else None
    return None


def _fetch_trouble(pod: str, ended: Mapping[str, Any]) -> Trouble:
    text = str(ended.get("message") or "").strip()
    try:
        told = json.loads(text.splitlines()[-1])
        reason, message = str(told["reason"]), str(told["message"])
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        reason, message = "FetchFailed", text or f"exit code {ended.get('exitCode')}"
    if reason not in FETCH_REASONS:
        reason, message = "FetchFailed", f"{reason}: {message}"
    return Trouble("ModelReady", reason, f"{message} (pod {pod})", permanent=reason in PERMANENT)


def _server_trouble(
    pod: str, container: Mapping[str, Any], ended: Mapping[str, Any], restarts: int
) -> Trouble:
    words = servers_own_words(str(ended.get("message") or ""))
    if words:
        return Trouble(
            "ModelReady",
            "ServerRefusedModel",
            f"Triton in pod {pod} says: {words}",
            permanent=restarts >= REFUSALS_BEFORE_GIVING_UP,
        )
    name, code = container.get("name"), ended.get("exitCode")
    return Trouble(
        "WorkloadReady",
        "CrashLooping",
        f"Container {name} of pod {pod} ended with exit code {code} ({restarts} restarts); its log says why",
    )


def servers_own_words(log_tail: str) -> str:
    """The lines of Triton's log that name the fault, newest first kept, at most 600 characters."""
    marks = ("failed to load", "error:", "Error", "Exception", "Invalid argument", "E1", "E0")
    said: list[str] = []
    for line in log_tail.splitlines():
        text = line.strip(" |+-=")
        if text and any(mark in text for mark in marks) and text not in said:
            said.append(text)
    return " / ".join(said)[:600]


def _deployment_trouble(deployment: Mapping[str, Any] | None) -> Trouble | None:
    for condition in ((deployment or {}).get("status") or {}).get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return Trouble("WorkloadReady", "PodsRefused", str(condition.get("message", "")))
        if condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return Trouble("WorkloadReady", "ProgressDeadlineExceeded", str(condition.get("message", "")))
    return None

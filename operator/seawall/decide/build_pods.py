"""A build's pods, read for what they say: where they are, how they ended, why they do not start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seawall.decide.diagnose import CONFIG_REASONS, IMAGE_REASONS
from seawall.decide.types import Manifest
from seawall.desired.names import PROGRESS_PORT, TRITON_CONTAINER


@dataclass(frozen=True, slots=True)
class End:
    """How one container ended."""

    container: str
    code: int
    reason: str
    message: str


def statuses(pod: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Of the phases, in order; Triton, which runs beside the last one, tells nothing about the build."""
    return (status for status in _all(pod) if status.get("name") != TRITON_CONTAINER)


def _all(pod: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    told = pod.get("status") or {}
    for group in ("initContainerStatuses", "containerStatuses"):
        yield from told.get(group) or ()


def failure_of(pod: Mapping[str, Any]) -> End | None:
    """The first phase that ended badly."""
    ends = (end for status in statuses(pod) if (end := _end(status)) is not None)
    return next((end for end in ends if end.code != 0 or end.reason == "OOMKilled"), None)


def last_words(pod: Mapping[str, Any], container: str) -> str:
    for status in statuses(pod):
        end = _end(status)
        if status.get("name") == container and end is not None:
            return end.message
    return ""


def _end(status: Mapping[str, Any]) -> End | None:
    ended = (status.get("state") or {}).get("terminated")
    if ended is None:
        return None
    return End(
        str(status.get("name")),
        int(ended.get("exitCode") or 0),
        str(ended.get("reason") or ""),
        str(ended.get("message") or ""),
    )


def newest(pods: Sequence[Manifest], phase: str) -> Manifest | None:
    """The pod in this phase that was made last."""
    found = [p for p in pods if (p.get("status") or {}).get("phase") == phase]
    return max(found, key=lambda p: str(p["metadata"].get("creationTimestamp", "")), default=None)


def active(pods: Sequence[Manifest]) -> Manifest | None:
    """The pod that is at work or about to be."""
    found = [
        p
        for p in pods
        if (p.get("status") or {}).get("phase") in (None, "", "Pending", "Running")
        and not p["metadata"].get("deletionTimestamp")
    ]
    return max(found, key=lambda p: str(p["metadata"].get("creationTimestamp", "")), default=None)


def running_phase(pod: Mapping[str, Any]) -> str | None:
    """The container that runs now; None while none has begun."""
    return next((str(s["name"]) for s in statuses(pod) if "running" in (s.get("state") or {})), None)


def has_begun(pod: Mapping[str, Any]) -> bool:
    return any((s.get("state") or {}).keys() & {"running", "terminated"} for s in statuses(pod))


def progress_address(pod: Mapping[str, Any]) -> str | None:
    """host:port to ask, where a phase of ours runs; a user's training image answers nothing."""
    ip = (pod.get("status") or {}).get("podIP")
    if not ip or running_phase(pod) in (None, "train", "compile"):
        return None
    return f"{f'[{ip}]' if ':' in ip else ip}:{PROGRESS_PORT}"


def was_evicted(pod: Mapping[str, Any]) -> bool:
    told = pod.get("status") or {}
    return any(
        c.get("type") == "DisruptionTarget" and c.get("status") == "True"
        for c in told.get("conditions") or ()
    )


def obstacle(pod: Mapping[str, Any]) -> tuple[str, str] | None:
    """Why the pod does not start, as reason and sentence."""
    name, told = pod["metadata"]["name"], pod.get("status") or {}
    for status in _all(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        if reason in IMAGE_REASONS:
            image = status.get("image", "")
            return "ImagePullFailed", f"Image {image} of pod {name}: {message or reason}"
        if reason in CONFIG_REASONS:
            return "ContainerConfigError", f"Pod {name}: {message or reason}"
    for condition in told.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return "Unschedulable", f"No node fits pod {name}: {condition.get('message', '')}"
    return None

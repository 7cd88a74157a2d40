"""A service's children as the cluster shows them, sorted into what the decision needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from seawall.decide.conditions import parse_timestamp
from seawall.decide.diagnose import trouble_of
from seawall.decide.rollout_pods import seen
from seawall.decide.rollout_state import RevisionState, RolloutState, Routes
from seawall.decide.types import Manifest, Observed
from seawall.desired.inputs import RevisionInputs
from seawall.desired.names import (
    INPUTS_ANNOTATION,
    REVISION_LABEL,
    STABLE_ANNOTATION,
    headless_name,
    shadow_name,
)

HTTP_PORT = 8000
PODS_ASKED = 8
LONGEST_START = timedelta(seconds=600)
"""As the Deployment's progressDeadlineSeconds: an older pod that is not ready is not starting."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision that exists: its Deployment, what made it (None if the record is damaged), its pods."""

    name: str
    deployment: Manifest
    inputs: RevisionInputs | None
    pods: tuple[Manifest, ...]

    @property
    def replicas(self) -> int:
        return int(self.deployment["spec"].get("replicas", 1))

    @property
    def available(self) -> int:
        return int((self.deployment.get("status") or {}).get("availableReplicas") or 0)

    @property
    def running(self) -> int:
        return int((self.deployment.get("status") or {}).get("replicas") or 0)

    def state(self, wanted: int) -> RevisionState:
        status = self.deployment.get("status") or {}
        ready = is_up(self.deployment, wanted)
        return RevisionState(
            ready=ready,
            deadline_exceeded=not ready and _deadline_exceeded(status),
            trouble=None if ready else trouble_of(self.pods, self.deployment),
            available=self.available,
            replicas=self.replicas,
        )

    def ready_pods(self) -> tuple[Manifest, ...]:
        """Those that take requests and are not going."""
        return tuple(p for p in self.pods if _is_ready(p) and not p["metadata"].get("deletionTimestamp"))

    def addresses(self) -> tuple[str, ...]:
        """host:port of the ready pods' HTTP endpoints, a few at most."""
        ips = sorted(p["status"]["podIP"] for p in self.ready_pods() if p["status"].get("podIP"))
        return tuple(f"{f'[{ip}]' if ':' in ip else ip}:{HTTP_PORT}" for ip in ips[:PODS_ASKED])


def is_up(deployment: Manifest, wanted: int) -> bool:
    """So many pods of the newest template are available, one at least."""
    status = deployment.get("status") or {}
    seen = int(status.get("observedGeneration") or 0) >= int(deployment["metadata"].get("generation") or 0)
    newest = min(int(status.get(f"{kind}Replicas") or 0) for kind in ("updated", "available"))
    return seen and newest >= max(1, wanted)


def _deadline_exceeded(status: Mapping[str, Any]) -> bool:
    return any(
        c.get("type") == "Progressing" and c.get("reason") == "ProgressDeadlineExceeded"
        for c in status.get("conditions") or ()
    )


def _is_ready(pod: Mapping[str, Any]) -> bool:
    return _readiness(pod) is not None


def _readiness(pod: Mapping[str, Any]) -> Mapping[str, Any] | None:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == "Ready" and c.get("status") == "True"), None)


def ready_since(pod: Mapping[str, Any]) -> datetime | None:
    """When a ready pod became so."""
    text = (_readiness(pod) or {}).get("lastTransitionTime")
    return parse_timestamp(text) if text else None


def growing(revision: Revision, now: datetime, least: int) -> bool:
    """Enough pods serve, and those that do not yet are young: a count that rises, not one that is short."""
    if revision.available < max(1, least):
        return False
    late = [p["metadata"] for p in revision.pods if not _is_ready(p)]
    made = [m["creationTimestamp"] for m in late if "creationTimestamp" in m and "deletionTimestamp" not in m]
    return all(now - parse_timestamp(moment) <= LONGEST_START for moment in made)


def owned(objects: Sequence[Manifest], uid: str) -> list[Manifest]:
    """Those that this very service controls and that are not going already."""
    return [
        o
        for o in objects
        if not o["metadata"].get("deletionTimestamp")
        and any(r.get("uid") == uid for r in o["metadata"].get("ownerReferences") or ())
    ]


def revisions(observed: Observed) -> dict[str, Revision]:
    """The service's own revisions by name."""
    pods: dict[str, list[Manifest]] = {}
    for pod in observed.pods:
        pods.setdefault((pod["metadata"].get("labels") or {}).get(REVISION_LABEL, ""), []).append(pod)
    found = {}
    comparator = shadow_name(observed.service["metadata"]["name"])
    for deployment in owned(observed.deployments, observed.service["metadata"]["uid"]):
        if deployment["metadata"]["name"] == comparator:
            continue
        name = (deployment["metadata"].get("labels") or {}).get(REVISION_LABEL)
        if not name:
            name = deployment["metadata"]["name"].rpartition("-")[2]
        found[name] = Revision(name, deployment, _inputs(deployment, name), tuple(pods.get(name, ())))
    return found


def _inputs(deployment: Manifest, name: str) -> RevisionInputs | None:
    text = (deployment["metadata"].get("annotations") or {}).get(INPUTS_ANNOTATION)
    if not text:
        return None
    try:
        inputs = RevisionInputs.from_annotation(text)
    except ValueError:
        return None
    return inputs if inputs.revision == name else None


def selected_revision(observed: Observed) -> str | None:
    """What the live Service of the service's own name selects; the stable one of two."""
    meta = observed.service["metadata"]
    for service in owned(observed.services, meta["uid"]):
        if service["metadata"]["name"] == meta["name"]:
            selector: Mapping[str, str] = service["spec"].get("selector") or {}
            annotations: Mapping[str, str] = service["metadata"].get("annotations") or {}
            return selector.get(REVISION_LABEL) or annotations.get(STABLE_ANNOTATION)
    return None


def selection(observed: Observed, existing: Mapping[str, Revision], state: RolloutState) -> Routes:
    """How the live Services split the traffic between two revisions' pods."""
    meta = observed.service["metadata"]
    names = {meta["name"], headless_name(meta["name"])}
    live = [o for o in owned(observed.services, meta["uid"]) if o["metadata"]["name"] in names]
    both = {REVISION_LABEL not in (service["spec"].get("selector") or {}) for service in live}
    ready = [
        existing[name].available if name in existing else 0
        for name in (state.candidate or "", state.stable or "")
    ]
    return seen(
        both=None if len(both) > 1 else both == {True},
        candidate=ready[0],
        stable=ready[1],
        others=_others(observed, existing, state) if state.step is not None else "",
    )


def _others(observed: Observed, existing: Mapping[str, Revision], state: RolloutState) -> str:
    """A revision that is neither of the two and has pods, of a Deployment that may have gone already."""
    here = {
        (pod["metadata"].get("labels") or {}).get(REVISION_LABEL, "without a name")
        for pod in observed.pods
        if not pod["metadata"].get("deletionTimestamp")
        and (pod.get("status") or {}).get("phase") not in ("Failed", "Succeeded")
    }
    return min((here | {*existing}) - {state.stable, state.candidate}, default="")

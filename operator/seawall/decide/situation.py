"""All that one reconcile has observed and decided, as the status is told from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seawall.decide.acceptance import Accepted
from seawall.decide.actuator import Actuator, bounds_of
from seawall.decide.builds import Need
from seawall.decide.children import Revision
from seawall.decide.diagnose import FETCH_REASONS, Trouble
from seawall.decide.rollout_plan import RolloutPlan
from seawall.decide.rollout_state import RolloutState, Routes, Step
from seawall.decide.types import Assessment, Observed, PlatformUpdate
from seawall.desired.inputs import RevisionInputs

MODEL_REASONS = FETCH_REASONS | {"ServerRefusedModel", "VerificationFailed"}


@dataclass(frozen=True, slots=True)
class Situation:
    observed: Observed
    accepted: Accepted
    revisions: Mapping[str, Revision]
    step: Step
    rollout: RolloutState
    """what is written as status.rollout: the step's state, or the previous one when writing failed"""
    wanted: RevisionInputs | None
    actuator: Actuator | None = None
    """None while the spec cannot be read"""
    counts: Mapping[str, int] = field(default_factory=dict)
    """pods that each revision is meant to have"""
    need: Need | None = None
    """the build that the spec asks for, if any"""
    routes: Routes | None = None
    """None: nothing is routed"""
    rolling: RolloutPlan = field(default_factory=RolloutPlan)

    @property
    def awaited(self) -> Need | None:
        """The build that stands between the spec and its revision; not while its turn has not come."""
        waiting = self.step.platform_update is PlatformUpdate.WAITING
        return self.need if self.need is not None and self.need.built is None and not waiting else None

    @property
    def target(self) -> str | None:
        """The revision that the conditions about model and workload speak of."""
        if self.wanted is not None:
            return self.wanted.revision
        return self.rollout.candidate or self.rollout.stable

    @property
    def stable(self) -> Revision | None:
        return self.revisions.get(self.rollout.stable or "")

    @property
    def serves(self) -> bool:
        """A verified revision has at least one pod that takes requests."""
        return self.stable is not None and self.stable.available > 0

    @property
    def assessment(self) -> Assessment | None:
        """Of the revision that serves."""
        return self.observed.assessments.get(self.rollout.stable or "")

    @property
    def scaled(self) -> bool:
        """The count moves by itself."""
        return self.actuator is not None and self.actuator.scaled

    @property
    def least(self) -> int:
        """Pods that the spec wants in any case."""
        spec = self.accepted.spec
        return bounds_of(spec, self.actuator.mode).min_replicas if spec and self.actuator else 1

    def meant(self, revision: str | None) -> int:
        """Pods that a revision should have now."""
        here = self.revisions.get(revision or "")
        return self.counts.get(revision or "", here.replicas if here is not None else 1)

    @property
    def trouble(self) -> Trouble | None:
        here = self.revisions.get(self.target or "")
        if here is not None:
            return here.state(self.meant(self.target)).trouble
        rejected = self.rollout.rejected
        if rejected is not None and rejected.revision == self.target:
            condition = "ModelReady" if rejected.reason in MODEL_REASONS else "WorkloadReady"
            return Trouble(condition, rejected.reason, rejected.message)
        return None

    @property
    def previous(self) -> Mapping[str, Any]:
        """The status as it was written last."""
        return self.observed.service.get("status") or {}

    def before(self, condition: str) -> Mapping[str, Any] | None:
        """A condition as it was written last."""
        found = self.previous.get("conditions") or ()
        return next((c for c in found if c.get("type") == condition), None)

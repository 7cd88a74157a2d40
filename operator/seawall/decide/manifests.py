"""Every object that a service is made of, in the order in which they are applied, and what may go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from seawall.decide.acceptance import Accepted
from seawall.decide.actuator import Actuator
from seawall.decide.children import Revision, owned
from seawall.decide.counts import Counts
from seawall.decide.rollout_state import Step
from seawall.decide.types import Manifest, ObjectRef, Observed, Scale
from seawall.decide.watchers import autoscaler, monitors
from seawall.desired.canonical import stamped
from seawall.desired.deployment import build_deployment
from seawall.desired.disruption import build_disruption_budget
from seawall.desired.inputs import RevisionInputs
from seawall.desired.names import Owner, candidate_name, deployment_name, headless_name, shadow_name
from seawall.desired.service import build_candidate_service, build_headless_service, build_service
from seawall.desired.shared import build_network_policy, build_service_account


@dataclass(frozen=True, slots=True)
class Wanted:
    """The revision that the spec asks for, and its Deployment where it exists already."""

    inputs: RevisionInputs
    manifest: Manifest
    """made from the inputs that the revision was born with, where it exists: its template never changes"""


@dataclass(frozen=True, slots=True)
class Making:
    observed: Observed
    owner: Owner
    accepted: Accepted
    actuator: Actuator | None
    step: Step
    wanted: Wanted | None
    existing: Mapping[str, Revision]
    counts: Counts
    routed: bool = False
    """clients come by routes, or a route of ours is still there"""
    comparator: tuple[Manifest, ...] = ()
    """of a shadow step"""
    copied: bool = False
    """a route of ours may lead to the comparator still"""

    def manifests(self) -> tuple[Manifest, ...]:
        """The Services last of what serves, so that traffic never leads; what watches over it after them."""
        owner, step = self.owner, self.step
        if not step.keep and not self.existing:
            return ()  # refused from the first day: nothing exists, nothing is made
        made = [
            stamped(build_service_account(owner.namespace)),
            stamped(build_network_policy(owner.namespace, self.observed.platform.reach)),
        ]
        made += [m for name in sorted(step.keep) if (m := self._deployment(name)) is not None]
        made.append(build_disruption_budget(owner, self._size()))
        made += self.services()
        if self.routed:
            made.append(build_candidate_service(owner, step.trial or step.serving))
        made += self.comparator
        autoscaler = self._autoscaler()
        if autoscaler is not None:
            made.append(autoscaler)
        return (*made, *self._monitors())

    def services(self) -> list[Manifest]:
        """That clients know."""
        step = self.step
        makers = (build_headless_service, build_service)
        return [make(self.owner, step.serving, both=step.both) for make in makers]

    def scales(self) -> tuple[Scale, ...]:
        """Counts that are ours to say, of the Deployments that shall exist."""
        state, found = self.step.state, []
        if self.step.pods is not None:
            state = replace(state, pods=self.step.pods)
        for name in sorted({state.stable, state.candidate} & self.step.keep, key=str):
            if name is None or not (name in self.existing or self._is_wanted(name)):
                continue
            count = self.counts.said(name, state)
            if count is not None:
                place = self.owner.namespace, deployment_name(self.owner.name, name)
                found.append(Scale(ObjectRef("apps/v1", "Deployment", *place), count))
        return tuple(found)

    def deletions(self, manifests: Sequence[Manifest]) -> tuple[ObjectRef, ...]:
        """What is ours, is not planned any more, and may go."""
        observed, uid = self.observed, self.owner.uid
        gone = [r.deployment for name, r in self.existing.items() if name not in self.step.keep]
        comparator = shadow_name(self.owner.name)
        services = {self.owner.name, headless_name(self.owner.name)}
        if self.comparator or self.copied or self.accepted.spec is None:
            services.add(comparator)
        else:
            shadows = owned(observed.deployments, uid)
            gone += [o for o in shadows if o["metadata"]["name"] == comparator]
        if self.routed or self.accepted.spec is None:
            services.add(candidate_name(self.owner.name))
        gone += [o for o in owned(observed.services, uid) if o["metadata"]["name"] not in services]
        gone += [
            o for o in owned(observed.disruption_budgets, uid) if o["metadata"]["name"] != self.owner.name
        ]
        planned = {(m["kind"], m["metadata"]["name"]) for m in manifests}
        # While the spec cannot be read, what scales and watches stays as it is.
        watchers = (*observed.autoscalers, *observed.monitors) if self.accepted.spec is not None else ()
        gone += [o for o in owned(watchers, uid) if (o["kind"], o["metadata"]["name"]) not in planned]
        return tuple(ObjectRef.of(_typed(o)) for o in gone)

    def _is_wanted(self, name: str) -> bool:
        return self.wanted is not None and self.wanted.inputs.revision == name

    def _deployment(self, name: str) -> Manifest | None:
        if self.wanted is not None and self._is_wanted(name):
            return self.wanted.manifest
        here = self.existing.get(name)
        if here is None or here.inputs is None:
            return None
        version = self.observed.platform.template_version
        if here.inputs.platform.get("templateVersion") != version:
            # Rendered by another version of the operator: its template cannot be made again here and is left
            # as it is until its turn to be replaced comes.
            return None
        return build_deployment(self.owner, here.inputs)

    def _size(self) -> int:
        """Pods of the service, as they are: a budget of disruptions follows the live count."""
        name = self.step.state.stable or self.step.state.candidate or ""
        here = self.existing.get(name)
        meant = self.counts.meant(name, self.step.state)
        return max(meant, here.replicas) if here is not None else meant

    def _autoscaler(self) -> Manifest | None:
        """Of the revision that is stable and served, and of no other: a candidate's count is pinned."""
        spec, actuator, stable = self.accepted.spec, self.actuator, self.step.state.stable
        if spec is None or actuator is None or stable is None or stable not in self.step.keep:
            return None
        if stable not in self.existing and not self._is_wanted(stable):
            return None
        metadata = self.observed.service["metadata"]
        floor = self.step.state.floor or 0
        return autoscaler(
            self.owner, stable, spec, actuator, self.observed.capabilities, metadata, floor,
            pinned=self.counts.left_over(self.step.state),
        )  # fmt: skip

    def _monitors(self) -> list[Manifest]:
        spec = self.accepted.spec
        if spec is None:
            return []
        return monitors(self.owner, spec, self.observed.capabilities, self.observed.platform.runbook)


def _typed(manifest: Manifest) -> Manifest:
    if "kind" not in manifest:
        raise ValueError(f"an observed object without kind: {manifest['metadata']['name']}")
    return manifest

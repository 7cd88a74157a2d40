"""The single entry point of deciding: everything observed goes in, everything to be written comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from seawall.api.v1alpha1 import InferenceServiceSpec
from seawall.decide.acceptance import Accepted, Refusal, accept, command
from seawall.decide.builds import Need, needed
from seawall.decide.children import Revision, owned, revisions, selected_revision
from seawall.decide.rollout import advance
from seawall.decide.rollout_state import BuildWait, RolloutState, Step, World
from seawall.decide.status import Situation, status_of
from seawall.decide.types import Manifest, ObjectRef, Observed, Plan, PlatformUpdate, VerificationRequest
from seawall.desired.canonical import digest, stamped
from seawall.desired.deployment import PodTemplateError, build_deployment
from seawall.desired.disruption import build_disruption_budget
from seawall.desired.inputs import RevisionInputs, revision_inputs, user_part
from seawall.desired.names import Owner
from seawall.desired.service import build_headless_service, build_service
from seawall.desired.shared import build_network_policy, build_service_account

REFUSED_RETRY_SECONDS = 60.0
"""For what no watch tells: a Secret that appears, a quota that is raised."""
NO_ADDRESS_RETRY_SECONDS = 1.0
BUILDING_RETRY_SECONDS = 30.0
"""A build wakes the services that wait for it; this is for the case that it did so too early."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The revision that the spec asks for, and its Deployment where it exists already."""

    inputs: RevisionInputs
    manifest: Manifest
    """made from the inputs that the revision was born with, where it exists: its template never changes"""


def plan(observed: Observed) -> Plan:
    """Pure: no clock, no cluster. Raises nothing for whatever a user may have written."""
    service = observed.service
    if service["metadata"].get("deletionTimestamp"):
        return Plan()  # garbage collection takes the children
    owner = Owner(service["metadata"]["name"], service["metadata"]["namespace"], service["metadata"]["uid"])
    existing = revisions(observed)
    accepted = accept(observed)
    need = _needed(observed, accepted)
    wanted, accepted = _wanted(observed, owner, accepted, existing, need)
    previous = RolloutState.of((service.get("status") or {}).get("rollout"))
    replicas = _replicas(accepted.spec, existing.get(previous.stable or ""))
    world = _world(observed, accepted, wanted, existing, previous, replicas, need)
    step = _with_build(advance(previous, world), need, previous, accepted)
    addresses = existing[step.verify].addresses() if step.verify else ()
    manifests = (
        *_build_manifest(step, need),
        *_manifests(observed, owner, step, wanted, existing, replicas),
    )
    deletions = _deletions(observed, owner, step, existing)
    problems = bool(observed.write_problems)
    situation = Situation(
        observed,
        accepted,
        existing,
        step,
        previous if problems else step.state,
        replicas,
        wanted.inputs if wanted else None,
        need,
    )
    return Plan(
        apply=manifests,
        delete=deletions,
        status=status_of(situation),
        events=() if problems else step.events,
        requeue_after=_requeue(step, accepted, problems, bool(addresses), need),
        verify=VerificationRequest(owner.name, step.verify, addresses) if step.verify and addresses else None,
        needs_live_read=bool(deletions) or step.switches,
        platform_update=step.platform_update if accepted.spec else PlatformUpdate.NONE,
    )


def _needed(observed: Observed, accepted: Accepted) -> Need | None:
    if accepted.refusals or accepted.spec is None or accepted.accelerator is None:
        return None
    spec = accepted.spec
    return needed(spec, spec.accelerator.class_name, accepted.accelerator, observed)


def _with_build(step: Step, need: Need | None, previous: RolloutState, accepted: Accepted) -> Step:
    """The state remembers which build is wanted: what it names is not cleared away. A refused spec and a
    turn that has not come yet want what they wanted before."""
    as_before = bool(accepted.refusals) or step.platform_update is PlatformUpdate.WAITING
    name = previous.build if as_before else need.name if need else None
    return replace(step, state=replace(step.state, build=name))


def _build_manifest(step: Step, need: Need | None) -> tuple[Manifest, ...]:
    if need is None or need.manifest is None or step.platform_update is PlatformUpdate.WAITING:
        return ()
    return (need.manifest,)


def _references(observed: Observed) -> dict[str, str]:
    return {f"{kind}/{name}": found or "" for (kind, name), found in observed.references.items()}


def _wanted(
    observed: Observed,
    owner: Owner,
    accepted: Accepted,
    existing: Mapping[str, Revision],
    need: Need | None,
) -> tuple[_Wanted | None, Accepted]:
    """The target revision; None, with the refusal or the build that explains it, when there is none yet."""
    if accepted.refusals or accepted.spec is None or accepted.accelerator is None:
        return None, accepted
    if need is not None and need.built is None:
        return None, accepted
    spec = accepted.spec
    inputs = revision_inputs(
        spec,
        spec.accelerator.class_name,
        accepted.accelerator,
        observed.platform,
        _references(observed),
        need.built if need else None,
    )
    here = existing.get(inputs.revision)
    try:
        manifest = build_deployment(owner, (here.inputs if here else None) or inputs, 1)
    except PodTemplateError as error:
        refusal = Refusal("InvalidPodTemplate", f"spec.podTemplate: {error}")
        return None, Accepted(spec, accepted.accelerator, (refusal,))
    return _Wanted(inputs, manifest), accepted


def _world(
    observed: Observed,
    accepted: Accepted,
    wanted: _Wanted | None,
    existing: Mapping[str, Revision],
    previous: RolloutState,
    replicas: int,
    need: Need | None,
) -> World:
    stable, spec = existing.get(previous.stable or ""), accepted.spec
    born = stable.inputs if stable else None
    build = None
    platform_only = (
        wanted is not None
        and born is not None
        and born.user_digest == wanted.inputs.user_digest
        and born.platform_digest != wanted.inputs.platform_digest
    )
    if wanted is None and need is not None and spec is not None:
        build = BuildWait.FAILED if need.failed else BuildWait.RUNNING
        asked = digest(user_part(spec, spec.accelerator.class_name, _references(observed)))
        platform_only = born is not None and born.user_digest == asked
    return World(
        generation=int(observed.service["metadata"].get("generation", 1)),
        now=observed.now,
        revisions={name: revision.state(replicas) for name, revision in existing.items()},
        target=wanted.inputs.revision if wanted else None,
        platform_only=platform_only,
        platform_slot=observed.platform_slot,
        build=build if not accepted.refusals else None,
        selected=selected_revision(observed),
        verification=observed.verification,
        paused=bool(spec and spec.rollout and spec.rollout.paused),
        retry=command(observed.service, previous.id),
    )


def _replicas(spec: InferenceServiceSpec | None, stable: Revision | None) -> int:
    """What the spec says; one where it says nothing; what runs where the spec cannot be read."""
    if spec is None:
        return stable.replicas if stable else 1
    if spec.scaling is None or spec.scaling.replicas is None:
        return 1
    return spec.scaling.replicas


def _manifests(
    observed: Observed,
    owner: Owner,
    step: Step,
    wanted: _Wanted | None,
    existing: Mapping[str, Revision],
    replicas: int,
) -> tuple[Manifest, ...]:
    """In the order in which they are applied: the Services last, so that traffic never leads."""
    if not step.keep and not existing:
        return ()  # refused from the first day: nothing exists, nothing is made
    made = [stamped(build_service_account(owner.namespace)), stamped(build_network_policy(owner.namespace))]
    for name in sorted(step.keep):
        manifest = _deployment(observed, owner, name, step, wanted, existing, replicas)
        if manifest is not None:
            made.append(manifest)
    made.append(stamped(build_disruption_budget(owner, replicas)))
    made.append(stamped(build_headless_service(owner, step.serving)))
    made.append(stamped(build_service(owner, step.serving)))
    return tuple(made)


def _deployment(
    observed: Observed,
    owner: Owner,
    name: str,
    step: Step,
    wanted: _Wanted | None,
    existing: Mapping[str, Revision],
    replicas: int,
) -> Manifest | None:
    here = existing.get(name)
    count = _count(name, step, here, replicas)
    if wanted is not None and name == wanted.inputs.revision:
        return stamped({**wanted.manifest, "spec": {**wanted.manifest["spec"], "replicas": count}})
    if here is None:
        return None
    current = here.inputs is not None and (
        here.inputs.platform.get("templateVersion") == observed.platform.template_version
    )
    if current and here.inputs is not None:
        return stamped(build_deployment(owner, here.inputs, count))
    # Rendered by another version of the operator: its template cannot be made again here and is left as
    # it is until its turn to be replaced comes; only the number of pods is still ours to say.
    return _as_it_is(here.deployment, count) if here.replicas != count else None


def _count(name: str, step: Step, here: Revision | None, replicas: int) -> int:
    if name == step.state.stable:
        return replicas
    if name == step.state.candidate:
        return replicas if step.state.stable is None else max(1, replicas)
    return here.replicas if here else replicas


def _as_it_is(deployment: Manifest, replicas: int) -> Manifest:
    meta = deployment["metadata"]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": dict(meta.get("labels") or {}),
            "annotations": {
                k: v
                for k, v in (meta.get("annotations") or {}).items()
                if k.startswith("serving.seawall.dev/")
            },
            "ownerReferences": list(meta["ownerReferences"]),
        },
        "spec": {**deployment["spec"], "replicas": replicas},
    }


def _deletions(
    observed: Observed, owner: Owner, step: Step, existing: Mapping[str, Revision]
) -> tuple[ObjectRef, ...]:
    """What is ours, is not planned any more, and may go."""
    gone = [r.deployment for name, r in existing.items() if name not in step.keep]
    keep_services = {owner.name, f"{owner.name}-headless"}
    gone += _others(owned(observed.services, owner.uid), keep_services)
    gone += _others(owned(observed.disruption_budgets, owner.uid), {owner.name})
    return tuple(ObjectRef.of(_typed(o)) for o in gone)


def _others(objects: Sequence[Manifest], names: set[str]) -> list[Manifest]:
    return [o for o in objects if o["metadata"]["name"] not in names]


def _typed(manifest: Manifest) -> Manifest:
    if "kind" not in manifest:
        raise ValueError(f"an observed object without kind: {manifest['metadata']['name']}")
    return manifest


def _requeue(
    step: Step, accepted: Accepted, problems: bool, addressed: bool, need: Need | None
) -> float | None:
    times = [step.requeue_after] if step.requeue_after is not None else []
    if need is not None and need.built is None and not need.failed:
        times.append(BUILDING_RETRY_SECONDS)
    if step.verify and not addressed:
        times.append(NO_ADDRESS_RETRY_SECONDS)
    waiting = {"SecretNotFound", "ConfigMapNotFound"}
    if problems or any(r.reason in waiting for r in accepted.refusals):
        times.append(REFUSED_RETRY_SECONDS)
    return min(times) if times else None

"""The single entry point of deciding: everything observed goes in, everything to be written comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from seawall.decide.acceptance import Accepted, Refusal, accept, command
from seawall.decide.actuator import Actuator, choose
from seawall.decide.builds import Need, needed
from seawall.decide.children import Revision, revisions, selected_revision
from seawall.decide.counts import Counts
from seawall.decide.manifests import Making, Wanted
from seawall.decide.rollout import advance
from seawall.decide.rollout_state import BuildWait, RolloutState, Step, World
from seawall.decide.situation import Situation
from seawall.decide.status import status_of
from seawall.decide.types import Manifest, Observed, Plan, PlatformUpdate, VerificationRequest
from seawall.decide.watchers import WATCHERS
from seawall.desired.canonical import digest
from seawall.desired.deployment import PodTemplateError, build_deployment
from seawall.desired.inputs import revision_inputs, user_part
from seawall.desired.names import Owner

REFUSED_RETRY_SECONDS = 60.0
"""For what no watch tells: a Secret that appears, a quota that is raised."""
NO_ADDRESS_RETRY_SECONDS = 1.0
BUILDING_RETRY_SECONDS = 30.0
"""A build wakes the services that wait for it; this is for the case that it did so too early."""


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
    status = service.get("status") or {}
    previous = RolloutState.of(status.get("rollout"))
    actuator = choose(accepted.spec, observed.capabilities, status, observed.now) if accepted.spec else None
    counts = Counts(observed, accepted.spec, actuator, existing)
    world = _world(observed, accepted, wanted, existing, previous, counts, need)
    step = _with_build(advance(previous, world), need, previous, accepted)
    addresses = existing[step.verify].addresses() if step.verify else ()
    making = Making(observed, owner, accepted, actuator, step, wanted, existing, counts)
    manifests = (*_build_manifest(step, need), *making.manifests())
    deletions = making.deletions(manifests)
    held = any(p.ref.kind not in WATCHERS for p in observed.write_problems)
    situation = Situation(
        observed=observed,
        accepted=accepted,
        revisions=existing,
        step=step,
        rollout=previous if held else step.state,
        wanted=wanted.inputs if wanted else None,
        actuator=actuator,
        counts={name: counts.meant(name, step.state.stable) for name in {*existing, *step.keep}},
        need=need,
    )
    return Plan(
        apply=manifests,
        scale=making.scales(),
        delete=deletions,
        status=status_of(situation),
        events=() if held else step.events,
        requeue_after=_requeue(
            step, accepted, bool(observed.write_problems), bool(addresses), need, actuator
        ),
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
) -> tuple[Wanted | None, Accepted]:
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
        manifest = build_deployment(owner, (here.inputs if here else None) or inputs)
    except PodTemplateError as error:
        refusal = Refusal("InvalidPodTemplate", f"spec.podTemplate: {error}")
        return None, Accepted(spec, accepted.accelerator, (refusal,))
    return Wanted(inputs, manifest), accepted


def _world(
    observed: Observed,
    accepted: Accepted,
    wanted: Wanted | None,
    existing: Mapping[str, Revision],
    previous: RolloutState,
    counts: Counts,
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
        revisions={
            name: revision.state(counts.meant(name, previous.stable)) for name, revision in existing.items()
        },
        target=wanted.inputs.revision if wanted else None,
        platform_only=platform_only,
        platform_slot=observed.platform_slot,
        build=build if not accepted.refusals else None,
        selected=selected_revision(observed),
        verification=observed.verification,
        paused=bool(spec and spec.rollout and spec.rollout.paused),
        retry=command(observed.service, previous.id),
    )


def _requeue(
    step: Step,
    accepted: Accepted,
    problems: bool,
    addressed: bool,
    need: Need | None,
    actuator: Actuator | None,
) -> float | None:
    times = [step.requeue_after] if step.requeue_after is not None else []
    if need is not None and need.built is None and not need.failed:
        times.append(BUILDING_RETRY_SECONDS)
    if step.verify and not addressed:
        times.append(NO_ADDRESS_RETRY_SECONDS)
    waiting = {"SecretNotFound", "ConfigMapNotFound"}
    if (
        problems
        or (actuator is not None and actuator.problem)
        or any(r.reason in waiting for r in accepted.refusals)
    ):
        times.append(REFUSED_RETRY_SECONDS)
    return min(times) if times else None

"""The single entry point of deciding: everything observed goes in, everything to be written comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from seawall.decide import shadowing
from seawall.decide.acceptance import Accepted, accept
from seawall.decide.actuator import Actuator, choose
from seawall.decide.builds import Need, needed
from seawall.decide.children import Revision, revisions, selection
from seawall.decide.comparison import comparison_of
from seawall.decide.counts import Counts
from seawall.decide.manifests import Making, Wanted
from seawall.decide.refusal import Refusal
from seawall.decide.rollout import advance
from seawall.decide.rollout_moves import LOOK_SECONDS
from seawall.decide.rollout_plan import routed
from seawall.decide.rollout_state import RolloutState, Routes, Step, World
from seawall.decide.routes import KINDS as ROUTE_KINDS
from seawall.decide.routes import route_deletions, route_manifests, route_patches
from seawall.decide.situation import Situation
from seawall.decide.status import status_of
from seawall.decide.types import (
    Manifest,
    ObjectRef,
    Observed,
    Plan,
    PlatformUpdate,
    RoutePatch,
    VerificationRequest,
)
from seawall.decide.watchers import WATCHERS
from seawall.decide.world import plan_for, references_of, world_of
from seawall.desired.deployment import PodTemplateError, build_deployment
from seawall.desired.inputs import revision_inputs
from seawall.desired.names import Owner

REFUSED_RETRY_SECONDS = 60.0
"""For what no watch tells: a Secret that appears, a quota that is raised."""
NO_ADDRESS_RETRY_SECONDS = 1.0
ROUTED_RETRY_SECONDS = 60.0
"""Routes are read, not watched: this is for the time of rest."""
NOT_WAITED_FOR = WATCHERS | frozenset(ROUTE_KINDS)
"""A rollout goes on without them: a weight counts only once it was read back."""
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
    rolling = plan_for(accepted.spec, existing.get(previous.stable or ""), previous)
    counts = Counts(observed, accepted.spec, actuator, existing, rolling.strategy != "Direct")
    previous, world = world_of(
        observed,
        accepted=accepted,
        wanted=wanted,
        existing=existing,
        previous=previous,
        counts=counts,
        need=need,
        rolling=rolling,
    )
    step = _with_build(advance(previous, world), need, previous, accepted)
    addresses = existing[step.verify].addresses() if step.verify else ()
    written = _written(observed, owner, accepted, step)
    shown = selection(observed, existing, previous)
    making = Making(
        observed,
        owner,
        accepted,
        actuator,
        step,
        wanted,
        existing,
        counts,
        _by_routes(accepted, written),
        shadowing.comparator(observed, owner, step, rolling),
        shadowing.stays(observed),
    )
    manifests = (*_build_manifest(step, need), *making.manifests())
    deletions = making.deletions(manifests)
    held = any(p.ref.kind not in NOT_WAITED_FOR for p in observed.write_problems)
    if held and step.requeue_after is not None:  # it is not written down, so that at once would be for ever
        step = replace(step, requeue_after=max(step.requeue_after, LOOK_SECONDS))
    situation = Situation(
        observed=observed,
        accepted=accepted,
        revisions=existing,
        step=step,
        rollout=previous if held else step.state,
        wanted=wanted.inputs if wanted else None,
        actuator=actuator,
        counts={name: counts.meant(name, step.state) for name in {*existing, *step.keep}},
        need=need,
        routes=world.routes,
        rolling=rolling,
    )
    return Plan(
        apply=manifests,
        scale=making.scales(),
        routes=written.manifests,
        route_patches=written.patches,
        route_deletions=written.deletions,
        routes_first=_lowers(step, world),
        services_first=tuple(making.services()) if shown.most > 0 and not step.both else (),
        delete=deletions,
        status=status_of(situation),
        events=() if held else step.events,
        requeue_after=_requeue(
            step, accepted, bool(observed.write_problems), bool(addresses), need, actuator, world.routes
        ),
        verify=VerificationRequest(owner.name, step.verify, addresses) if step.verify and addresses else None,
        compare=comparison_of(step, rolling, owner.name, existing),
        tally=shadowing.tally_request(observed, step, rolling),
        needs_live_read=bool(deletions) or step.switches or _raises(step, world),
        platform_update=step.platform_update if accepted.spec else PlatformUpdate.NONE,
    )


@dataclass(frozen=True, slots=True)
class _Written:
    """What is to be done to the routes."""

    manifests: tuple[Manifest, ...] = ()
    patches: tuple[RoutePatch, ...] = ()
    deletions: tuple[ObjectRef, ...] = ()


def _written(observed: Observed, owner: Owner, accepted: Accepted, step: Step) -> _Written:
    """Nothing while the spec cannot be read, nor before there is anything to route to."""
    spec = accepted.spec
    if spec is None or not step.keep:
        return _Written()
    return _Written(
        route_manifests(observed, owner, spec, step.weight, copied=shadowing.copied(observed, step)),
        route_patches(observed, spec, step.weight),
        route_deletions(observed, owner, spec),
    )


def _by_routes(accepted: Accepted, written: _Written) -> bool:
    return accepted.spec is not None and (routed(accepted.spec) or bool(written.deletions))


def _raises(step: Step, world: World) -> bool:
    """The routes are about to send the candidate more."""
    if world.routes is not None and world.routes.by_pods:
        return step.both and not world.routes.carry(step.weight)
    return world.routes is not None and step.weight > (world.routes.weight or 0)


def _lowers(step: Step, world: World) -> bool:
    """The routes are about to send the candidate less."""
    if world.routes is not None and world.routes.by_pods:
        return world.routes.most > 0 and not step.both and not step.switches
    return world.routes is not None and step.weight < world.routes.most


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
        references_of(observed),
        need.built if need else None,
    )
    here = existing.get(inputs.revision)
    try:
        manifest = build_deployment(owner, (here.inputs if here else None) or inputs)
    except PodTemplateError as error:
        refusal = Refusal("InvalidPodTemplate", f"spec.podTemplate: {error}")
        return None, Accepted(spec, accepted.accelerator, (refusal,))
    return Wanted(inputs, manifest), accepted


def _requeue(
    step: Step,
    accepted: Accepted,
    problems: bool,
    addressed: bool,
    need: Need | None,
    actuator: Actuator | None,
    routes: Routes | None,
) -> float | None:
    times = [step.requeue_after] if step.requeue_after is not None else []
    if step.state.step is not None or (routes is not None and (routes.most > 0 or not routes.settled)):
        times.append(LOOK_SECONDS)
    elif routes is not None and not routes.by_pods:
        times.append(ROUTED_RETRY_SECONDS)
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

"""What the rollout's state machine is shown: revisions, routes, the analysis, the answers, a command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from seawall.api.v1alpha1 import InferenceServiceSpec
from seawall.decide.acceptance import Accepted, command
from seawall.decide.analysis import analysed
from seawall.decide.builds import Need
from seawall.decide.children import Revision, selected_revision, selection
from seawall.decide.counts import Counts
from seawall.decide.manifests import Wanted
from seawall.decide.rollout_plan import RolloutPlan, plan_of
from seawall.decide.rollout_state import BuildWait, RolloutState, World
from seawall.decide.routes import routes_of
from seawall.decide.shadowing import shadow_of
from seawall.decide.types import Observed
from seawall.desired.canonical import digest
from seawall.desired.inputs import user_part


def plan_for(
    spec: InferenceServiceSpec | None, stable: Revision | None, state: RolloutState | None = None
) -> RolloutPlan:
    """A spec that cannot be read plans nothing new."""
    if spec is None:
        return RolloutPlan()
    before = state.floor if state is not None and state.displaced is not None else None
    return plan_of(spec, before or (max(1, stable.replicas) if stable is not None else 1))


def references_of(observed: Observed) -> dict[str, str]:
    return {f"{kind}/{name}": found or "" for (kind, name), found in observed.references.items()}


def world_of(
    observed: Observed,
    *,
    accepted: Accepted,
    wanted: Wanted | None,
    existing: Mapping[str, Revision],
    previous: RolloutState,
    counts: Counts,
    need: Need | None,
    rolling: RolloutPlan,
) -> tuple[RolloutState, World]:
    """What the state machine sees, and the state with the evidence that the newest windows have added."""
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
        asked = digest(user_part(spec, spec.accelerator.class_name, references_of(observed)))
        platform_only = born is not None and born.user_digest == asked
    routes = routes_of(observed, spec) if spec is not None else None
    if rolling.by_pods:
        routes = selection(observed, existing, previous)
    full = counts.full(wanted.inputs.revision if wanted else None, previous.stable)
    if previous.displaced is not None:
        full = max(1, counts.instead(previous) or previous.floor or 1)
    evidence, look = analysed(previous, rolling, observed.windows, observed.now)
    world = World(
        generation=int(observed.service["metadata"].get("generation", 1)),
        now=observed.now,
        revisions={name: revision.state(counts.meant(name, previous)) for name, revision in existing.items()},
        target=wanted.inputs.revision if wanted else None,
        platform_only=platform_only,
        platform_slot=observed.platform_slot,
        build=build if not accepted.refusals else None,
        selected=selected_revision(observed),
        verification=observed.verification,
        command=command(observed.service),
        plan=rolling,
        full=full,
        need=counts.need(previous),
        routes=routes,
        look=look,
        answers=observed.answers,
        shadow=shadow_of(observed, spec, previous, rolling),
    )
    return replace(previous, analysis=evidence), world

"""What a quality step asks: which golden set, of whom, and by what measure."""

from __future__ import annotations

from collections.abc import Mapping

from seawall.decide.children import Revision
from seawall.decide.rollout_plan import QualityStep, RolloutPlan
from seawall.decide.rollout_state import Step
from seawall.decide.types import ComparisonRequest
from seawall.desired.names import GRPC_PORT


def comparison_of(
    step: Step, rolling: RolloutPlan, model: str, existing: Mapping[str, Revision]
) -> ComparisonRequest | None:
    """None where nothing is to be compared, or one side has no pod that could be asked."""
    state, index = step.state, step.state.step or 0
    quality = rolling.steps[index] if index < len(rolling.steps) else None
    stable, candidate = existing.get(state.stable or ""), existing.get(state.candidate or "")
    if not step.compare or not isinstance(quality, QualityStep) or stable is None or candidate is None:
        return None
    asked = _grpc(stable.addresses()), _grpc(candidate.addresses())
    if not all(asked):
        return None
    return ComparisonRequest(
        rollout=state.id,
        step=index,
        model=model,
        stable=stable.name,
        candidate=candidate.name,
        stable_addresses=asked[0],
        candidate_addresses=asked[1],
        config_map=quality.config_map,
        size=quality.size,
        metric=quality.metric,
        max_disagreement=quality.max_disagreement,
        alpha=rolling.settings.alpha,
        beta=rolling.settings.beta,
    )


def _grpc(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """The same pods' gRPC endpoints."""
    return tuple(f"{address.rpartition(':')[0]}:{GRPC_PORT}" for address in addresses)

"""A shadow step's objects: what is made of it, what the cluster shows of it, and what may go."""

from __future__ import annotations

from collections.abc import Sequence

from seawall.api.v1alpha1 import InferenceServiceSpec
from seawall.decide.children import is_up, owned
from seawall.decide.rollout_plan import RolloutPlan, ShadowStep
from seawall.decide.rollout_state import RolloutState, Shadow, Step
from seawall.decide.routes import copies, is_served
from seawall.decide.types import Manifest, Observed, TallyRequest
from seawall.desired.comparator import ComparatorOrder, build_comparator
from seawall.desired.names import HTTP_PORT, Owner, shadow_name
from seawall.desired.routes import HTTP_ROUTE


def order_of(state: RolloutState, rolling: RolloutPlan) -> ComparatorOrder | None:
    """None where the step at hand is none of shadow."""
    index = state.step if state.step is not None else len(rolling.steps)
    step = rolling.steps[index] if index < len(rolling.steps) else None
    return ComparatorOrder(state.id, index, step.percent) if isinstance(step, ShadowStep) else None


def shadow_of(
    observed: Observed, spec: InferenceServiceSpec | None, state: RolloutState, rolling: RolloutPlan
) -> Shadow:
    order = order_of(state, rolling)
    if order is None:
        return Shadow()
    tally = observed.tally
    deployment = _deployment(observed)
    routing = spec is not None and spec.routing is not None
    return Shadow(
        routed=routing and is_served(HTTP_ROUTE, observed.capabilities),
        there=_ready(observed),
        copied=copies(observed) is True,
        tally=tally if tally is not None and tally.order == order.name else None,
        trouble=_trouble(deployment) if deployment is not None else "",
    )


def comparator(observed: Observed, owner: Owner, step: Step, rolling: RolloutPlan) -> tuple[Manifest, ...]:
    """Its Deployment and its Service, while the step asks for them."""
    order = order_of(step.state, rolling) if step.shadow else None
    return tuple(build_comparator(owner, order, observed.platform.fetcher_image)) if order is not None else ()


def copied(observed: Observed, step: Step) -> bool:
    """Whether the route is to feed the comparator: not before its pod is ready."""
    return step.shadow and _ready(observed)


def stays(observed: Observed) -> bool:
    """Whether a route leads to the comparator still, or may do so."""
    return copies(observed) is not False


def tally_request(observed: Observed, step: Step, rolling: RolloutPlan) -> TallyRequest | None:
    order = order_of(step.state, rolling) if step.shadow else None
    service = _service(observed)
    if order is None or service is None or not _ready(observed):
        return None
    address = str(service["spec"].get("clusterIP") or "")
    host = f"[{address}]" if ":" in address else address
    return TallyRequest(f"{host}:{HTTP_PORT}", order.name, rolling.window_seconds) if address else None


def _deployment(observed: Observed) -> Manifest | None:
    return _named(observed, observed.deployments)


def _service(observed: Observed) -> Manifest | None:
    return _named(observed, observed.services)


def _named(observed: Observed, objects: Sequence[Manifest]) -> Manifest | None:
    meta = observed.service["metadata"]
    name = shadow_name(meta["name"])
    return next((o for o in owned(objects, meta["uid"]) if o["metadata"]["name"] == name), None)


def _ready(observed: Observed) -> bool:
    """The pod of the newest order, and a name to reach it by."""
    live = _deployment(observed)
    return live is not None and _service(observed) is not None and is_up(live, 1)


def _trouble(deployment: Manifest) -> str:
    """As the Deployment itself tells it; its pods are not watched."""
    conditions = (deployment.get("status") or {}).get("conditions") or ()
    bad = [c for c in conditions if c.get("status") == "False" or c.get("type") == "ReplicaFailure"]
    return str(bad[0].get("message") or "") if bad else ""

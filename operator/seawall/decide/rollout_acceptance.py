"""What spec.rollout and spec.routing ask for and do not get: contradictions, and what is not acted on yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

from seawall.api.v1alpha1 import InferenceServiceSpec, RolloutSpec
from seawall.decide.refusal import Refusal
from seawall.decide.rollout_plan import by_pods, routed, strategy_of


def rollout_refusals(spec: InferenceServiceSpec) -> Iterator[Refusal]:
    analysis = spec.rollout.analysis if spec.rollout else None
    metrics = {metric.name for metric in (analysis.metrics if analysis else None) or ()}
    further = (analysis.templates if analysis else None) or ()
    if metrics == {"disagreement"} and not further and strategy_of(spec) == "Canary":
        yield Refusal(
            "NothingToJudge",
            "spec.rollout.analysis.metrics names only disagreement, which live requests do not show; add"
            " latency or errors, or a template",
        )
    yield from _shadow_refusals(spec)
    yield from _provider_refusals(spec)
    routing = spec.routing
    if routing is None:
        return
    for http, grpc in product(routing.hostnames or (), routing.grpc_hostnames or ()):
        if _overlap(http, grpc):
            yield Refusal(
                "HostnamesOverlap",
                f"spec.routing.hostnames has {http} and grpcHostnames has {grpc}: a Gateway gives a host"
                " name to HTTP or to gRPC, not to both",
            )


def not_implemented(spec: InferenceServiceSpec) -> Iterator[tuple[str, str]]:
    """(field, what to do instead)."""
    rollout = spec.rollout
    if rollout is None:
        return
    yield from _steps(rollout)
    provider = rollout.traffic.provider if rollout.traffic else None
    if provider not in (None, "GatewayAPI", "Replicas"):
        yield (
            f"spec.rollout.traffic.provider {provider}",
            "use GatewayAPI with spec.routing or the name of an existing route, Replicas, or strategy"
            " BlueGreen",
        )
    displaces = rollout.capacity is not None and rollout.capacity.mode == "Displace"
    if displaces and strategy_of(spec) != "Canary":
        yield (
            f"spec.rollout.capacity.mode Displace with strategy {strategy_of(spec)}",
            "use Canary, which moves the traffic pod by pod, or Surge",
        )
    if displaces and by_pods(spec):
        yield (
            "spec.rollout.capacity.mode Displace with traffic.provider Replicas",
            "use Surge, or let a gateway split the traffic",
        )
    if rollout.strategy == "Canary" and not routed(spec) and not by_pods(spec):
        yield (
            "spec.rollout.strategy Canary without routes",
            "set spec.routing, name a route in spec.rollout.traffic or let its provider be Replicas, or use"
            " BlueGreen",
        )


def _steps(rollout: RolloutSpec) -> Iterator[tuple[str, str]]:
    for index, step in enumerate(rollout.steps or ()):
        at = f"spec.rollout.steps[{index}]"
        if step.quality is not None and step.quality.golden_set.pvc is not None:
            yield f"{at}.quality.goldenSet.pvc", "put the golden set into a ConfigMap, named in configMapRef"


def _provider_refusals(spec: InferenceServiceSpec) -> Iterator[Refusal]:
    """As the API server says it, for a spec that has not been there."""
    traffic = spec.rollout.traffic if spec.rollout else None
    if traffic is None or traffic.provider != "Replicas":
        return
    if routed(spec):
        yield Refusal(
            "ProviderContradicted",
            "spec.rollout.traffic.provider Replicas splits the traffic by the pods that the Service selects,"
            " without any route: leave out spec.routing, httpRoute and grpcRoute, or the provider",
        )
    elif strategy_of(spec) != "Canary":
        yield Refusal(
            "ProviderContradicted",
            "spec.rollout.traffic.provider Replicas splits the traffic, and strategy"
            f" {strategy_of(spec)} does not; use Canary",
        )


def _shadow_refusals(spec: InferenceServiceSpec) -> Iterator[Refusal]:
    steps = (spec.rollout.steps if spec.rollout else None) or ()
    at = next((i for i, step in enumerate(steps) if step.shadow is not None), None)
    if at is None:
        return
    field = f"spec.rollout.steps[{at}].shadow"
    if spec.routing is None:
        yield Refusal(
            "ShadowNotSupported",
            f"{field} copies requests in a route of the operator's making: set spec.routing; of a route that"
            " is named in spec.rollout.traffic nothing but weights is changed",
        )
    config = spec.model.config or {}
    policy = config.get("model_transaction_policy")
    kept = "spec.model.config.sequence_batching" if "sequence_batching" in config else ""
    if isinstance(policy, Mapping) and policy.get("decoupled"):
        kept = "spec.model.config.model_transaction_policy.decoupled"
    if kept:
        yield Refusal(
            "ShadowNotSupported",
            f"{field} would put a client's requests to the model a second time, and with {kept} answers"
            " cannot be compared one by one; leave the step out",
        )


def _overlap(one: str, other: str) -> bool:
    """A wildcard stands for one label or more."""
    return one == other or any(
        wide.startswith("*.") and narrow.endswith(wide[1:]) for wide, narrow in ((one, other), (other, one))
    )

"""The routes that split a service's clients: which there are, what they show, and what is to be written.

A route of our own (spec.routing) is applied whole. In a route of the user's (spec.rollout.traffic) weights
are set and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seawall.api.v1alpha1 import InferenceServiceSpec, RoutingSpec
from seawall.decide.rollout_plan import routed
from seawall.decide.rollout_state import Routes
from seawall.decide.route_parents import heard
from seawall.decide.route_weights import Operation, rules_of
from seawall.decide.types import Capabilities, Manifest, ObjectRef, Observed, RoutePatch
from seawall.desired.names import (
    APPLIED_ANNOTATION,
    MANAGED_BY,
    MANAGER,
    SERVICE_LABEL,
    Owner,
    candidate_name,
    grpc_route_name,
    shadow_name,
)
from seawall.desired.routes import API_VERSION, GRPC_ROUTE, HTTP_ROUTE, build_grpc_route, build_http_route

KINDS = (HTTP_ROUTE, GRPC_ROUTE)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A route that the spec asks for or names."""

    ref: ObjectRef
    own: bool


@dataclass(frozen=True, slots=True)
class View:
    """What one route shows."""

    shares: tuple[int, ...] = ()
    """the candidate's in each rule"""
    settled: bool = False
    problem: str = ""
    message: str = ""


def chosen_routes(service: Manifest, spec: InferenceServiceSpec) -> tuple[Chosen, ...]:
    own = [Chosen(ref, True) for ref in _own_refs(service) if _wants(spec.routing, ref.kind)]
    traffic = spec.rollout.traffic if spec.rollout is not None else None
    named = (traffic.http_route, traffic.grpc_route) if traffic is not None else (None, None)
    namespace = service["metadata"]["namespace"]
    theirs = [
        Chosen(ObjectRef(API_VERSION, kind, namespace, name), False)
        for kind, name in zip(KINDS, named, strict=True)
        if name is not None
    ]
    taken = {choice.ref for choice in own}
    return (*own, *(choice for choice in theirs if choice.ref not in taken))


def routes_to_read(
    service: Manifest,
    spec: InferenceServiceSpec,
    services: Sequence[Manifest],
    capabilities: Capabilities,
) -> tuple[ObjectRef, ...]:
    """Those that are chosen, and those of ours that an earlier spec may have left: the candidate's Service
    goes only after them, so where it is not, there are none."""
    found = {choice.ref for choice in chosen_routes(service, spec)}
    name = candidate_name(service["metadata"]["name"])
    if spec.routing is not None or any(live["metadata"]["name"] == name for live in services):
        found.update(_own_refs(service))
    return tuple(sorted(ref for ref in found if is_served(ref.kind, capabilities)))


def routes_of(observed: Observed, spec: InferenceServiceSpec) -> Routes | None:
    """None: nothing is routed, clients come through the Service."""
    if not routed(spec):
        return None
    views = [_view(observed, choice) for choice in chosen_routes(observed.service, spec)]
    shares = {share for view in views for share in view.shares}
    telling = next((v for v in views if v.problem), None) or next((v for v in views if not v.settled), None)
    return Routes(
        weight=max(shares) if len(shares) == 1 else None,
        most=max(shares, default=0),
        settled=all(view.settled for view in views),
        problem=telling.problem if telling else "",
        message=telling.message if telling else "",
    )


def own_routes(
    owner: Owner, spec: InferenceServiceSpec, weight: int, *, copied: bool = False
) -> list[Manifest]:
    """Whole, as they are applied."""
    routing = spec.routing
    if routing is None:
        return []
    made = [build_http_route(owner, routing, weight, copied=copied)]
    if routing.grpc_hostnames:
        made.append(build_grpc_route(owner, routing, weight))
    return made


def route_manifests(
    observed: Observed, owner: Owner, spec: InferenceServiceSpec, weight: int, *, copied: bool = False
) -> tuple[Manifest, ...]:
    """Our own that are missing or differ; `weight` is the candidate's percent, `copied` whether the
    comparator gets every request, too."""
    found = []
    for wanted in own_routes(owner, spec, weight, copied=copied):
        ref = ObjectRef.of(wanted)
        live = _live(observed, ref)
        if _readable(observed, ref) and (live is None or not _stands(live, wanted, owner)):
            found.append(wanted)
    return tuple(found)


def route_patches(observed: Observed, spec: InferenceServiceSpec, weight: int) -> tuple[RoutePatch, ...]:
    """Of the user's routes that split otherwise."""
    found = []
    for choice in chosen_routes(observed.service, spec):
        live = _live(observed, choice.ref)
        if choice.own or live is None or live["metadata"].get("deletionTimestamp"):
            continue
        operations = tuple(_operations(live, observed.service["metadata"]["name"], weight))
        if operations:
            version = str(live["metadata"].get("resourceVersion", ""))
            test = {"op": "test", "path": "/metadata/resourceVersion", "value": version}
            found.append(RoutePatch(choice.ref, version, (test, *operations)))
    return tuple(found)


def route_deletions(observed: Observed, owner: Owner, spec: InferenceServiceSpec) -> tuple[ObjectRef, ...]:
    """Our own that the spec does not ask for any more."""
    kept = {choice.ref for choice in chosen_routes(observed.service, spec)}
    gone = []
    for ref in _own_refs(observed.service):
        live = _live(observed, ref) if ref not in kept else None
        if live is not None and _is_ours(live, owner) and not live["metadata"].get("deletionTimestamp"):
            gone.append(ObjectRef.of(live))
    return tuple(gone)


def copies(observed: Observed) -> bool | None:
    """Whether our own HTTPRoute feeds the comparator; None where that cannot be read."""
    ref = next(_own_refs(observed.service))
    if ref in observed.route_problems:
        return None
    live = _live(observed, ref)
    if live is None:
        return False
    filters = [f for rule in (live.get("spec") or {}).get("rules") or () for f in rule.get("filters") or ()]
    fed = [((f.get("requestMirror") or {}).get("backendRef") or {}).get("name") for f in filters]
    return shadow_name(ref.name) in fed


def is_served(kind: str, capabilities: Capabilities) -> bool:
    return capabilities.gateway_api if kind == HTTP_ROUTE else capabilities.grpc_routes


def _own_refs(service: Manifest) -> Iterator[ObjectRef]:
    meta = service["metadata"]
    called = {HTTP_ROUTE: meta["name"], GRPC_ROUTE: grpc_route_name(meta["name"])}
    return (ObjectRef(API_VERSION, kind, meta["namespace"], called[kind]) for kind in KINDS)


def _wants(routing: RoutingSpec | None, kind: str) -> bool:
    return routing is not None and (kind == HTTP_ROUTE or bool(routing.grpc_hostnames))


def _readable(observed: Observed, ref: ObjectRef) -> bool:
    return is_served(ref.kind, observed.capabilities) and ref not in observed.route_problems


def _live(observed: Observed, ref: ObjectRef) -> Manifest | None:
    place = ref.kind, ref.name
    return next((o for o in observed.routes if (o["kind"], o["metadata"]["name"]) == place), None)


def _operations(route: Manifest, service: str, weight: int) -> Iterator[Operation]:
    for rule in rules_of(route, service):
        yield from rule.operations(weight, rule.fault(ObjectRef.of(route), service) is not None)


def _view(observed: Observed, choice: Chosen) -> View:
    meta, ref = observed.service["metadata"], choice.ref
    if not is_served(ref.kind, observed.capabilities):
        message = (
            f"This cluster serves no {ref.kind}s ({API_VERSION}); it needs the Gateway API and a Gateway"
        )
        return View(problem="GatewayAPIAbsent", message=message)
    if ref in observed.route_problems:
        return View(problem="RouteUnreadable", message=observed.route_problems[ref])
    live = _live(observed, ref)
    if live is None:
        message = f"{ref} does not exist" + (" yet" if choice.own else f" in namespace {meta['namespace']}")
        return View(problem="RouteNotFound", message=message)
    if choice.own and not _is_ours(live, Owner(meta["name"], meta["namespace"], meta["uid"])):
        message = f"{ref} exists in namespace {meta['namespace']} and belongs to somebody else; rename one"
        return View(problem="NameConflict", message=message)
    rules = rules_of(live, meta["name"])
    if not rules and not choice.own:
        message = f"No rule of {ref} names Service {meta['name']} as a backend"
        return View(problem="RouteWithoutBackend", message=message)
    shares = tuple(rule.share for rule in rules)
    answer = heard(live, every=choice.own)
    fault = next((f for rule in rules if (f := rule.fault(ref, meta["name"]))), None)
    if fault is not None and not answer.problem:
        return View(shares, False, *fault)
    return View(shares, answer.settled, answer.problem, answer.message)


def _is_ours(live: Manifest, owner: Owner) -> bool:
    """As of every other child; what `--cascade=orphan` has left behind is known by its labels."""
    meta = live["metadata"]
    controller = next((o for o in meta.get("ownerReferences") or () if o.get("controller")), None)
    if controller is not None:
        return bool(controller.get("uid") == owner.uid)
    labels = meta.get("labels") or {}
    return labels.get(MANAGED_BY) == MANAGER and labels.get(SERVICE_LABEL) == owner.name


def _stands(live: Manifest, wanted: Manifest, owner: Owner) -> bool:
    """Applied as wanted, and nobody has changed a field of it since. Who has, owns it: the server keeps that
    exact, whatever defaults it fills in. A route that is going is left alone."""
    meta = live["metadata"]
    if meta.get("deletionTimestamp"):
        return True
    if not _is_ours(live, owner) or _applied(live) != _applied(wanted):
        return False
    owned = next((e for e in meta.get("managedFields") or () if _is_apply(e)), None)
    fields = (owned or {}).get("fieldsV1") or {}
    labels = (fields.get("f:metadata") or {}).get("f:labels") or {}
    parts = fields.get("f:spec") or {}
    return all(f"f:{key}" in parts for key in wanted["spec"]) and all(
        f"f:{key}" in labels for key in wanted["metadata"]["labels"]
    )


def _is_apply(entry: Mapping[str, Any]) -> bool:
    return (
        entry.get("manager") == MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource")
    )


def _applied(manifest: Manifest) -> Any:
    return (manifest["metadata"].get("annotations") or {}).get(APPLIED_ANNOTATION)

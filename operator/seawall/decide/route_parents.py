"""Whether the Gateways have taken a route in: what they write into its status, at its generation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seawall.decide.types import Manifest, ObjectRef
from seawall.desired.routes import GROUP

REASONS = {"Accepted": "RouteNotAccepted", "ResolvedRefs": "RouteRefsNotResolved"}


@dataclass(frozen=True, slots=True)
class Heard:
    settled: bool
    problem: str = ""
    message: str = ""


def heard(route: Manifest, every: bool) -> Heard:
    """`every`: each Gateway that the route names must have spoken. Otherwise those that have are enough: of
    somebody else's route it is not known which of its parents are served by anybody."""
    ref, namespace = ObjectRef.of(route), route["metadata"].get("namespace", "")
    parents = (route.get("status") or {}).get("parents") or ()
    silent = None
    if every:
        named = (route.get("spec") or {}).get("parentRefs") or ()
        places = {_place(parent, namespace): parent for parent in named}
        parents = [p for p in parents if _place(p.get("parentRef") or {}, namespace) in places]
        spoken = {_place(p["parentRef"], namespace) for p in parents}
        silent = next((_gateway(p, namespace) for place, p in places.items() if place not in spoken), None)
    if not parents:
        return Heard(False, message=f"{silent or 'No Gateway'} has not said anything of {ref} yet")
    generation = int(route["metadata"].get("generation", 1))
    refusal = next(_refusals(ref, parents, namespace, generation), None)
    if refusal is not None:
        return refusal
    late = silent or next(_late(parents, namespace, generation), None)
    if late is not None:
        return Heard(False, message=f"{late} has not taken in {ref} at generation {generation} yet")
    return Heard(True)


def _refusals(
    ref: ObjectRef, parents: Sequence[Mapping[str, Any]], namespace: str, generation: int
) -> Iterator[Heard]:
    for parent in parents:
        gateway = _gateway(parent.get("parentRef") or {}, namespace)
        for type_, reason in REASONS.items():
            found = _condition(parent, type_, generation)
            if found is not None and found.get("status") == "False":
                said = ": ".join(str(found[word]) for word in ("reason", "message") if found.get(word))
                what = "does not accept" if type_ == "Accepted" else "cannot resolve the backends of"
                yield Heard(False, reason, f"{gateway} {what} {ref}: {said}")


def _late(parents: Sequence[Mapping[str, Any]], namespace: str, generation: int) -> Iterator[str]:
    for parent in parents:
        found = [_condition(parent, type_, generation) for type_ in REASONS]
        if not all(condition is not None and condition.get("status") == "True" for condition in found):
            yield _gateway(parent.get("parentRef") or {}, namespace)


def _condition(parent: Mapping[str, Any], type_: str, generation: int) -> Mapping[str, Any] | None:
    """None where it speaks of an earlier generation."""
    for condition in parent.get("conditions") or ():
        if condition.get("type") == type_:
            return condition if condition.get("observedGeneration") == generation else None
    return None


def _place(parent: Mapping[str, Any], namespace: str) -> tuple[Any, ...]:
    return (
        parent.get("group", GROUP),
        parent.get("kind", "Gateway"),
        parent.get("namespace", namespace),
        parent.get("name"),
        parent.get("sectionName"),
        parent.get("port"),
    )


def _gateway(parent: Mapping[str, Any], namespace: str) -> str:
    kind, where = parent.get("kind", "Gateway"), parent.get("namespace", namespace)
    return f"{kind} {where}/{parent.get('name', '')}"

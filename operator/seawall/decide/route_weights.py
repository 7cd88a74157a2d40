"""What one route sends to a service's two names, and the smallest change that makes it another share.

Other people's backends, matches and filters are none of our business: only our own numbers are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seawall.decide.types import Manifest, ObjectRef
from seawall.desired.names import candidate_name

Operation = Mapping[str, Any]
WHOLE = 100


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a route that names the service."""

    index: int
    refs: Sequence[Mapping[str, Any]]
    stable: tuple[int, ...]
    """places in `refs` that name the service itself"""
    candidate: tuple[int, ...]
    """places that name the candidate's Service"""
    candidate_name: str

    def _sum(self, places: Sequence[int]) -> int:
        return sum(weight_of(self.refs[place]) for place in places)

    @property
    def total(self) -> int:
        return self._sum((*self.stable, *self.candidate))

    @property
    def shared(self) -> bool:
        """Other people's backends are in the same rule."""
        return len(self.refs) > len(self.stable) + len(self.candidate)

    @property
    def share(self) -> int:
        """Percent of our part that the candidate gets: 0 and 100 mean none and all of it."""
        ours, theirs = self._sum(self.stable), self._sum(self.candidate)
        if not theirs:
            return 0
        return min(max(_part(100, theirs, self.total), 1), 99) if ours else 100

    def fault(self, route: ObjectRef, service: str) -> tuple[str, str] | None:
        """Why no share can be set in this rule: a reason and a sentence."""
        where = f"rule {self.index + 1} of {route}"
        if len(self.stable) > 1 or len(self.candidate) > 1:
            return "RouteAmbiguous", f"Service {service} must be named once in {where}, not several times"
        if self.shared and self.total < WHOLE:
            return "RouteWeightsTooSmall", (
                f"Service {service} has the weight {self.total} beside other backends in {where}; "
                f"give it {WHOLE} or more and the others in proportion, so that whole percents can be split"
            )
        return None

    def operations(self, percent: int, faulty: bool) -> Iterator[Operation]:
        """None where the rule splits so already. Where no share can be set the candidate gets nothing."""
        percent = 0 if faulty else percent
        now, stable = self._sum(self.candidate), self._sum(self.stable)
        whole = self.total if self.shared else WHOLE
        wanted = _part(whole, percent, 100)
        # Weights are a ratio: the 1 of a lone backend is as good as 100.
        if now == wanted if self.shared else self.total > 0 and now * 100 == percent * self.total:
            return
        if len(self.stable) > 1 and stable:
            yield from self._weigh(self.stable[0], weight_of(self.refs[self.stable[0]]) + now)
        else:
            yield from self._weigh(self.stable[0], whole - wanted)
        for place in self.candidate:
            yield from self._weigh(place, wanted)
        if wanted and not self.candidate:
            model = self.refs[self.stable[0]]
            value = {**model, "name": self.candidate_name, "weight": wanted}
            yield {"op": "add", "path": f"{self._path}/-", "value": value}

    def _weigh(self, place: int, weight: int) -> Iterator[Operation]:
        if weight_of(self.refs[place]) != weight:
            yield {"op": "add", "path": f"{self._path}/{place}/weight", "value": weight}

    @property
    def _path(self) -> str:
        return f"/spec/rules/{self.index}/backendRefs"


def rules_of(route: Manifest, service: str) -> tuple[Rule, ...]:
    """Those that name the service itself. One with the candidate alone is its author's own way to try it."""
    namespace = route["metadata"].get("namespace", "")
    candidate, found = candidate_name(service), []
    for index, rule in enumerate((route.get("spec") or {}).get("rules") or ()):
        refs = rule.get("backendRefs") or ()
        stable, theirs = (
            tuple(at for at, ref in enumerate(refs) if _names(ref, name, namespace))
            for name in (service, candidate)
        )
        if stable:
            found.append(Rule(index, refs, stable, theirs, candidate))
    return tuple(found)


def weight_of(ref: Mapping[str, Any]) -> int:
    return int(ref.get("weight", 1))


def _names(ref: Mapping[str, Any], service: str, namespace: str) -> bool:
    return (
        ref.get("name") == service
        and ref.get("kind", "Service") == "Service"
        and ref.get("group", "") == ""
        and ref.get("namespace", namespace) == namespace
    )


def _part(whole: int, of: int, all_of: int) -> int:
    """whole * of / all_of, rounded half up."""
    return (2 * whole * of + all_of) // (2 * all_of)

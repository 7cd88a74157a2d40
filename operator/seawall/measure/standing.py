"""Where every counter of one revision stood at one moment: what windows are cut from.

A counter stood where its last look at or before that moment left it. Two standings make a window only if
every server in it was followed all the way: what restarted, left, came from nowhere or was not heard in time
is no window, however good the rest looks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from seawall.measure.kept import Kept
from seawall.measure.quantile import Floats
from seawall.measure.reading import GATEWAY_MISSED_SECONDS
from seawall.measure.track import GAP_SECONDS, Grown, Track


class Unknown(Exception):
    """Why these counts cannot be told, as a sentence for people."""


@dataclass(frozen=True, slots=True)
class Mark:
    at: float
    """of the look"""
    totals: Floats
    edges: tuple[float, ...]
    line: object
    from_zero: bool
    found: Floats | None


@dataclass(frozen=True, slots=True)
class Group:
    """Servers of one kind."""

    marks: Mapping[str, Mark]
    missing: str
    """why not all of them are there; empty if they are"""
    known: frozenset[str]
    """all that were ever heard, as far as that is remembered"""
    gone: frozenset[str]
    """of these, those that left before the moment"""


@dataclass(frozen=True, slots=True)
class Standing:
    pods: Group
    gateways: Group
    by_gateway: bool
    """a gateway carries the traffic and is heard, or was until a short while ago"""
    never: bool
    """whatever may be heard later: nobody had looked yet"""
    ready_pods: int

    def of(self, by_gateway: bool) -> Group:
        return self.gateways if by_gateway else self.pods


def standing(kept: Kept, edge: float) -> Standing:
    """At `edge`, from what has been heard by now."""
    newest = kept.newest
    told = newest.message if newest is not None else ""
    heard = [kept.gateways[name].last.at for name in kept.gateway_here if name in kept.gateways]
    silent = ""
    never = kept.answered_at is not None and kept.answered_at > edge
    if never or newest is None or newest.at < edge or kept.answered_at is None:
        silent = told or "Nothing had been heard of the revision by then."
    elif newest.trouble is not None and not heard:
        silent = told
    return Standing(
        pods=_group("Pod", kept.pods, kept.since, edge, kept.faults, silent),
        gateways=_group(
            "The gateway", kept.gateways, kept.gateway_since, edge,
            dict.fromkeys(kept.gateway_here, kept.gateway_fault), silent,
        ),
        by_gateway=max(heard, default=float("-inf")) >= edge - GATEWAY_MISSED_SECONDS,
        never=never,
        ready_pods=len(kept.expected),
    )  # fmt: skip


def _group(
    kind: str,
    tracks: Mapping[str, Track],
    here: Mapping[str, float],
    edge: float,
    faults: Mapping[str, str],
    silent: str,
) -> Group:
    marks: dict[str, Mark] = {}
    for name, track in tracks.items():
        point = track.at(edge) if track.last.at >= edge else None
        if point is not None and point[0] >= edge - GAP_SECONDS:
            marks[name] = Mark(*point, track.last.edges, track.line, track.from_zero, track.found)
    late = sorted(name for name, since in here.items() if since <= edge and name not in marks)
    missing = silent
    if late:
        phrase = faults.get(late[0])
        missing = f"{kind} {late[0]} {phrase}." if phrase else silent or f"{kind} {late[0]} is not heard."
    gone = frozenset(name for name in tracks if tracks[name].last.at < edge and name not in here)
    return Group(marks, missing, frozenset(tracks), gone)


def between(before: Group, now: Group, absent_before: Collection[str] = ()) -> dict[str, Grown]:
    """What each server counted from one standing to the next. Raises Unknown.

    `absent_before`: servers that were heard at the first and told nothing of this revision, which is a zero.
    """
    for problem in (before.missing, now.missing):
        if problem:
            raise Unknown(problem)
    for name in sorted((now.gone - before.known) | (before.marks.keys() - now.marks.keys())):
        raise Unknown(f"{name} left inside the window.")
    return {
        name: _grown(name, before.marks.get(name), mark, absent_before) for name, mark in now.marks.items()
    }


def _grown(name: str, known: Mark | None, mark: Mark, absent_before: Collection[str]) -> Grown:
    if known is not None:
        if known.line is not mark.line:
            raise Unknown(f"The counters of {name} began anew inside the window.")
        values = mark.totals - known.totals
    elif mark.from_zero:
        values = mark.totals
    elif mark.found is not None and name in absent_before:
        values = mark.totals + mark.found
    else:
        raise Unknown(f"{name} was not heard from the beginning of the window on.")
    return Grown(values, mark.edges, 0.0, False)

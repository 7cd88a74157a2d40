"""The figures as Markdown tables, with KServe's beside them: measured elsewhere, on such a machine."""

from __future__ import annotations

from statistics import mean
from typing import Any

KSERVE = {
    "title": "KServe 0.20 *",
    "acceptedSeconds": {300: "2.7", 1000: "7.9"},
    "childrenSeconds": {300: "24.3", 1000: "58.8"},
    "objectsPerSecond": {300: "37", 1000: "51"},
    "callsPerService": "17.0",
    "callsPerObject": "5.7",
    "cpuSeconds": {300: "8.4", 1000: "23.0"},
    "peakMb": {300: "105", 1000: "141"},
    "noopCalls": "6 (2 writes)",
    "restartCalls": {1000: "6 033"},
    "restartEdit": {1000: "17.5"},
    "restartCpu": {1000: "7.0"},
}
NOTE = (
    "\\* KServe's figures were not measured in this run. They were taken in November 2026 on another machine "
    "of this size (2 cores, busy): version 0.20.0, Standard mode, three objects per service, 8 driver "
    "connections, kube-apiserver 1.36.2 with fsync. A service of Seawall has four objects."
)
Row = tuple[str, str, str]


def text(results: dict[str, Any]) -> str:
    machine = results["machine"]
    parts = [f"{machine['cores']} cores ({machine['machine']}), Python {machine['python']}"]
    parts += [_fleet(fleet) for fleet in results["fleets"]]
    parts.append(NOTE)
    return "\n\n".join(parts)


def _fleet(fleet: dict[str, Any]) -> str:
    create, services = fleet["create"], fleet["create"]["services"]
    title = f"## {services} services, {create['objects']} objects (load average {fleet['loadAverage']:.1f})"
    rows = [*_create_rows(fleet), *_steady_rows(fleet)]
    table = _table(("", "Seawall", KSERVE["title"]), rows)
    heal = _table(("changed by somebody else", "healed", "median s", "worst s"), _heal_rows(fleet["heal"]))
    calls = _table(("call of the operator while creating", "times", "per service"), _call_rows(create))
    return f"{title}\n\n{table}\n\n{heal}\n\n{calls}"


def _create_rows(fleet: dict[str, Any]) -> list[Row]:
    create, n = fleet["create"], fleet["create"]["services"]
    rate = create["objectsPerSecond"]
    rows: list[Row] = [
        ("all services accepted, s", f"{create['acceptedSeconds']}", _of("acceptedSeconds", n)),
        ("all children exist, s", f"{create['childrenSeconds']}", _of("childrenSeconds", n)),
        ("objects/s", f"{rate}", _of("objectsPerSecond", n)),
    ]
    names = {
        "post1": "floor: POST, 1 connection, objects/s",
        "post8": "floor: POST, 8 connections, objects/s",
        "apply16": "floor: server-side apply, 16 connections, objects/s",
    }
    for way, name in names.items():
        each = fleet["floor"][way]
        ratio = rate / mean(each)
        rows.append((name, f"{', '.join(map(str, each))} (operator: {ratio:.2f} of it)", "-"))
    rows += [
        ("calls per service until quiet", f"{create['callsPerService']}", _of("callsPerService", n)),
        ("calls per object until quiet", f"{create['callsPerObject']}", _of("callsPerObject", n)),
        ("CPU s until quiet", f"{create['cpuSeconds']}", _of("cpuSeconds", n)),
        ("memory empty / after / peak, MB", _memory(fleet), _of("peakMb", n)),
    ]
    return rows


def _memory(fleet: dict[str, Any]) -> str:
    return f"{fleet['emptyRssMb']} / {fleet['create']['rssMb']} / {fleet['create']['peakMb']}"


def _steady_rows(fleet: dict[str, Any]) -> list[Row]:
    n = fleet["create"]["services"]
    noop, idle, restart = fleet["nothingToDo"], fleet["idle"], fleet["restart"]
    other = fleet["otherPeoplesAnnotation"]
    return [
        (
            "calls in reconciles with nothing to do",
            f"{noop['calls']} in {noop['reconciles']} reconciles ({noop['writes']} writes)",
            f"{KSERVE['noopCalls']} in each",
        ),
        (
            f"{other['touched']} services annotated by somebody else",
            f"{other['calls']} calls in {other['reconciles']} reconciles",
            "14 calls each, pods restarted",
        ),
        (
            f"calls in {idle['seconds']:.0f} s of idleness",
            f"{idle['calls']} (and {idle['leaseCalls']} for the Lease)",
            "0",
        ),
        ("restart: calls", f"{restart['calls']}", _of("restartCalls", n)),
        ("restart: writes to unchanged services", f"{restart['writesToUnchangedServices']}", "-"),
        (
            "restart: an edit 0.5 s after the start is served after, s",
            f"{restart['editServedSeconds']} (ready {restart['readySeconds']} after the start)",
            _of("restartEdit", n),
        ),
        ("restart: CPU s", f"{restart['cpuSeconds']}", _of("restartCpu", n)),
        ("restart: peak memory, MB", f"{restart['peakMb']}", "-"),
    ]


def _of(key: str, services: int) -> str:
    value = KSERVE.get(key, "-")
    return str(value.get(services, "-")) if isinstance(value, dict) else str(value)


def _heal_rows(heal: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (title, f"{h['healed']} of {h['of']}", f"{h['medianSeconds']}", f"{h['worstSeconds']}")
        for title, h in heal.items()
    ]


def _call_rows(create: dict[str, Any]) -> list[tuple[str, ...]]:
    services = create["services"]
    return [(what, str(n), f"{n / services:.2f}") for what, n in create["callsByKind"].items()]


def _table(header: tuple[str, ...], rows: list[Any]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

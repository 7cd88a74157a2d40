"""What `tools/cluster up --with` can add to a cluster, and what was chosen for one.

The choice is written into the cluster's directory, where the first process finds it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from .errors import ClusterError
from .state import Layout

# Each part with the programs and the definitions that it takes.
PROGRAMS: dict[str, tuple[str, ...]] = {
    "prometheus": ("prometheus", "promtool"),
    "gateway": ("contour", "envoy"),
    "keda": ("keda-operator", "keda-adapter"),
    "gateway-crds": (),
    "keda-crds": (),
    "monitoring-crds": (),
}
DEFINITIONS = {
    "gateway": ("gateway-api", "contour"),
    "keda": ("keda",),
    "gateway-crds": ("gateway-api",),
    "keda-crds": ("keda",),
    "monitoring-crds": ("monitoring",),
}
SCRAPE_SECONDS = 5
LARGEST_EDGE = 600_000


@dataclass(frozen=True)
class Parts:
    names: tuple[str, ...] = ()
    scrape_seconds: int = SCRAPE_SECONDS
    # Milliseconds that the gateway's latency histograms get besides their own edges.
    edges: tuple[int, ...] = ()

    @property
    def programs(self) -> tuple[str, ...]:
        return tuple(program for name in self.names for program in PROGRAMS[name])

    @property
    def definitions(self) -> tuple[str, ...]:
        """Names for `modules.crds`, each once."""
        return tuple(dict.fromkeys(kind for name in self.names for kind in DEFINITIONS.get(name, ())))

    @property
    def addresses(self) -> dict[str, str]:
        """Where clients inside the cluster's network find the parts that serve."""
        served = {"prometheus": "http://prometheus.infra.svc:9090", "gateway": "http://gw.infra.svc"}
        return {name: served[name] for name in self.names if name in served}


def chosen(names: str, scrape_seconds: int, edges: str) -> Parts:
    """The parts that the arguments of `up` ask for, in the order in which they start."""
    asked = {name for name in names.split(",") if name}
    if unknown := sorted(asked - PROGRAMS.keys()):
        raise ClusterError(f"--with {','.join(unknown)} is unknown: {', '.join(PROGRAMS)}")
    if scrape_seconds < 1:
        raise ClusterError("--scrape-seconds is at least 1")
    try:
        numbers = sorted({int(edge) for edge in edges.split(",") if edge})
    except ValueError:
        numbers = [0]
    if numbers and not 1 <= numbers[0] <= numbers[-1] <= LARGEST_EDGE:
        raise ClusterError(f"--latency-edges takes whole milliseconds from 1 to {LARGEST_EDGE}: 15,25")
    return Parts(tuple(name for name in PROGRAMS if name in asked), scrape_seconds, tuple(numbers))


def _file(layout: Layout) -> Path:
    return layout.directory / "parts.json"


def write(layout: Layout, parts: Parts) -> None:
    _file(layout).write_text(json.dumps(asdict(parts)))


def read(layout: Layout) -> Parts:
    try:
        found = json.loads(_file(layout).read_text())
    except FileNotFoundError:
        # A cluster whose configuration is being written.
        return Parts()
    return Parts(tuple(found["names"]), found["scrape_seconds"], tuple(found["edges"]))


def must_fit(name: str, running: Parts, asked: Parts) -> None:
    """A running cluster does not change its parts; asking for fewer is no contradiction."""
    same = not asked.names or (asked.scrape_seconds, asked.edges) == (running.scrape_seconds, running.edges)
    if set(asked.names) <= set(running.names) and same:
        return
    has = ",".join(running.names) or "no parts"
    raise ClusterError(
        f"cluster {name} is up with {has}, scraped every {running.scrape_seconds} s, and cannot change"
        f" while it runs: tools/cluster down --name {name}"
    )

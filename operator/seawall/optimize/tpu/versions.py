"""What a StableHLO artefact says about its maker, read from its bytes.

An artefact runs on the release of jax that exported it and on later ones. The other way round it fails with a
sentence about devices that leads nowhere, so the versions are compared before anything is served.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from seawall.optimize.types import Refused

_PRODUCER = re.compile(rb"StableHLO_v(\d+)\.(\d+)\.(\d+)\x00")
Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Made:
    stablehlo: Version


def made_with(content: bytes) -> Made:
    """Raises Refused on what is no artefact of jax.export."""
    found = _PRODUCER.search(content)
    if found is None:
        raise Refused("InvalidModel", "the file is no artefact of jax.export: it names no StableHLO version")
    return Made(tuple(int(part) for part in found.groups()))


def parsed(version: str) -> Version:
    numbers = re.match(r"(\d+(?:\.\d+)*)", version)
    if numbers is None:
        raise Refused("InvalidModel", f"{version!r} is no version")
    return tuple(int(part) for part in numbers[1].split("."))


def newer_than_server(exporter: str | None, server: str | None) -> Refused | None:
    """Both are releases of jax. An artefact whose exporter is not known is proven by loading it instead."""
    if exporter is None or server is None or parsed(exporter) <= parsed(server):
        return None
    return Refused(
        "PresetUnsupported",
        f"the artefact was exported with jax {exporter}, and the server runs jax {server}, which cannot load"
        " what a newer one exported: export with the server's release or an older one",
    )

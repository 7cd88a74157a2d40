"""What to fetch and with what: the order in SEAWALL_FETCH, the credentials, and the limits of this run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seawall.fetch.problem import FetchProblem, Reason

CREDENTIALS_FOLDER = Path("/var/run/seawall/credentials")
ARTIFACT_FORMATS = ("onnx", "pipeline", "stablehlo", "tensorrt")
"""Layouts that a build publishes; two of them are of no other origin."""
FORMATS = ("onnx", "python", "repository", "tensorrt")
DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class ArtifactOrder:
    """The uri names what a build published: a folder with a manifest."""

    digest: str
    """SHA-256 of manifest.json"""
    public_keys: tuple[str, ...] = ()
    """PEM; if there are any, one of them must have signed the manifest"""


@dataclass(frozen=True, slots=True)
class Order:
    name: str
    uri: str
    format: str
    triton_version: str
    config: Mapping[str, Any]
    """ModelConfig as the operator derived it from the spec"""
    override: Mapping[str, Any] = field(default_factory=dict)
    """spec.model.config"""
    sha256: str | None = None
    artifact: ArtifactOrder | None = None

    @property
    def scheme(self) -> str:
        return self.uri.partition("://")[0]


def parse_order(text: str | None) -> Order:
    """The operator writes this, so anything odd is a fault of ours; it is still said in a sentence."""
    try:
        raw = json.loads(text or "")
        order = Order(
            name=raw["name"],
            uri=raw["uri"],
            format=raw["format"],
            triton_version=raw["tritonVersion"],
            config=raw.get("config") or {},
            override=raw.get("override") or {},
            sha256=raw.get("sha256"),
            artifact=_artifact(raw["artifact"]) if raw.get("artifact") is not None else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FetchProblem(
            Reason.FETCH_FAILED, f"SEAWALL_FETCH does not hold an order as the operator writes it: {error!r}"
        ) from error
    if not isinstance(order.name, str) or _NAME.fullmatch(order.name) is None:
        raise FetchProblem(Reason.FETCH_FAILED, f"SEAWALL_FETCH: {order.name!r} is no name for a model")
    if order.format not in (FORMATS if order.artifact is None else ARTIFACT_FORMATS):
        raise FetchProblem(Reason.FETCH_FAILED, f"SEAWALL_FETCH: format {order.format!r} is not known")
    return order


def _artifact(raw: Mapping[str, Any]) -> ArtifactOrder:
    digest, keys = raw["digest"], raw.get("publicKeys") or []
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise ValueError(f"artifact.digest is no SHA-256: {digest!r}")
    # A string would be taken for a list of letters, none of them a key.
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise TypeError("artifact.publicKeys is no list of PEM texts")
    return ArtifactOrder(digest, tuple(keys))


@dataclass(frozen=True, slots=True)
class Credentials:
    """Keys of the credentials Secret: from the environment, else from the folder it is mounted in."""

    environment: Mapping[str, str]
    folder: Path = CREDENTIALS_FOLDER

    def get(self, *names: str) -> str | None:
        """The first of these keys that has a value."""
        for name in names:
            # `echo TOKEN | base64` leaves a line's end, and a header must not have one.
            value = self.environment.get(name, "").strip() or self._file(name)
            if value:
                return value
        return None

    def _file(self, name: str) -> str | None:
        try:
            return (self.folder / name).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return None

    def flag(self, name: str) -> bool:
        return (self.get(name) or "").lower() in ("1", "true", "yes")


@dataclass(slots=True)
class Budget:
    """How much one fetch may write and how long it may take; every writer charges it as it goes."""

    max_bytes: int
    seconds: float
    clock: Callable[[], float]
    used: int = 0
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    @property
    def elapsed(self) -> float:
        return self.clock() - self.started

    def charge(self, count: int) -> None:
        self.used += count
        if self.used > self.max_bytes:
            raise FetchProblem(
                Reason.NO_SPACE,
                f"the model is larger than the {self.max_bytes} bytes that may be fetched;"
                " raise SEAWALL_FETCH_MAX_BYTES and the volume `models` through spec.podTemplate",
            )
        self.check_time()

    def refund(self, count: int) -> None:
        self.used -= count

    def check_time(self) -> None:
        if self.elapsed > self.seconds:
            raise FetchProblem(
                Reason.FETCH_FAILED,
                f"fetching took longer than {self.seconds:.0f} s;"
                " raise SEAWALL_FETCH_TIMEOUT_SECONDS through spec.podTemplate if the source is slow",
            )

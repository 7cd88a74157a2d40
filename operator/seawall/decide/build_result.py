"""The last words of a build's containers. They come from a pod of the user's namespace: data to be checked,
and nothing in them is believed that the operator can know itself.

`finish` ends with code 0 and `{"result": {…}, "artifact": {"uri", "digest", "format"}, "versions": {…}}`;
any phase may end with exit code 1 and `{"reason", "message"}`: the build is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from seawall.api.modelbuild import BuildArtifact, BuildResult, Word
from seawall.decide.conditions import clipped

ARTIFACT_FORMATS = ("onnx", "tensorrt", "stablehlo", "pipeline")
_DIGEST = re.compile("[0-9a-f]{64}")
_REASON = re.compile("[A-Z][A-Za-z0-9]{2,63}")
_PRINTABLE = re.compile("[!-~]+")
_VERSIONS = TypeAdapter(dict[Word, Word])


class BadResult(ValueError):
    """The pod has told something that no build of ours tells."""


@dataclass(frozen=True, slots=True)
class Told:
    """The parts of a ModelBuild's status that only the build knows."""

    result: dict[str, Any]
    artifact: dict[str, Any]
    versions: dict[str, str]


def parse_result(text: str, store: str) -> Told:
    """Raises BadResult. `store` is where the operator has told the build to publish."""
    raw = _last_json(text)
    if not isinstance(raw, Mapping) or not isinstance(raw.get("result"), Mapping):
        raise BadResult("the build ended well without telling its result")
    try:
        result = BuildResult.model_validate(raw["result"])
        artifact = BuildArtifact.model_validate(raw.get("artifact"))
        versions = _VERSIONS.validate_python(raw.get("versions") or {})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadResult(f"the build's result is not understood: {place}: {first['msg']}") from error
    _check_artifact(artifact, store)
    told = result.model_dump(by_alias=True, exclude_none=True)
    return Told(told, artifact.model_dump(by_alias=True), dict(sorted(versions.items())[:32]))


def _check_artifact(artifact: BuildArtifact, store: str) -> None:
    """An address outside the store would make model pods fetch what nobody has checked."""
    inside = artifact.uri.startswith((f"{store.rstrip('/')}/", f"{store}@sha256:"))
    if not inside or "/../" in f"{artifact.uri}/" or _PRINTABLE.fullmatch(artifact.uri) is None:
        raise BadResult(f"the build's artefact is not in the store {store}")
    if _DIGEST.fullmatch(artifact.digest) is None:
        raise BadResult("the build's artefact has no SHA-256")
    if artifact.format not in ARTIFACT_FORMATS:
        raise BadResult(f"the build's artefact is of the unknown format {clipped(artifact.format, 64)}")


def parse_refusal(text: str) -> tuple[str, str] | None:
    """Reason and sentence; None when these are not a refusal's words (a crash ends with 1, too)."""
    raw = _last_json(text)
    if not isinstance(raw, Mapping):
        return None
    reason, message = raw.get("reason"), raw.get("message")
    if not isinstance(reason, str) or not isinstance(message, str) or not _REASON.fullmatch(reason):
        return None
    return reason, clipped(message)


def _last_json(text: str) -> Any:
    """Of the last line: a log may stand before it."""
    lines = text.strip().splitlines()
    try:
        return json.loads(lines[-1]) if lines else None
    except (ValueError, RecursionError):
        return None

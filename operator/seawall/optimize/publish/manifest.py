"""What a build says about its result: an in-toto Statement that names every file, and how it came about."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from seawall.fetch.artifact import OWN_FILES, PREDICATE_TYPE, STATEMENT_TYPE
from seawall.fetch.sources import checked_path
from seawall.optimize.types import BuildOrder, Stage


@dataclass(frozen=True, slots=True)
class Manifest:
    """The predicate; the subjects are read from the folder."""

    key: str
    layout: Mapping[str, Any]
    """kind, and of a pipeline its stages, inputs and outputs"""
    request: Mapping[str, Any]
    inputs: Mapping[str, str]
    """digests: model, evaluation, calibration, data"""
    versions: Mapping[str, str]
    stages: Sequence[Stage] = ()
    result: Mapping[str, Any] = field(default_factory=dict)


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and without blanks; NaN and infinity have no place in it (ValueError)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def key(order: BuildOrder, digests: Mapping[str, str]) -> str:
    """What the artefact of this request is found by."""
    return hashlib.sha256(canonical(order.key_material(digests))).hexdigest()


def files_of(folder: Path) -> dict[str, Path]:
    """The model's files by path; manifest and envelope of an earlier time are not among them."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ValueError(f"{relative} is neither a file nor a folder, and cannot be published")
        if path.is_file() and relative not in OWN_FILES:
            found[str(checked_path(relative))] = path
    if not found:
        raise ValueError(f"{folder} holds nothing to publish")
    return found


def statement(files: Mapping[str, Path], manifest: Manifest) -> bytes:
    """manifest.json, byte for byte."""
    return canonical(
        {
            "_type": STATEMENT_TYPE,
            "subject": [_subject(name, path) for name, path in sorted(files.items())],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "key": manifest.key,
                "layout": manifest.layout,
                "request": manifest.request,
                "inputs": manifest.inputs,
                "versions": manifest.versions,
                "stages": [asdict(stage) for stage in manifest.stages],
                "result": manifest.result,
            },
        }
    )


def _subject(name: str, path: Path) -> dict[str, Any]:
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return {"name": name, "digest": {"sha256": digest}, "annotations": {"bytes": path.stat().st_size}}

"""What the API server asks of metadata, for the checks that are made without it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from seawall.api.fields import SUBDOMAIN
from seawall.api.problems import Problem
from seawall.api.structural import Schema
from seawall.api.walk import mismatches

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "integer"}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
FREE: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
FIELDS: Schema = {
    **dict.fromkeys(("name", "generateName", "namespace", "uid", "resourceVersion", "selfLink"), TEXT),
    **dict.fromkeys(("creationTimestamp", "deletionTimestamp"), TEXT),
    **dict.fromkeys(("generation", "deletionGracePeriodSeconds"), NUMBER),
    **dict.fromkeys(("labels", "annotations"), TEXTS),
    "ownerReferences": {"type": "array", "items": FREE},
    "managedFields": {"type": "array", "items": FREE},
    "finalizers": {"type": "array", "items": TEXT},
}
SCHEMA: Schema = {"type": "object", "properties": FIELDS}
GENERATED_BASE = 58
"""The API server cuts generateName to this length before it adds five characters"""
ANNOTATIONS_LIMIT = 256 * 1024

_WORD = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(f"(?:(?P<prefix>[^/]*)/)?(?P<name>{_WORD})")
_VALUE = re.compile(f"({_WORD})?")


def name_of(metadata: dict[str, Any]) -> str:
    """The name that the object has or gets."""
    if metadata.get("name"):
        return str(metadata["name"])
    return f"{metadata['generateName'][:GENERATED_BASE]}xxxxx"


def problems_of(metadata: Any) -> Iterator[Problem]:
    wrong = [*mismatches(metadata, SCHEMA, "metadata")]
    if wrong:
        yield from wrong
        return
    if not metadata.get("name") and not metadata.get("generateName"):
        yield Problem("metadata.name", "is required", blocking=True)
        return
    name = name_of(metadata)
    if len(name) > 253 or re.fullmatch(SUBDOMAIN, name) is None:
        yield Problem(
            "metadata.name",
            "must consist of lower case letters, digits, - and ., and start and end with a letter or digit",
        )
    for key, value in metadata.get("labels", {}).items():
        yield from _key(key, f"metadata.labels[{key}]")
        if _VALUE.fullmatch(value) is None:
            yield Problem(
                f"metadata.labels[{key}]",
                "must be at most 63 letters, digits, -, _ and ., starting and ending with a letter or digit",
            )
    annotations = metadata.get("annotations", {})
    for key in annotations:
        yield from _key(key.lower(), f"metadata.annotations[{key}]")
    if sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items()) > ANNOTATIONS_LIMIT:
        yield Problem("metadata.annotations", f"must be at most {ANNOTATIONS_LIMIT} bytes in all")


def _key(key: str, path: str) -> Iterator[Problem]:
    match = _KEY.fullmatch(key)
    prefix = match and match["prefix"]
    if match is None or (
        prefix is not None and (len(prefix) > 253 or re.fullmatch(SUBDOMAIN, prefix) is None)
    ):
        yield Problem(path, "is not a valid key: [domain/]name is needed")

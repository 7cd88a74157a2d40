"""Refuses offline what the API server would refuse: `seawall render` is a review tool, and a manifest that it
prints must be one that a cluster takes. The same schema and the same CEL rules; a test holds both verdicts
together, case by case.
"""

from __future__ import annotations

from typing import Any

from seawall.api import crd, metadata
from seawall.api.problems import Problem
from seawall.api.rules import ABSENT, violations
from seawall.api.structural import Schema
from seawall.api.v1alpha1 import API_VERSION
from seawall.api.walk import as_sent, mismatches, unknown_fields

KINDS = ("InferenceService", "AcceleratorClass", "ModelBuild")

__all__ = ["KINDS", "Problem", "problems"]


def problems(obj: Any, old: Any = None) -> list[Problem]:
    """Everything that the API server would hold against creating `obj`, or against changing `old` into it."""
    if not isinstance(obj, dict):
        return [Problem("", "is not an object")]
    if obj.get("apiVersion") != API_VERSION or obj.get("kind") not in KINDS:
        known = f"{', '.join(KINDS[:-1])} and {KINDS[-1]}"
        return [Problem("kind", f"only {known} of {API_VERSION} are known here", blocking=True)]
    schema = crd.schema(obj["kind"])
    found = list(unknown_fields(obj, _with_metadata(schema)))
    pruned = as_sent(obj, _with_metadata(schema))
    # Creating and updating leave the status alone: it is not looked at.
    pruned.pop("status", None)
    wrong = [*metadata.problems_of(pruned.get("metadata", {})), *_mismatches(pruned, schema)]
    if any(p.blocking for p in wrong):
        return found + wrong
    return found + wrong + _violations(pruned, schema, old)


def _with_metadata(schema: Schema) -> Schema:
    return {**schema, "properties": {**schema["properties"], "metadata": metadata.SCHEMA}}


def _mismatches(obj: dict[str, Any], schema: Schema) -> list[Problem]:
    return list(mismatches({k: v for k, v in obj.items() if k != "metadata"}, schema, ""))


def _violations(obj: dict[str, Any], schema: Schema, old: Any) -> list[Problem]:
    # Of metadata, rules see the names only.
    seen = {**obj, "metadata": {"name": metadata.name_of(obj["metadata"])}}
    before = ABSENT if old is None else as_sent(old, schema)
    return list(violations(seen, schema, "", before))

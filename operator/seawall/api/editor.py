"""JSON Schemas for editors, made from the very schemas that the API server gets: completion, texts on hover,
and a typo underlined before anything is sent.

They are stricter than the API server in one way, unknown fields, and looser in another: of its rules only
those that speak of one text's shape can be said here. `seawall render` checks them all.
"""

from __future__ import annotations

import json
import re
from typing import Any

from seawall.api import crd
from seawall.api.fields import VALIDATIONS
from seawall.api.structural import Schema
from seawall.api.v1alpha1 import API_VERSION

DIALECT = "http://json-schema.org/draft-07/schema#"
"""The newest that the YAML language server, and with it most editors, reads."""
FOLDER = "crds/schemas"
KEPT = (
    "description",
    "enum",
    "minimum",
    "maximum",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "required",
)
SHAPE = re.compile(r"self\.matches\('(\^\(.*\)\$)'\)")
"""The one form of a rule that is a pattern and nothing else."""


def json_schema(kind: str) -> Schema:
    """One kind as a whole document."""
    made = _node(crd.schema(kind))
    made["properties"] |= {
        "apiVersion": made["properties"]["apiVersion"] | {"const": API_VERSION},
        "kind": made["properties"]["kind"] | {"const": kind},
        "metadata": {"description": "Name, namespace, labels and annotations.", "type": "object"},
    }
    made["required"] = ["apiVersion", "kind", "metadata", "spec"]
    return {"$schema": DIALECT, "title": kind, **made}


def _node(node: Schema) -> Schema:
    made: Schema = {word: node[word] for word in KEPT if word in node}
    if node.get("x-kubernetes-int-or-string"):
        return made | {"type": ["integer", "string"]}
    made["type"] = node["type"]
    patterns = [m[1] for r in node.get(VALIDATIONS, ()) if (m := SHAPE.fullmatch(r["rule"]))]
    if patterns:
        made["pattern"] = patterns[0]
    if node.get("x-kubernetes-list-type") == "set":
        made["uniqueItems"] = True
    if "items" in node:
        made["items"] = _node(node["items"])
    if "additionalProperties" in node:
        made["additionalProperties"] = _node(node["additionalProperties"])
    elif "properties" in node:
        made["properties"] = {name: _node(inner) for name, inner in node["properties"].items()}
        made["additionalProperties"] = False
    return made


def render(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def files() -> dict[str, str]:
    """File name -> content, as the folder crds/schemas/ carries them."""
    return {f"{kind.lower()}.json": render(json_schema(kind)) for kind in crd.MODELS}


__all__ = ["FOLDER", "files", "json_schema", "render"]

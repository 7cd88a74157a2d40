"""The CEL rules of the schemas, evaluated offline: the same strings that the API server gets, in CEL's C++
implementation. The library comes with the extra `render` and is loaded only when a rule is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from seawall.api.fields import VALIDATIONS
from seawall.api.problems import Problem, child
from seawall.api.structural import Schema

ABSENT: Any = object()


def violations(value: Any, schema: Schema, path: str = "", old: Any = ABSENT) -> Iterator[Problem]:
    """Broken rules at this node and below. Rules about oldSelf apply only where there is an old value."""
    rules = [r for r in schema.get(VALIDATIONS, ()) if old is not ABSENT or "oldSelf" not in r["rule"]]
    if rules:
        known = {"self": value} if old is ABSENT else {"self": value, "oldSelf": old}
        activation = _environment().Activation(known)
    for rule in rules:
        # A rule that cannot be evaluated does not hold: the API server refuses the object then, too.
        if _compiled(rule["rule"]).eval(activation).value() is not True:
            yield Problem(path + rule["fieldPath"] if "fieldPath" in rule else path, rule["message"])
    if isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        for name, inner in value.items():
            below = properties.get(name, others)
            if below is not None:
                before = old.get(name, ABSENT) if isinstance(old, dict) else ABSENT
                yield from violations(inner, below, child(path, str(name)), before)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from violations(item, schema["items"], f"{path}[{index}]")


@cache
def _environment() -> Any:
    try:
        from cel_expr_python import cel  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "checking manifests offline needs the extra `render`: pip install 'seawall[render]'"
        ) from error
    return cel.NewEnv(variables={"self": cel.Type.DYN, "oldSelf": cel.Type.DYN})


@cache
def _compiled(rule: str) -> Any:
    return _environment().compile(rule)

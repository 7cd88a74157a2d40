"""The vocabulary of the models: strings with a meaning, each carrying its rule for the API server (CEL) and
the same rule for Python, so that neither a hand-made CRD nor an old object can bring nonsense further in.

CEL here uses only the language's own functions (matches, size, duration, double, …), none of Kubernetes'
extensions: `seawall render` evaluates the very same strings offline.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from seawall.api.units import parse_duration

Rule = dict[str, str]
VALIDATIONS = "x-kubernetes-validations"


class Model(BaseModel):
    """Frozen; unknown fields are dropped so that a newer CRD does not break an older operator."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


def rule(expression: str, message: str, at: str = "") -> Rule:
    """One CEL rule; `at` is the field that the message is about, relative to the rule's own node."""
    found = {"rule": expression, "message": message}
    return found | {"fieldPath": at} if at else found


def checked(*rules: Rule, **schema: Any) -> dict[str, Any]:
    """What a model or field adds to its schema."""
    return {VALIDATIONS: list(rules), **schema} if rules else schema


def cel_string(text: str) -> str:
    if "'" in text or "\\" in text:
        raise ValueError(f"{text!r} would need escaping inside a CEL string")
    return f"'{text}'"


@dataclass(frozen=True, eq=False)
class Text:
    """A string of one shape. `pattern` matches all of it; no backslashes (write [.])."""

    pattern: str
    message: str
    max_length: int
    more: tuple[Rule, ...] = ()

    def rules(self) -> list[Rule]:
        return [rule(f"self.matches({cel_string(f'^({self.pattern})$')})", self.message), *self.more]

    def check(self, value: str) -> str:
        if len(value) > self.max_length:
            raise ValueError(f"must be at most {self.max_length} characters long")
        if re.fullmatch(self.pattern, value) is None:
            raise ValueError(self.message)
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(core), "maxLength": self.max_length, VALIDATIONS: self.rules()}


DURATION = "[0-9]{1,6}([.][0-9]{1,3})?(us|ms|s|m|h)"


class Span(Text):
    """A duration within bounds, optionally the word `auto`."""

    def __init__(self, low: str, high: str, example: str, auto: bool = False) -> None:
        word = "auto, or " if auto else ""
        message = f"must be {word}a duration with a unit (us, ms, s, m, h), such as {example}"
        bounds = f"must be {word}between {low} and {high}"
        inside = f"duration(self) >= duration('{low}') && duration(self) <= duration('{high}')"
        super().__init__(
            f"auto|{DURATION}" if auto else DURATION,
            message,
            16,
            (rule(f"!self.matches('^{DURATION}$') || ({inside})", bounds),),
        )
        object.__setattr__(self, "bounds", (parse_duration(low), parse_duration(high), bounds))

    bounds: tuple[float, float, str]

    def check(self, value: str) -> str:
        super().check(value)
        low, high, message = self.bounds
        if value != "auto" and not low <= parse_duration(value) <= high:
            raise ValueError(message)
        return value


DECIMAL = "[0-9]{1,6}([.][0-9]{1,6})?"


class Number(Text):
    """A decimal number within bounds, as a string: floats do not survive server-side apply unchanged."""

    def __init__(self, low: str, high: str, example: str) -> None:
        message = f'must be a decimal number in quotes, such as "{example}"'
        bounds = f"must be between {low} and {high}"
        inside = f"double(self) >= {float(low)!r} && double(self) <= {float(high)!r}"
        super().__init__(DECIMAL, message, 16, (rule(f"!self.matches('^{DECIMAL}$') || ({inside})", bounds),))
        object.__setattr__(self, "bounds", (float(low), float(high), bounds))

    bounds: tuple[float, float, str]

    def check(self, value: str) -> str:
        super().check(value)
        low, high, message = self.bounds
        if not low <= float(value) <= high:
            raise ValueError(message)
        return value


LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
SUBDOMAIN = f"{LABEL}([.]{LABEL})*"

ObjectName = Annotated[
    str, Text(SUBDOMAIN, "must be the name of an object: lower case letters, digits, . and -", 253)
]
NamespaceName = Annotated[
    str, Text(LABEL, "must be the name of a namespace: lower case letters, digits and -", 63)
]
ClassName = Annotated[
    str,
    Text(SUBDOMAIN, "must be the name of an AcceleratorClass: lower case letters, digits, . and -", 63),
]
Hostname = Annotated[
    str, Text(f"([*][.])?{SUBDOMAIN}", "must be a host name such as minilm.example.com or *.example.com", 253)
]
Sha256 = Annotated[
    str, Text("[0-9a-f]{64}", "must be a SHA-256 digest: 64 hexadecimal digits in lower case", 128)
]
Image = Annotated[
    str,
    Text(
        "[a-z0-9][-a-zA-Z0-9._:/@]*",
        "must be a container image such as registry.example.com/team/image:1.0",
        512,
    ),
]
Quantity = Annotated[
    str,
    Text(
        "[0-9]{1,12}([.][0-9]{1,3})?(k|M|G|T|Ki|Mi|Gi|Ti)?",
        "must be a size such as 64Mi or 24G (suffixes k, M, G, T, Ki, Mi, Gi, Ti)",
        24,
    ),
]
Metadata = Annotated[dict[str, Any], WithJsonSchema({"type": "object"})]
"""The API server knows it already: a schema must not describe it, only rules may speak of its name"""
Line = Annotated[str, Field(max_length=1024)]
"""Free text, bounded"""

SCHEMES = ("s3", "gs", "az", "hf", "https", "oci", "pvc")
_SCHEMES = ", ".join(f"{s}://" for s in SCHEMES[:-1]) + f" or {SCHEMES[-1]}://"
Uri = Annotated[
    str,
    Text(
        f"({'|'.join(SCHEMES)})://[!-~]+",
        f"must be a URI without spaces that starts with {_SCHEMES}",
        2048,
        (
            rule(
                "!self.matches('^(https|s3|gs|az|oci)://[^/?#]*@')",
                "must not carry a user name or password; name a Secret in credentialsSecret instead",
            ),
            rule(
                "!self.startsWith('hf://') || self.matches('^hf://[^/@]+/[^/@]+(@[^/]+)?(/.*)?$')",
                "must look like hf://organisation/repository@revision/file",
            ),
            rule(
                "!self.startsWith('pvc://') || self.matches('^pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/.*)?$')",
                "must look like pvc://claim-name/path",
            ),
            rule("!self.matches('/[.][.](/|$)')", "must not contain /../"),
        ),
    ),
]

"""One spelling per value, the API server's own: what is applied twice must read as unchanged the second time.

Server-side apply compares what is sent with what is stored. An empty list, a null or `1024Mi` where the
server stores `1Gi` looks like a difference for ever, and each write wakes the watch that caused it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from decimal import ROUND_UP, Decimal, localcontext
from typing import Any

from seawall.api.units import parse_quantity
from seawall.desired.names import APPLIED_ANNOTATION

_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = ("n", "u", "m", "", "k", "M", "G", "T", "P", "E")


def canonical_json(value: Any) -> str:
    """The same text for the same value; refuses what JSON cannot say (NaN, infinities, foreign types)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def without_empties(value: Any) -> Any:
    """Drops null, {}, [] and what becomes empty by that, at every depth. Zero, false and "" stay."""
    if isinstance(value, Mapping):
        pruned = {key: without_empties(item) for key, item in value.items()}
        return {key: item for key, item in pruned.items() if not _empty(item)}
    if isinstance(value, list | tuple):
        return [item for item in map(without_empties, value) if not _empty(item)]
    return value


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, dict | list) and not value)


def stamped(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with its own digest in the annotation `applied`. Stamping again changes nothing."""
    meta = dict(manifest["metadata"])
    annotations = dict(meta.pop("annotations", None) or {})
    annotations.pop(APPLIED_ANNOTATION, None)
    plain = {**manifest, "metadata": {**meta, "annotations": annotations}}
    annotations[APPLIED_ANNOTATION] = digest(plain)
    return {**manifest, "metadata": {**meta, "annotations": annotations}}


def covers(live: Any, desired: Any) -> bool:
    """Whether the live object says everything that the desired one says.

    Maps may have more keys and lists of named things more elements (defaults, other people's fields).
    A desired zero value counts as said when the key is absent: Go drops those when it answers.
    """
    if isinstance(desired, Mapping):
        if not isinstance(live, Mapping):
            return False
        return all(covers(live[k], v) if k in live else _zero(v) for k, v in desired.items())
    if isinstance(desired, list | tuple):
        return isinstance(live, list | tuple) and _list_covers(live, desired)
    return type(live) is type(desired) and bool(live == desired)


def _zero(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_zero(item) for item in value.values())
    return value is None or value in (False, 0, "") or value == []


_LIST_KEYS = (("name",), ("containerPort", "protocol"), ("port", "protocol"), ("mountPath",), ("uid",))


def _list_covers(live: Sequence[Any], desired: Sequence[Any]) -> bool:
    for keys in _LIST_KEYS:
        if desired and all(isinstance(item, Mapping) and all(k in item for k in keys) for item in desired):
            return _named_list_covers(live, desired, keys)
    return len(live) == len(desired) and all(
        covers(mine, wanted) for mine, wanted in zip(live, desired, strict=True)
    )


def _named_list_covers(live: Sequence[Any], desired: Sequence[Any], keys: Sequence[str]) -> bool:
    known = {tuple(item.get(k) for k in keys): item for item in live if isinstance(item, Mapping)}
    return all(
        (found := known.get(tuple(item[k] for k in keys))) is not None and covers(found, item)
        for item in desired
    )


def canonical_quantity(value: str | int | float) -> str:
    """As resource.Quantity prints it: `1000m` is `1`, `1024Mi` is `1Gi`, `0.5` is `500m`.

    Raises ValueError for what is not a quantity.
    """
    text = str(value)
    with localcontext() as context:
        context.prec = 60
        amount = parse_quantity(text)
        amount = amount.quantize(Decimal("1e-9"), rounding=ROUND_UP)
        if text.endswith("i") and abs(amount) >= 1024 and amount == amount.to_integral_value():
            return _with_suffix(int(amount), 1024, _BINARY)
        if "e" in text.lower().rstrip("i") and not text.endswith(("E", "Ei")):
            return _with_exponent(amount)
        return _with_suffix(int(amount.scaleb(9)), 1000, _DECIMAL)


def _factors(number: int, base: int, most: int) -> tuple[int, int]:
    """How often `base` divides the number, and what is left."""
    times = 0
    while number and number % base == 0 and times < most:
        number //= base
        times += 1
    return number, times


def _with_suffix(number: int, base: int, suffixes: Sequence[str]) -> str:
    if number == 0:
        return "0"
    number, times = _factors(number, base, len(suffixes) - 1)
    return f"{number}{suffixes[times]}"


def _with_exponent(amount: Decimal) -> str:
    number = int(amount.scaleb(9))
    if number == 0:
        return "0"
    number, times = _factors(number, 1000, 100)
    exponent = 3 * times - 9
    return f"{number}e{exponent}" if exponent else str(number)

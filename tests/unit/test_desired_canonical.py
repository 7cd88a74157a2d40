"""One spelling per value, as the API server prints it."""

from __future__ import annotations

import pytest

from seawall.desired.canonical import canonical_json, canonical_quantity, covers, stamped, without_empties
from seawall.desired.names import APPLIED_ANNOTATION

QUANTITIES = {
    "1000m": "1", "1500m": "1500m", "0.5": "500m", "1.0": "1", "0": "0", "100": "100", "0.0001m": "100n",
    "1024Mi": "1Gi", "1000Mi": "1000Mi", "1.5Gi": "1536Mi", "0.5Ki": "512", "0.1Gi": "107374182400m",
    "1500k": "1500k", "1000k": "1M", "1E": "1E", "1Ei": "1Ei", "1e3": "1e3", "1e4": "10e3", "12e6": "12e6",
    "-1": "-1", "+5": "5",
}  # fmt: skip


@pytest.mark.parametrize(("given", "printed"), QUANTITIES.items(), ids=str)
def test_quantities_are_spelled_as_the_api_server_prints_them(given: str, printed: str) -> None:
    assert canonical_quantity(given) == printed
    assert canonical_quantity(printed) == printed


@pytest.mark.parametrize("text", ["", "a", "1 Gi", "1gi", "1mi", "--1", "1Gi1", "NaN", "1e", "0x1"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="quantity"):
        canonical_quantity(text)


@pytest.mark.parametrize(("given", "printed"), [(2, "2"), (1.5, "1500m")])
def test_numbers_become_text(given: float, printed: str) -> None:
    assert canonical_quantity(given) == printed


def test_empties_go_and_zeros_stay() -> None:
    value = {"a": None, "b": {}, "c": [], "d": {"e": None}, "f": 0, "g": False, "h": "", "i": [{}, {"j": 1}]}
    assert without_empties(value) == {"f": 0, "g": False, "h": "", "i": [{"j": 1}]}


def test_canonical_json_refuses_what_json_cannot_say() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": float("nan")})
    assert canonical_json({"b": 1, "a": "é"}) == '{"a":"\\u00e9","b":1}'


def test_stamping_again_changes_nothing_and_any_change_changes_the_stamp() -> None:
    plain = {"kind": "Service", "metadata": {"name": "a", "annotations": {"x": "y"}}, "spec": {"b": 1}}
    once = stamped(plain)
    assert stamped(once) == once
    assert once["metadata"]["annotations"]["x"] == "y"
    assert APPLIED_ANNOTATION not in plain["metadata"]["annotations"]
    other = stamped({**plain, "spec": {"b": 2}})
    assert (
        other["metadata"]["annotations"][APPLIED_ANNOTATION]
        != once["metadata"]["annotations"][APPLIED_ANNOTATION]
    )


COVERED = {
    "equal": ({"a": 1}, {"a": 1}, True),
    "the live object has more": ({"a": 1, "b": 2}, {"a": 1}, True),
    "a value differs": ({"a": 2}, {"a": 1}, False),
    "a key is missing": ({}, {"a": 1}, False),
    "false is what Go leaves out": ({}, {"hostNetwork": False}, True),
    "an empty string is what Go leaves out": ({}, {"value": ""}, True),
    "true is not 1": ({"a": 1}, {"a": True}, False),
    "a list is shorter": ({"a": [1]}, {"a": [1, 2]}, False),
    "an atomic list is longer": ({"a": [1, 2]}, {"a": [1]}, False),
    "a named list has more": ({"a": [{"name": "x", "d": 1}, {"name": "y"}]}, {"a": [{"name": "x"}]}, True),
    "a named element is gone": ({"a": [{"name": "y"}]}, {"a": [{"name": "x"}]}, False),
    "a port was changed": (
        {"ports": [{"port": 8000, "protocol": "TCP", "targetPort": 1}]},
        {"ports": [{"port": 8000, "protocol": "TCP", "targetPort": "http"}]},
        False,
    ),
    "an object became a list": ({"a": []}, {"a": {"b": 1}}, False),
}


@pytest.mark.parametrize(("live", "desired", "expected"), COVERED.values(), ids=COVERED.keys())
def test_covering(live: object, desired: object, expected: bool) -> None:
    assert covers(live, desired) is expected

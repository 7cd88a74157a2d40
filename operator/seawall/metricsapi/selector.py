"""Label selectors as a query string carries them: what a caller narrows an answer down with."""

from __future__ import annotations

import re
from collections.abc import Mapping

LIMIT = 1000
"""characters; what an autoscaler sends has some forty"""

_NAME = r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
_REQUIREMENT = re.compile(
    rf"\s*(?:!\s*(?P<absent>{_NAME})"
    rf"|(?P<key>{_NAME})(?:\s*(?P<sign>==?|!=)\s*(?P<value>{_VALUE})"
    rf"|\s+(?P<word>in|notin)\s*\((?P<values>\s*{_VALUE}\s*(?:,\s*{_VALUE}\s*)*)\))?)\s*(?:,|$)"
)


class BadSelector(ValueError):
    """The text is no label selector."""


def selects(text: str, labels: Mapping[str, str]) -> bool:
    """Whether the selector picks something with these labels; an empty one picks everything."""
    if len(text) > LIMIT:
        raise BadSelector(f"a selector of more than {LIMIT} characters is not read")
    text, verdict, at = text.strip(), True, 0
    while at < len(text):
        requirement = _REQUIREMENT.match(text, at)
        if requirement is None:
            raise BadSelector(f"{text!r} is not a label selector")
        verdict = _holds(requirement, labels) and verdict
        at = requirement.end()
    return verdict


def _holds(requirement: re.Match[str], labels: Mapping[str, str]) -> bool:
    if requirement["absent"]:
        return requirement["absent"] not in labels
    mine = labels.get(requirement["key"])
    if requirement["sign"]:
        return (mine == requirement["value"]) is (requirement["sign"] != "!=")
    if requirement["word"]:
        listed = {value.strip() for value in requirement["values"].split(",")}
        return (mine in listed) is (requirement["word"] == "in")
    return mine is not None

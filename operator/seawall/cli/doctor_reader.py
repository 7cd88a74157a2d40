"""The one door through which `seawall doctor` looks at a cluster: it reads, and asks who may do what.

A refusal is an answer like any other, so that each check can say what it could not see.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol
from urllib.parse import urlencode

from seawall.cli.services import SECONDS, ClusterError, connect

State = Literal["Found", "Absent", "Forbidden", "Failed"]
PAGE = 500
Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reading:
    state: State
    data: Manifest = field(default_factory=dict)
    message: str = ""

    @property
    def items(self) -> list[Manifest]:
        return list(self.data.get("items") or ())


@dataclass(frozen=True, slots=True)
class Right:
    """One thing that somebody may or may not do."""

    group: str
    resource: str
    verb: str
    namespace: str | None = None

    def __str__(self) -> str:
        name = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {name}"


class Reader(Protocol):
    def get(self, path: str, **query: str) -> Reading: ...

    def allowed(self, user: str, rights: Sequence[Right]) -> Reading | dict[Right, bool]:
        """Which of the rights the user has, or why that cannot be told."""


class ClusterReader:
    """The real one. Raises ClusterError where there is no cluster to talk to."""

    def __init__(self, context: str | None = None) -> None:
        from kubernetes import client, config  # noqa: PLC0415

        try:
            connect(config, context)
        except (config.ConfigException, OSError, ValueError) as error:
            raise ClusterError(f"no usable kubeconfig: {error}") from error
        self._api = client.ApiClient()

    @property
    def address(self) -> str:
        return str(self._api.configuration.host)

    def get(self, path: str, **query: str) -> Reading:
        """Lists are read to their end."""
        first = self._call("GET", path, query)
        items, following = first.items, (first.data.get("metadata") or {}).get("continue")
        while following:
            page = self._call("GET", path, query | {"limit": str(PAGE), "continue": following})
            if page.state != "Found":
                return page
            items += page.items
            following = (page.data.get("metadata") or {}).get("continue")
        return Reading(first.state, {**first.data, "items": items}, first.message) if items else first

    def allowed(self, user: str, rights: Sequence[Right]) -> Reading | dict[Right, bool]:
        found: dict[Right, bool] = {}
        for right in rights:
            answer = self._call(
                "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {}, _review(user, right)
            )
            if answer.state != "Found":
                return answer
            found[right] = bool(answer.data["status"].get("allowed"))
        return found

    def _call(self, method: str, path: str, query: dict[str, str], body: Manifest | None = None) -> Reading:
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        url = f"{self.address}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        try:
            answer = self._api.rest_client.request(method, url, headers, body, _request_timeout=SECONDS)
            raw = answer.read()
        except (HTTPError, OSError) as error:
            return Reading("Failed", message=f"the API server does not answer: {error}")
        return _reading(int(answer.status), raw)


def _reading(status: int, raw: bytes) -> Reading:
    try:
        data = json.loads(raw)
    except ValueError:
        data = None
    message = (
        str(data.get("message", "")) if isinstance(data, dict) else raw[:200].decode(errors="replace").strip()
    )
    if status in (401, 403):
        return Reading("Forbidden", message=message)
    if status == 404:
        return Reading("Absent", message=message)
    if status >= 300 or not isinstance(data, dict):
        return Reading("Failed", message=f"HTTP {status}: {message}")
    return Reading("Found", data)


def _review(user: str, right: Right) -> Manifest:
    resource, _, subresource = right.resource.partition("/")
    asked = {
        "group": right.group,
        "resource": resource,
        "subresource": subresource,
        "verb": right.verb,
        "namespace": right.namespace or "",
    }
    _, _, namespace, _ = user.split(":")
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": groups, "resourceAttributes": {k: v for k, v in asked.items() if v}},
    }


__all__ = ["ClusterReader", "Manifest", "Reader", "Reading", "Right"]

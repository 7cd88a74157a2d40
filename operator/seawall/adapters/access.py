"""Whose a token is and what its owner may do, asked of the API server."""

from __future__ import annotations

from typing import Any

from seawall.adapters.kube import KubeCluster
from seawall.adapters.problems import problem
from seawall.ports import Caller

AUTHENTICATION, AUTHORIZATION = "authentication.k8s.io/v1", "authorization.k8s.io/v1"


class KubeAccess:
    """Implements seawall.ports.Access."""

    def __init__(self, cluster: KubeCluster) -> None:
        self._cluster = cluster

    async def caller(self, token: str) -> Caller | None:
        status = await self._review(AUTHENTICATION, "TokenReview", {"token": token})
        user = status.get("user") or {}
        if status.get("authenticated") is not True or not user.get("username"):
            return None
        return Caller(
            name=user["username"],
            uid=user.get("uid", ""),
            groups=tuple(user.get("groups") or ()),
            extra=user.get("extra") or {},
        )

    async def may_get(self, caller: Caller, path: str) -> bool:
        spec = {
            "user": caller.name,
            "uid": caller.uid,
            "groups": list(caller.groups),
            "extra": dict(caller.extra),
            "nonResourceAttributes": {"path": path, "verb": "get"},
        }
        status = await self._review(AUTHORIZATION, "SubjectAccessReview", spec)
        return status.get("allowed") is True

    async def _review(self, api_version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        body = {"apiVersion": api_version, "kind": kind, "spec": spec}
        answer = await self._cluster.call("POST", "create", api_version, kind, "", body=body)
        if not answer.ok:
            raise problem(answer, f"create a {kind}")
        status: dict[str, Any] = answer.data.get("status") or {}
        return status

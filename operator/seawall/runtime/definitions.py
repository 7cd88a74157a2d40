"""Whether the operator can start at all: our kinds are defined, and this account may list them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from seawall.ports import ApiRejected, ApiUnavailable, Cluster
from seawall.runtime.kinds import CRD_NAMES, CUSTOM, Kind

logger = logging.getLogger(__name__)
NOBODYS = "app.kubernetes.io/managed-by=nobody"
"""Asks whether a kind can be listed, without listing it."""


class CannotStart(Exception):
    """In one sentence, why."""


async def check_definitions(cluster: Cluster, namespaces: Sequence[str]) -> None:
    """Waits for an API server that does not answer; raises CannotStart on one that refuses."""
    for kind, name in zip(CUSTOM, CRD_NAMES, strict=True):
        scope = next(iter(namespaces), None) if kind.namespaced else None
        while not await _defined(cluster, kind, name, scope):  # noqa: ASYNC110 - the API server is waited for
            await asyncio.sleep(1)


async def _defined(cluster: Cluster, kind: Kind, name: str, scope: str | None) -> bool:
    try:
        await cluster.list(kind.api_version, kind.kind, scope, NOBODYS)
    except ApiRejected as refused:
        raise CannotStart(
            f"{kind.kind} cannot be listed ({refused.message}); is the CustomResourceDefinition {name}"
            " installed (`seawall crd | kubectl apply -f -`) and may this account list it?"
        ) from refused
    except ApiUnavailable as trouble:
        logger.warning("comes back later: %s", trouble)
        return False
    return True

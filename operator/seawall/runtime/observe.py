"""The read phase: everything that one decision needs, from the store where it can, else from the API."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from pydantic import ValidationError

from seawall.api.v1alpha1 import InferenceServiceSpec
from seawall.decide.types import Assessment, Budget, Capabilities, Key, Manifest, ObjectRef, Observed, Windows
from seawall.desired.canonical import canonical_json
from seawall.desired.inputs import Platform, referenced_objects
from seawall.desired.names import SERVICE_LABEL
from seawall.ports import ApiRejected, Clock, Cluster, ModelConfigSchema
from seawall.runtime.kinds import AUTOSCALERS, BUILD, CHILDREN, MONITORS, SERVICE, Kind
from seawall.runtime.reading import accelerator_name
from seawall.runtime.route_reader import read_routes
from seawall.runtime.store import Store
from seawall.runtime.survey import Survey

UNREADABLE = "unreadable"


class StoredBuilds(Mapping[str, Manifest]):
    """The namespace's builds by name, each read only when it is asked for."""

    def __init__(self, store: Store, namespace: str) -> None:
        self._store = store
        self._namespace = namespace

    def __getitem__(self, name: str) -> Manifest:
        found = self._store.get(BUILD, self._namespace, name)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._store.builds_in(self._namespace))

    def __len__(self) -> int:
        return len(self._store.builds_in(self._namespace))


def told(
    store: Store,
    key: Key,
    service: Manifest,
    platform: Platform,
    now: datetime,
    capabilities: Capabilities,
) -> Observed:
    """What the store alone knows of a service."""
    return Observed(
        service=service,
        platform=platform,
        now=now,
        accelerator=store.accelerator(accelerator_name(service)),
        shared=store.shared(key.namespace),
        builds=StoredBuilds(store, key.namespace),
        capabilities=capabilities,
        **_fields(store.children(key)),
    )


class Scales(Protocol):
    """What the scaler has made public of one service."""

    def shown(self, key: Key) -> tuple[Mapping[str, Assessment], Budget | None]: ...

    def windows(self, key: Key) -> Windows: ...


class Observer:
    def __init__(
        self,
        *,
        cluster: Cluster,
        store: Store,
        schema: ModelConfigSchema,
        clock: Clock,
        platform: Platform,
        survey: Survey,
        scales: Scales,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._schema = schema
        self._clock = clock
        self._platform = platform
        self._survey = survey
        self._scales = scales

    async def stored(self, key: Key, service: Manifest) -> Observed:
        """What the watch has told; asks the API for Secrets, ConfigMaps and routes that the spec names."""
        spec = service.get("spec") or {}
        assessments, budget = self._scales.shown(key)
        known = told(self._store, key, service, self._platform, self._clock.now(), self._survey.capabilities)
        routes = await read_routes(self._cluster, service, known.services, known.capabilities)
        return replace(
            known,
            routes=routes.found,
            route_problems=routes.problems,
            references=await self._references(key.namespace, spec),
            config_problem=self._config_problem(spec),
            assessments=assessments,
            budget=budget,
            windows=self._scales.windows(key),
        )

    def again(self, key: Key, observed: Observed) -> Observed:
        """The same service with its children as the store holds them now; asks nobody."""
        return replace(
            observed,
            live=False,
            verification=None,
            answers=None,
            shared=self._store.shared(key.namespace),
            **_fields(self._store.children(key)),
        )

    async def live(self, key: Key, observed: Observed) -> Observed | None:
        """The same with the service and its children read now: a LIST for each kind of child, and its routes.

        None when the service is gone or another one of its name has come.
        """
        ref = ObjectRef(SERVICE.api_version, SERVICE.kind, key.namespace, key.name)
        service, found = await asyncio.gather(
            self._cluster.get(ref), asyncio.gather(*(self._listed(kind, key) for kind in CHILDREN))
        )
        if service is None or service["metadata"]["uid"] != observed.service["metadata"]["uid"]:
            return None
        by_kind = {kind.kind: items for kind, items in zip(CHILDREN, found, strict=True)}
        routes = await read_routes(self._cluster, service, by_kind["Service"], self._survey.capabilities)
        return replace(
            observed,
            service=service,
            live=True,
            now=self._clock.now(),
            routes=routes.found,
            route_problems=routes.problems,
            **_fields(by_kind),
        )

    async def _listed(self, kind: Kind, key: Key) -> Sequence[Manifest]:
        if not self._survey.serves(kind):
            return ()
        selector = f"{SERVICE_LABEL}={key.name}"
        items, _ = await self._cluster.list(kind.api_version, kind.kind, key.namespace, selector)
        return items

    async def _references(
        self, namespace: str, spec: Mapping[str, Any]
    ) -> Mapping[tuple[str, str], str | None]:
        model = spec.get("model") or {}
        if not spec.get("podTemplate") and not model.get("credentialsSecret"):
            return {}
        try:
            named = sorted(referenced_objects(InferenceServiceSpec.model_validate(spec)))
        except ValidationError:
            return {}  # the plan refuses this spec, whatever it names
        digests = await asyncio.gather(*(self._digest(namespace, kind, name) for kind, name in named))
        return dict(zip(named, digests, strict=True))

    async def _digest(self, namespace: str, kind: str, name: str) -> str | None:
        try:
            content = await self._cluster.get(ObjectRef("v1", kind, namespace, name))
        except ApiRejected:
            return UNREADABLE
        if content is None:
            return None
        parts = {part: content[part] for part in ("data", "binaryData") if content.get(part)}
        return hashlib.sha256(canonical_json(parts).encode()).hexdigest()

    def _config_problem(self, spec: Mapping[str, Any]) -> str | None:
        override = (spec.get("model") or {}).get("config")
        return self._schema.problem(override) if override else None


def _fields(by_kind: Mapping[str, Sequence[Manifest]]) -> dict[str, Any]:
    return {
        "deployments": by_kind["Deployment"],
        "services": by_kind["Service"],
        "disruption_budgets": by_kind["PodDisruptionBudget"],
        "pods": by_kind["Pod"],
        "autoscalers": [live for kind in AUTOSCALERS for live in by_kind[kind.kind]],
        "monitors": [live for kind in MONITORS for live in by_kind[kind.kind]],
    }

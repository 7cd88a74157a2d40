"""The read phase of a build: from the store; its pod is asked how far it is, and before it goes, the API."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from seawall.decide import build_pods
from seawall.decide.build_status import FINAL
from seawall.decide.types import Key, Manifest, ObjectRef, ObservedBuild
from seawall.desired.build_job import BuildSettings
from seawall.desired.names import BUILD_LABEL
from seawall.ports import Builds, Clock, Cluster
from seawall.runtime.kinds import BUILD, DEPLOYMENT, JOB, POD, SERVICE, Kind
from seawall.runtime.store import Store
from seawall.runtime.uses import build_named


class BuildObserver:
    def __init__(
        self, cluster: Cluster, store: Store, builds: Builds, clock: Clock, settings: BuildSettings
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._builds = builds
        self._clock = clock
        self._settings = settings

    async def stored(self, key: Key, build: Manifest) -> ObservedBuild:
        children = self._store.children(key)
        jobs = children[JOB.kind]
        observed = ObservedBuild(
            build=build,
            settings=self._settings,
            now=self._clock.now(),
            job=jobs[0] if jobs else None,
            pods=children[POD.kind],
            in_use=self._store.uses.any(key),
        )
        pod = build_pods.active(observed.pods)
        address = build_pods.progress_address(pod) if pod else None
        if address is None or (build.get("status") or {}).get("phase") in FINAL:
            return observed
        return replace(observed, progress=await self._builds.progress(address))

    async def live(self, key: Key, observed: ObservedBuild) -> ObservedBuild | None:
        """The same, read now; None when the build is gone or another one of its name has come."""
        ref = ObjectRef(BUILD.api_version, BUILD.kind, key.namespace, key.name)
        label = f"{BUILD_LABEL}={key.name}"
        build, jobs, pods, services, deployments = await asyncio.gather(
            self._cluster.get(ref),
            self._listed(JOB, key.namespace, label),
            self._listed(POD, key.namespace, label),
            self._listed(SERVICE, key.namespace),
            self._listed(DEPLOYMENT, key.namespace, DEPLOYMENT.selector),
        )
        if build is None or build["metadata"]["uid"] != observed.build["metadata"]["uid"]:
            return None
        named = {build_named(SERVICE, s) for s in services} | {
            build_named(DEPLOYMENT, d) for d in deployments
        }
        return replace(
            observed,
            build=build,
            job=jobs[0] if jobs else None,
            pods=pods,
            in_use=key.name in named,
            now=self._clock.now(),
            live=True,
        )

    async def _listed(self, kind: Kind, namespace: str, selector: str = "") -> list[Manifest]:
        items, _ = await self._cluster.list(kind.api_version, kind.kind, namespace, selector)
        return list(items)

"""A proven and measured result as an artefact: laid out by kind, told by its manifest, published once."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from seawall.optimize import publish, report, versions
from seawall.optimize.bench import Bench, Candidate, Prepared
from seawall.optimize.forms import Formed, formed
from seawall.optimize.types import Artifact, BuildOrder, PresetResult, Profile, Target

LONGEST_VERSION = 64
"""of a status field"""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where results go."""

    store: publish.Store
    signer: publish.Signer | None = None
    trusted: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What the store knows of a finished build."""

    artifact: Artifact
    result: Mapping[str, Any]
    versions: Mapping[str, str]


def deliver(
    bench: Bench,
    prepared: Prepared,
    made: Candidate,
    result: PresetResult,
    delivery: Delivery,
    *,
    lost: Sequence[PresetResult] = (),
    baseline: Profile | None = None,
) -> PresetResult:
    """The result with its artefact. Raises Refused and Passing."""
    form = formed(bench, prepared, made)
    result = _with_form(result, form)
    order, digests = bench.order, prepared.digests
    kind = str(form.layout["kind"])
    told = report.build_json(
        result, lost, prepared.fetched.sha256, order.target, baseline=baseline, kind=kind
    )
    manifest = publish.Manifest(
        key=publish.key(_asked(order, form), digests),
        layout=form.layout,
        request=asdict(_without_signatures(order)),
        inputs=digests,
        versions=_versions(order.target, result, form.layout),
        stages=[replace(stage, detail=report.finite(stage.detail)) for stage in result.stages],
        result=told,
    )
    artifact = publish.publish(form.folder, manifest, delivery.store, delivery.signer, delivery.trusted)
    shutil.rmtree(form.folder)
    return replace(result, artifact=artifact)


def known(order: BuildOrder, digests: Mapping[str, str], delivery: Delivery) -> Known | None:
    """The artefact that an earlier build of the same request published. Raises Refused and Passing."""
    found = publish.lookup(publish.key(order, digests), delivery.store, delivery.trusted)
    if found is None:
        return None
    artifact, published = found
    return Known(artifact, published.predicate["result"], published.predicate["versions"])


def _with_form(result: PresetResult, form: Formed) -> PresetResult:
    result = replace(result, notes=(*result.notes, *form.notes), stages=(*result.stages, *form.stages))
    if form.engine is None:
        return result
    return replace(result, engine_bytes=form.engine.bytes, engine=form.engine.to_json())


def _asked(order: BuildOrder, form: Formed) -> BuildOrder:
    """A graph for a GPU that no runtime image has touched never answers a request for an engine."""
    if order.target.type != "gpu" or form.layout["kind"] != "onnx":
        return order
    return replace(order, target=replace(order.target, image=None, triton_version=None))


def _without_signatures(order: BuildOrder) -> BuildOrder:
    """The query of a web address may be a signature that opens it; the manifest is for everyone."""
    recipe = order.recipe
    return replace(
        order,
        model=_plain(order.model),
        evaluation=order.evaluation and _plain(order.evaluation),
        calibration=order.calibration and _plain(order.calibration),
        recipe=replace(recipe, data=recipe.data and _plain(recipe.data)) if recipe else None,
    )


def _plain(uri: str) -> str:
    if not uri.startswith(("https://", "http://")):
        return uri
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _versions(target: Target, result: PresetResult, layout: Mapping[str, Any]) -> dict[str, str]:
    """Of everything that touched the result, here and in the interpreters and images that were asked."""
    found = dict(versions.here())
    for stage in result.stages:
        found |= stage.detail.get("versions", {})
    engine, precheck = result.engine or {}, result.precheck or {}
    told = {
        "triton": target.triton_version,
        "tensorrt": engine.get("tensorrt"),
        "gpu": engine.get("gpu"),
        "tensorrt-rtx": precheck.get("builder"),
        "jax": layout.get("jax"),
        "stablehlo": layout.get("stablehlo"),
    }
    return found | {name: str(value)[:LONGEST_VERSION] for name, value in told.items() if value}


@dataclass(frozen=True, slots=True)
class StagesInStore:
    """Costly stages outlive the machine that made them."""

    store: publish.Store

    def load(self, key: str, folder: Path) -> bool:
        return publish.get_stage(key, folder, self.store)

    def save(self, key: str, folder: Path) -> None:
        publish.put_stage(key, folder, self.store)

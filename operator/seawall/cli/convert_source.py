"""Which model a KServe predictor serves, and where it lies, in Seawall's words."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from seawall.cli.convert_part import CannotConvert, Part, Report

FRAMEWORKS = (
    "triton", "onnx", "tensorflow", "pytorch", "sklearn", "xgboost", "lightgbm", "pmml", "paddle",
    "huggingface",
)  # fmt: skip
"""Fields of a predictor from before `model` that say the same in another shape."""
TRITON_FIRST = ("triton", "tensorrt", "onnx")
"""Formats that KServe's own catalogue of runtimes gives to Triton, whose storage is a model repository."""
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
EXPORT = "serve another form of the model: name it with --uri and --format"
NOT_SERVED = {
    "pytorch": f"TorchServe's archives hold no program; save it with torch.export and {EXPORT}",
    "sklearn": f"Triton has no backend for pickled scikit-learn; convert it to ONNX and {EXPORT}",
    "xgboost": f"convert it to ONNX and {EXPORT}",
    "lightgbm": f"convert it to ONNX and {EXPORT}",
    "huggingface": f"KServe's server for this format generates text; export the model to ONNX and {EXPORT}",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was said on the command line."""

    slo: str
    accelerator: str | None = None
    uri: str | None = None
    format: str | None = None
    credentials_secret: str | None = None
    gateway: str | None = None
    hostname: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    spec: dict[str, Any]
    """spec.model"""
    container: Part
    """what else KServe says about the serving container"""


def source(predictor: Part, tritons: Collection[str], wanted: Wanted, report: Report) -> Source:
    """spec.model. Raises CannotConvert where nobody could serve what the manifest names."""
    framework, part = _model(predictor, wanted)
    form = _format(framework, part, tritons, wanted, report)
    uri = _uri(part, wanted, report)
    if form == "repository" and not uri.endswith(("/", *ARCHIVES)):
        uri += "/"
    if form == "onnx" and not uri.endswith((".onnx", "/", *ARCHIVES)):
        uri += "/"
    if form == "tensorflow" and not uri.endswith(("/", *ARCHIVES)):
        uri += "/"
        report.note(
            part.at("storageUri"), "must hold one SavedModel; with several versions name one by --uri"
        )
    if form == "repository":
        report.note(
            part.at("storageUri"),
            "is taken as a Triton repository: of several models the one named as the service is served",
        )
    spec: dict[str, Any] = {"uri": uri, "format": form}
    if wanted.credentials_secret:
        spec["credentialsSecret"] = wanted.credentials_secret
    return Source(spec, part)


def _model(predictor: Part, wanted: Wanted) -> tuple[str, Part]:
    """(framework, the part that describes its container)."""
    named = [name for name in ("model", *FRAMEWORKS) if name in predictor]
    if len(named) > 1:
        raise CannotConvert(f"{predictor.path}: names several models: {', '.join(named)}")
    if not named:
        if wanted.uri and wanted.format:
            return "", _own_container(predictor)
        what = "a container of its own" if "containers" in predictor else "no model"
        raise CannotConvert(f"{predictor.path}: has {what}, and Seawall serves models with Triton; {EXPORT}")
    part = predictor.part(named[0])
    if named[0] != "model":
        return named[0], part
    kind = part.part("modelFormat")
    return str(kind.take("name", "")).lower(), part


def _own_container(predictor: Part) -> Part:
    """Of a server of somebody's own: what it asks for holds for Triton too."""
    containers = predictor.objects("containers")
    index = next((i for i, c in enumerate(containers) if c.get("name") == "kserve-container"), 0)
    own = containers.pop(index) if containers else None
    predictor.put("containers", containers)
    return Part(f"{predictor.at('containers')}[{index}]", own)


def _format(framework: str, part: Part, tritons: Collection[str], wanted: Wanted, report: Report) -> str:
    runtime = part.take("runtime")
    by_triton = runtime is not None and (runtime in tritons or "triton" in str(runtime).lower())
    if runtime is not None and not by_triton:
        report.leave(part.at("runtime"), f"{runtime} is no Triton; the AcceleratorClass names the server")
    if wanted.format:
        return wanted.format
    if by_triton or (runtime is None and framework in TRITON_FIRST):
        single = framework == "onnx" and str(part.rest().get("storageUri", "")).endswith(".onnx")
        return "onnx" if single else "repository"
    if framework in ("onnx", "tensorflow"):
        return framework
    why = NOT_SERVED.get(framework, EXPORT)
    raise CannotConvert(f"{part.path}: nothing in Seawall serves the format {framework or '(none)'}; {why}")


def _uri(part: Part, wanted: Wanted, report: Report) -> str:
    given, storage = part.take("storageUri"), part.part("storage")
    if wanted.uri:
        if given:
            report.note(part.at("storageUri"), f"{given} is replaced by --uri")
        return wanted.uri
    if given is None:
        given = _from_storage(storage, report)
    return _translated(str(given), part.at("storageUri"), report)


def _from_storage(storage: Part, report: Report) -> str:
    """`storage` names an entry of a Secret that says where; sometimes it says so itself."""
    if not storage:
        raise CannotConvert(f"{storage.path}Uri: is missing; give --uri")
    parameters = storage.part("parameters")
    kind, bucket = parameters.take("type"), parameters.take("bucket")
    path = str(storage.take("path", "")).strip("/")
    if kind not in ("s3", "gs") or not bucket:
        raise CannotConvert(f"{storage.path}: does not say the bucket, its Secret does; give --uri")
    key = storage.take("key")
    if key:
        report.leave(
            storage.at("key"), "entries of storage-config are not read; name a Secret by --credentials-secret"
        )
    for _, place in (*parameters.remaining(), *storage.remaining()):
        report.leave(place, "Seawall has no such setting; endpoints stand in the credentials Secret")
    return f"{kind}://{bucket}/{path}"


def _translated(uri: str, path: str, report: Report) -> str:
    parts = urlsplit(uri)
    if parts.scheme == "hf" and ":" in uri.removeprefix("hf://"):
        repository, _, revision = uri.removeprefix("hf://").partition(":")
        return f"hf://{repository}@{revision}"
    if parts.scheme == "https" and (parts.hostname or "").endswith(".blob.core.windows.net"):
        account = (parts.hostname or "").split(".")[0]
        report.note(path, f"the credentials Secret must say AZURE_STORAGE_ACCOUNT_NAME={account}")
        return f"az:/{parts.path}"
    if parts.scheme == "oci":
        report.note(
            path, "KServe runs a container image; Seawall reads an artefact's files: check what it holds"
        )
    if parts.scheme == "https" and parts.path.endswith(".zip"):
        raise CannotConvert(f"{path}: Seawall unpacks no .zip; publish a .tar.gz and give --uri")
    if parts.scheme not in ("s3", "gs", "hf", "pvc", "oci", "https", "az"):
        raise CannotConvert(f"{path}: Seawall does not read {parts.scheme or 'a bare path'}; give --uri")
    return uri


__all__ = ["FRAMEWORKS", "Source", "Wanted", "source"]

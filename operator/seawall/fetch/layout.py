"""A fetched model laid out as a Triton repository: <models>/<name>/config.pbtxt and its version folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seawall.fetch.artifact import Published
from seawall.fetch.modelconfig import IDENTITY_TAGS, as_text, from_text, layered
from seawall.fetch.order import Order
from seawall.fetch.problem import FetchProblem, invalid_config, invalid_model

DEFAULT_BATCH = 8
"""Where neither the spec nor the model's own config names a batch size and the model takes batches."""
CONFIG = "config.pbtxt"
VERSION = "1"


@dataclass(frozen=True, slots=True)
class Identity:
    """What the metrics of these pods are labelled with."""

    namespace: str
    revision: str

    def tags(self, name: str) -> dict[str, str]:
        values = (name, self.namespace, self.revision)
        return {k: v for k, v in zip(IDENTITY_TAGS, values, strict=True) if v}


def lay_out(
    order: Order, fetched: Path, models: Path, identity: Identity, published: Published | None = None
) -> None:
    """Moves what lies in `fetched` below `models`; `published` is the manifest of an artefact.
    Raises FetchProblem."""
    target = models / order.name
    target.mkdir(parents=True)
    if published is not None and order.format in ("pipeline", "stablehlo"):
        config = _published(order, fetched, models, published)
    else:
        config = _FORMATS[order.format](order, fetched, models)
    if order.override.get("name", order.name) != order.name:
        raise invalid_config("name is set by the operator: a model is served under its service's name")
    # Of a model in stages most of the override belongs to the stages, which have it by now.
    override = {} if order.format == "pipeline" else order.override
    final = layered(config, override, {"name": order.name, "metric_tags": identity.tags(order.name)})
    text = as_text(_without_foreign_warmup(final), order.triton_version)
    (target / CONFIG).write_text(text, encoding="utf-8")
    if not any(p.is_dir() and p.name.isdecimal() for p in target.iterdir()):
        raise invalid_model(f"the model {order.name} has no version: no folder with a number for a name")
    readable(models)


def _without_foreign_warmup(config: dict[str, Any]) -> dict[str, Any]:
    """Our warm-up fits our inputs and batch size only: an override of either leaves it without effect."""
    most = int(config.get("max_batch_size", 0) or 0)
    names = {io.get("name") for io in config.get("input", ()) if isinstance(io, Mapping)}
    samples = config.get("model_warmup")
    if not isinstance(samples, list) or "input" not in config:
        return config
    kept = [
        s
        for s in samples
        if not isinstance(s, Mapping)
        or (s.get("batch_size", 1) <= max(1, most) and set(s.get("inputs", {})) == names)
    ]
    rest = {k: v for k, v in config.items() if k != "model_warmup"}
    return {**rest, "model_warmup": kept} if kept else rest


def _onnx(order: Order, fetched: Path, models: Path) -> dict[str, Any]:
    from seawall.fetch.onnxmodel import inspect, io_config, natural_batch_size, warmup  # noqa: PLC0415

    version = _moved(fetched, models / order.name / VERSION)
    path = _only(version, ".onnx", "model.onnx")
    signature = inspect(path)
    wanted = layered(order.config, order.override)
    most = wanted.get("max_batch_size")
    if most is None:
        most = natural_batch_size(signature, DEFAULT_BATCH)
    if not isinstance(most, int) or isinstance(most, bool) or most < 0:
        raise invalid_config(f"max_batch_size must be a whole number, not {most!r}")
    own: dict[str, Any] = {"max_batch_size": most}
    if "input" not in order.override or "output" not in order.override:
        own |= io_config(signature, most)
    samples = warmup(signature, most)
    if samples:
        own["model_warmup"] = samples
    return layered(own, order.config)


def _tensorrt(order: Order, fetched: Path, models: Path) -> dict[str, Any]:
    version = _moved(fetched, models / order.name / VERSION)
    plan = _only(version, ".plan", "model.plan")
    if plan.stat().st_size == 0:
        raise invalid_model(f"{plan.name} is empty")
    return dict(order.config)


def _python(order: Order, fetched: Path, models: Path) -> dict[str, Any]:
    """A folder with model.py, or a whole model folder of Triton's with 1/model.py."""
    target = models / order.name
    root = _unwrapped(fetched)
    if (root / VERSION / "model.py").is_file():
        _moved(root, target)
    else:
        _moved(root, target / VERSION)
        own = target / VERSION / CONFIG
        if own.is_file():
            own.rename(target / CONFIG)
    script = target / VERSION / "model.py"
    if not script.is_file():
        single = [p for p in (target / VERSION).glob("*.py") if p.is_file()]
        if len(single) != 1:
            raise invalid_model("there is no model.py in the folder; Triton's python backend needs it")
        single[0].rename(script)
    return layered(_own_config(target / CONFIG), order.config)


def _repository(order: Order, fetched: Path, models: Path) -> dict[str, Any]:
    """One model's folder, taken as the service's model whatever its name; or several, one named so."""
    root = _unwrapped(fetched)
    if _is_model(root):
        _moved(root, models / order.name)
    else:
        found = sorted(p for p in root.iterdir() if p.is_dir() and _is_model(p))
        if not found:
            raise invalid_model(
                "the folder is no Triton repository: no config.pbtxt and no version folder in it"
            )
        if order.name not in {p.name for p in found}:
            known = ", ".join(p.name for p in found)
            raise invalid_model(
                f"the repository holds {known}, but no model named as the service, {order.name}"
            )
        for model in found:
            _moved(model, models / model.name)
    return layered(_own_config(models / order.name / CONFIG), order.config)


def _published(order: Order, fetched: Path, models: Path, published: Published) -> dict[str, Any]:
    """Layouts that only a build makes; each returns the config of the model that the service is named for."""
    if order.format == "pipeline":
        from seawall.fetch.ensemble import lay_out_pipeline  # noqa: PLC0415

        return lay_out_pipeline(order, fetched, models, published.layout)
    from seawall.fetch.stablehlo import lay_out_stablehlo  # noqa: PLC0415

    return lay_out_stablehlo(order, fetched, models, published.layout)


_FORMATS = {"onnx": _onnx, "tensorrt": _tensorrt, "python": _python, "repository": _repository}


def _own_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise invalid_config(f"{CONFIG} of the model is no text: {error}") from error
    return from_text(text, f"{CONFIG} of the model")


def _is_model(folder: Path) -> bool:
    return (folder / CONFIG).is_file() or any(p.is_dir() and p.name.isdecimal() for p in folder.iterdir())


def _unwrapped(folder: Path) -> Path:
    """Archives often hold one folder that holds everything."""
    entries = list(folder.iterdir())
    if len(entries) == 1 and entries[0].is_dir() and not entries[0].name.isdecimal():
        return entries[0]
    return folder


def _moved(source: Path, target: Path) -> Path:
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        entry.rename(target / entry.name)
    return target


def _only(version: Path, suffix: str, name: str) -> Path:
    """The one file of the format, under the name that Triton looks for."""
    root = _unwrapped(version)
    if root != version:
        _moved(root, version)
        root.rmdir()
    files = [p for p in version.iterdir() if p.is_file()]
    found = [p for p in files if p.suffix.lower() == suffix] or (files if len(files) == 1 else [])
    if len(found) != 1:
        raise _ambiguous(version, suffix, len(found))
    return found[0].rename(version / name)


def _ambiguous(version: Path, suffix: str, count: int) -> FetchProblem:
    names = ", ".join(sorted(p.name for p in version.iterdir())[:5]) or "nothing"
    return invalid_model(f"one {suffix} file is needed, {count} are there; fetched were {names}")


def readable(models: Path) -> None:
    """The server may run under another uid, by podTemplate: everything is readable to all."""
    for parent, folders, files in os.walk(models):
        for name in folders:
            Path(parent, name).chmod(0o755)
        for name in files:
            Path(parent, name).chmod(0o644)


def cleared(models: Path) -> None:
    """An init container may run again in the same pod: nothing of an earlier attempt stays."""
    for entry in models.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()

"""The properties of an AcceleratorClass that a build looks at, from the catalogue or a file of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seawall.optimize.types import Target

PRODUCT_LABELS = ("nvidia.com/gpu.product", "cloud.google.com/gke-accelerator")


def target_of(name: str, file: Path | None) -> Target:
    """Raises ValueError and OSError."""
    from seawall.api.accelerator import AcceleratorClass  # noqa: PLC0415
    from seawall.api.units import parse_quantity  # noqa: PLC0415

    known = _classes(file)
    if name not in known:
        raise ValueError(f"there is no AcceleratorClass {name}; known are {', '.join(sorted(known))}")
    spec = AcceleratorClass.model_validate(known[name]).spec
    power, runtime, selector = spec.power, spec.runtime, spec.node_selector or {}
    return Target(
        name=name,
        type=spec.type,
        compute_capability=spec.compute_capability,
        precisions=tuple(spec.precisions or ()),
        memory_bytes=int(parse_quantity(spec.memory)) if spec.memory else None,
        product=next((selector[label] for label in PRODUCT_LABELS if label in selector), None),
        triton_version=runtime.triton_version if runtime else None,
        image=runtime.image if runtime else None,
        idle_watts=_number(power.idle_watts if power else None),
        peak_watts=_number(power.peak_watts if power else None),
        price_per_hour=float(spec.cost.per_hour) if spec.cost else None,
    )


def _number(value: int | None) -> float | None:
    return None if value is None else float(value)


def _classes(file: Path | None) -> dict[str, Any]:
    from seawall.api.catalogue import classes  # noqa: PLC0415
    from seawall.api.validate import problems  # noqa: PLC0415
    from seawall.cli.manifests import load  # noqa: PLC0415

    if file is None:
        return {c["metadata"]["name"]: c for c in classes()}
    found: dict[str, Any] = {}
    for document in load(file.read_text(encoding="utf-8")):
        if not isinstance(document, dict) or document.get("kind") != "AcceleratorClass":
            continue
        wrong = problems(document)
        if wrong:
            raise ValueError(f"{file}: {wrong[0]}")
        found[document["metadata"]["name"]] = document
    if not found:
        raise ValueError(f"{file} holds no AcceleratorClass")
    return found

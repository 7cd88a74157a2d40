"""What a build is told: the order in SEAWALL_BUILD, as `seawall build` reads it."""

from __future__ import annotations

from typing import Any

from seawall.api.modelbuild import BuildAccelerator, ModelBuildSpec
from seawall.api.units import parse_duration, parse_quantity
from seawall.desired.canonical import canonical_json

DEFAULT_BATCH = 8
PRODUCT_LABELS = ("nvidia.com/gpu.product", "cloud.google.com/gke-accelerator")


def build_order(spec: ModelBuildSpec) -> str:
    """Canonical JSON without a dollar sign: Kubernetes expands $(…) in values."""
    compression, accuracy = spec.compression, spec.compression.accuracy if spec.compression else None
    clipping = compression.weight_clipping if compression else None
    batch = spec.model.max_batch_size
    order: dict[str, Any] = {
        "model": spec.model.uri,
        "format": spec.model.format,
        "sha256": spec.model.sha256,
        "target": _target(spec),
        "preset": compression.preset if compression else "none",
        "max_batch_size": DEFAULT_BATCH if batch is None else batch,
        "criterion": {
            "metric": accuracy.metric if accuracy else "cosine",
            "floor": float(accuracy.floor) if accuracy and accuracy.floor else None,
        },
        "evaluation": accuracy.evaluation if accuracy else None,
        "calibration": compression.calibration if compression else None,
        "weight_clipping": round(float(clipping.rstrip("%")) / 100, 10) if clipping else None,
        "recipe": _recipe(spec),
        "allow_unproven": bool(compression and compression.allow_unproven),
        "slo_p99_ms": round(parse_duration(spec.slo.p99) * 1000, 6) if spec.slo else None,
        "instances": 1,
        "pipeline": spec.parallelism.pipeline if spec.parallelism else 1,
        "threads": 1,
        "seed": 0,
    }
    return canonical_json(order).replace("$", "\\u0024")


def _recipe(spec: ModelBuildSpec) -> dict[str, Any] | None:
    training = spec.compression.training if spec.compression else None
    if training is None:
        return None
    return {
        "image": training.image,
        "entrypoint": list(training.entrypoint or ()),
        "data": training.data,
        "epochs": training.epochs,
    }


def _target(spec: ModelBuildSpec) -> dict[str, Any]:
    device = spec.accelerator
    power = device.power
    return {
        "name": device.class_name,
        "type": device.type,
        "compute_capability": device.compute_capability,
        "precisions": list(device.precisions or ()),
        "memory_bytes": int(parse_quantity(device.memory)) if device.memory else None,
        "product": _product(device),
        "triton_version": spec.runtime.triton_version,
        "image": spec.runtime.image,
        "jax_version": spec.runtime.jax_version,
        "idle_watts": _watts(power.idle_watts if power else None),
        "peak_watts": _watts(power.peak_watts if power else None),
        "price_per_hour": None,
    }


def _product(device: BuildAccelerator) -> str | None:
    selector = device.node_selector or {}
    return next((selector[label] for label in PRODUCT_LABELS if label in selector), None)


def _watts(value: int | None) -> float | None:
    return None if value is None else float(value)

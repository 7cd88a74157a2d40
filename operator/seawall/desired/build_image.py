"""Which image runs the phases of a build, by the class, the model's format and what the preset does to it.

PyTorch, nvidia-modelopt and JAX are large and pin each other's libraries, so no image has all of them, and a
cluster without GPUs or TPUs need not hold theirs. What is missing is told before a pod is made.
"""

from __future__ import annotations

from dataclasses import dataclass

from seawall.api.modelbuild import ModelBuildSpec
from seawall.api.presets import FORMATS, may_train, steps
from seawall.desired.build_job import BuildSettings
from seawall.desired.modelbuild import CONVERTED_FORMATS

MISSING = "OptimizerImageMissing"


@dataclass(frozen=True, slots=True)
class NoImage:
    reason: str
    message: str
    final: bool
    """no setting of the administrator would help"""


def image_of(spec: ModelBuildSpec, settings: BuildSettings) -> str | NoImage:
    """The image for GPUs is the trainer's too; the one for TPUs is not."""
    if spec.model.format == "stablehlo":
        return settings.tpu_optimizer_image or _missing("a program of jax.export", "JAX", "tpu")
    converts, trains = spec.model.format in CONVERTED_FORMATS, _trains_here(spec)
    if spec.accelerator.type == "tpu":
        if converts or trains:
            return _without_torch(spec, trains)
        return settings.tpu_optimizer_image or _missing("a model for a TPU", "JAX", "tpu")
    if spec.accelerator.type == "gpu":
        if settings.gpu_optimizer_image:
            return settings.gpu_optimizer_image
        if _quantises(spec):
            return _missing(f"preset {_preset(spec)} for a GPU", "nvidia-modelopt", "gpu")
    return settings.training_image if converts or trains else settings.optimizer_image


def _preset(spec: ModelBuildSpec) -> str:
    return spec.compression.preset if spec.compression else "none"


def _trains_here(spec: ModelBuildSpec) -> bool:
    """Not in an image of the user's own."""
    training = spec.compression.training if spec.compression else None
    return may_train(_preset(spec), training is not None) and not (training and training.image)


def _quantises(spec: ModelBuildSpec) -> bool:
    return any(step == "auto" or step in FORMATS for step in steps(_preset(spec)))


def _missing(what: str, library: str, device: str) -> NoImage:
    return NoImage(
        MISSING,
        f"{what} is built in an image with {library}, and none is configured; an administrator sets"
        f" builds.{device}OptimizerImage in the chart's values",
        final=False,
    )


def _without_torch(spec: ModelBuildSpec, trains: bool) -> NoImage:
    if trains:
        return NoImage(
            "PresetUnsupported",
            f"preset {_preset(spec)} needs PyTorch, which the image that builds for TPUs does not have; use"
            " bf16 or int8, or a recipe in an image of your own (compression.training.image)",
            final=True,
        )
    return NoImage(
        "FormatUnsupported",
        f"format {spec.model.format} is converted by an image that cannot build for TPUs; bring the model as"
        " ONNX or as a program of jax.export",
        final=True,
    )

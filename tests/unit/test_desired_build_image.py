"""Which image runs a build's phases, and the sentence where there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from seawall.api.modelbuild import ModelBuildSpec
from seawall.desired.build_image import MISSING, NoImage, image_of
from seawall.desired.build_job import BuildSettings

ALL = BuildSettings("optimizer:1", "training:1", "s3://artifacts", gpu_optimizer_image="gpu:1",
                    tpu_optimizer_image="tpu:1")  # fmt: skip
PLAIN = replace(ALL, gpu_optimizer_image="", tpu_optimizer_image="")
DATA = {"data": "s3://models/train.npz"}
OWN = {"image": "mine:1", **DATA}


def spec(device: str, preset: str | None, form: str = "onnx", training: Any = None) -> ModelBuildSpec:
    compression: dict[str, Any] | None = None
    if preset is not None:
        compression = {"preset": preset, **({"training": training} if training else {})}
    accelerator = {"class": "c", "type": device}
    return ModelBuildSpec.model_validate(
        {
            "model": {"uri": "s3://models/a", "format": form},
            "accelerator": accelerator if device == "cpu" else {**accelerator, "resourceName": "x.com/d"},
            "runtime": {"image": "triton:1", "tritonVersion": "26.06"},
            "pipelineVersion": 1,
            **({"compression": compression} if compression else {}),
        }
    )


@pytest.mark.parametrize(
    ("asked", "all_images", "without_devices"),
    [
        (spec("cpu", "int8"), "optimizer:1", "optimizer:1"),
        (spec("cpu", "auto"), "optimizer:1", "optimizer:1"),
        (spec("cpu", "auto", training=DATA), "training:1", "training:1"),
        (spec("cpu", "distilled", training=DATA), "training:1", "training:1"),
        (spec("cpu", "pruned+int8", training=OWN), "optimizer:1", "optimizer:1"),
        (spec("cpu", None, "torch"), "training:1", "training:1"),
        (spec("cpu", "int8", "tflite"), "training:1", "training:1"),
        (spec("cpu", None, "stablehlo"), "tpu:1", MISSING),
        (spec("gpu", None), "gpu:1", "optimizer:1"),
        (spec("gpu", None, "torch"), "gpu:1", "training:1"),
        (spec("gpu", "pruned", training=DATA), "gpu:1", "training:1"),
        (spec("gpu", "fp16"), "gpu:1", MISSING),
        (spec("gpu", "sparse24", training=DATA), "gpu:1", MISSING),
        (spec("gpu", "pruned+fp16", training=DATA), "gpu:1", MISSING),
        (spec("gpu", "pruned+fp16", training=OWN), "gpu:1", MISSING),
        (spec("gpu", "auto"), "gpu:1", MISSING),
        (spec("tpu", None), "tpu:1", MISSING),
        (spec("tpu", "bf16"), "tpu:1", MISSING),
        (spec("tpu", None, "stablehlo"), "tpu:1", MISSING),
        (spec("tpu", "pruned+bf16", training=OWN), "tpu:1", MISSING),
        (spec("tpu", "pruned+bf16", training=DATA), "PresetUnsupported", "PresetUnsupported"),
        (spec("tpu", "auto", training=DATA), "PresetUnsupported", "PresetUnsupported"),
        (spec("tpu", "bf16", "torch"), "FormatUnsupported", "FormatUnsupported"),
        (spec("tpu", "pruned", "torch", training=OWN), "FormatUnsupported", "FormatUnsupported"),
    ],
)  # fmt: skip
def test_an_image_or_the_reason_why_there_is_none(
    asked: ModelBuildSpec, all_images: str, without_devices: str
) -> None:
    found = [image_of(asked, settings) for settings in (ALL, PLAIN)]
    assert [f.reason if isinstance(f, NoImage) else f for f in found] == [all_images, without_devices]


@pytest.mark.parametrize(
    ("asked", "words", "final"),
    [
        (
            spec("gpu", "fp16"),
            ("preset fp16 for a GPU", "nvidia-modelopt", "builds.gpuOptimizerImage"),
            False,
        ),
        (spec("tpu", "bf16"), ("JAX", "builds.tpuOptimizerImage"), False),
        (spec("cpu", None, "stablehlo"), ("jax.export", "builds.tpuOptimizerImage"), False),
        (spec("tpu", "pruned", training=DATA), ("pruned", "PyTorch", "compression.training.image"), True),
        (spec("tpu", None, "tflite"), ("tflite", "ONNX"), True),
    ],
)
def test_the_sentence_says_what_to_do(asked: ModelBuildSpec, words: tuple[str, ...], final: bool) -> None:
    found = image_of(asked, PLAIN)
    assert isinstance(found, NoImage)
    assert found.final is final
    assert [word for word in words if word not in found.message] == []

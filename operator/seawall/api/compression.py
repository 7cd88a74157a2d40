"""spec.compression: how a model is made smaller and faster, and how that is proven harmless."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from seawall.api.fields import Image, Line, Model, Number, Text, Uri, checked, rule

Preset = Literal[
    "none", "fp16", "bf16", "int8", "fp8", "int4", "sparse24", "pruned", "distilled", "auto",
    "pruned+fp16", "pruned+bf16", "pruned+int8", "pruned+fp8", "pruned+int4", "pruned+sparse24",
    "distilled+fp16", "distilled+bf16", "distilled+int8", "distilled+fp8", "distilled+int4",
    "distilled+sparse24",
]  # fmt: skip


Clipping = Annotated[
    str,
    Text("9[0-9]([.][0-9]{1,6})?%", "must be a percentage from 90% to 99.999999%, such as 99.99%", 12),
]


class Training(Model):
    """The recipe that fine-tunes a pruned or distilled model."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule("!has(self.entrypoint) || has(self.image)", "entrypoint runs in image: give that", ".image")
        )
    )
    image: Image | None = Field(
        None,
        description="Container image with the training code; the reference recipe for classifiers if absent.",
    )
    entrypoint: list[Line] | None = Field(
        None,
        max_length=64,
        description="Command to run in the image; its own entry point if absent.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    data: Uri | None = Field(None, description="Training data.")
    epochs: int | None = Field(None, ge=1, le=100_000, description="Passes over the data.")


class Accuracy(Model):
    """What a compressed model must still be able to do."""

    metric: Literal["top1", "cosine", "relative-error"] = Field(description="How answers are compared.")
    floor: Annotated[str, Number("0", "1", "0.99")] | None = Field(
        None,
        description='Bound that the metric must keep, such as "0.99"; of relative-error, the largest.',
    )
    evaluation: Uri | None = Field(None, description="Evaluation data (.npz); may carry labels.")


class CompressionSpec(Model):
    """How to make the model smaller and faster."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                "!self.preset.matches('^(pruned|distilled)') || has(self.training)",
                "presets pruned and distilled fine-tune the model: give the recipe in training",
                ".training",
            ),
            rule(
                "!has(self.training) || self.preset.matches('^(pruned|distilled|sparse24|auto)')",
                "training is used by the presets pruned, distilled, sparse24 and auto only",
                ".training",
            ),
            rule(
                "!has(self.weightClipping) || self.preset.matches('(^|[+])int8$')",
                "weightClipping is used by the preset int8 and chains that end in it only",
                ".weightClipping",
            ),
        )
    )
    preset: Preset = Field(
        description="What to do to the model; pruned and distilled may be chained: pruned+int8.",
        max_length=32,
    )
    training: Training | None = None
    allow_unproven: bool = Field(False, description="Serve a result that no evaluation data could prove.")
    accuracy: Accuracy | None = None
    calibration: Uri | None = Field(None, description="Calibration data (.npz).")
    weight_clipping: Clipping | None = Field(
        None,
        description='Share of the weights that int8 keeps exact in range, such as "99.99%"; the rest clips.',
    )

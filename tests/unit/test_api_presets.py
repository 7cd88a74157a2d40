"""Which preset can help on which device."""

from __future__ import annotations

import typing

import pytest

from seawall.api import catalogue, presets
from seawall.api.compression import Preset


@pytest.mark.parametrize(
    ("preset", "device", "capability", "precisions", "word"),
    [
        ("none", "cpu", None, (), None),
        ("int8", "cpu", None, ("fp32", "int8"), None),
        ("auto", "tpu", None, (), None),
        ("pruned", "cpu", None, ("fp32",), None),
        ("fp16", "cpu", None, (), "use int8"),
        ("pruned+fp8", "cpu", None, (), "cannot load fp8"),
        ("int4", "tpu", None, (), "use int8"),
        ("bf16", "tpu", None, ("bf16",), None),
        ("int8", "cpu", None, ("fp32",), "serves fp32 only"),
        ("fp8", "gpu", "8.9", (), None),
        ("fp8", "gpu", "8.6", (), "this GPU has 8.6"),
        ("fp8", "gpu", "10.0", (), None),
        ("fp16", "gpu", None, (), None),
        ("sparse24", "gpu", None, (), "set computeCapability"),
        ("sparse24", "gpu", None, ("sparse24",), None),
        ("distilled+int8", "gpu", "7.0", (), "7.5"),
    ],
)
def test_a_preset_is_refused_where_it_cannot_help(
    preset: str, device: str, capability: str | None, precisions: tuple[str, ...], word: str | None
) -> None:
    found = presets.refusal(preset, device, capability, precisions)
    assert (found is None) if word is None else (found is not None and word in found)


@pytest.mark.parametrize("preset", typing.get_args(Preset))
@pytest.mark.parametrize("manifest", catalogue.classes(), ids=lambda m: m["metadata"]["name"])
def test_every_preset_has_an_answer_on_every_shipped_class(preset: str, manifest: typing.Any) -> None:
    spec = manifest["spec"]
    found = presets.refusal(preset, spec["type"], spec.get("computeCapability"), spec.get("precisions") or ())
    assert found is None or found[0].isalnum()


@pytest.mark.parametrize(
    ("preset", "recipe", "trains"),
    [
        ("pruned", False, True), ("distilled+int8", True, True), ("int8", False, False),
        ("auto", True, True), ("auto", False, False),
    ],
)  # fmt: skip
def test_training_tools_are_needed_for_training_presets(preset: str, recipe: bool, trains: bool) -> None:
    assert presets.may_train(preset, recipe) is trains

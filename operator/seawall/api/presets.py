"""Which preset can help on which device, and the sentence for each that cannot.

One table for both who refuse by it: the operator before anything is built, the build pipeline on a laptop.
A preset that brings nothing is refused and never turned into a neighbour: who asked for fp16 on a CPU would
otherwise get a model that is no faster and believe that it is.
"""

from __future__ import annotations

from collections.abc import Sequence

PIPELINE_VERSION = 1
"""Raised when the same request begins to give another artefact."""

TRAINED = ("pruned", "distilled")
ANYWHERE = ("none", "auto", *TRAINED)
"""What any device may have; auto tries only what the device can do."""
FORMATS = ("fp16", "bf16", "int8", "fp8", "int4", "sparse24")

CPU = {
    "fp16": "CPUs compute fp16 models in fp32 between casts, so fp16 saves storage and no time; use int8",
    "bf16": "ONNX Runtime has no bf16 arithmetic for CPUs; use int8",
    "fp8": "ONNX Runtime cannot load fp8 models on CPUs; use int8",
    "sparse24": "zeros in a pattern shrink neither the file nor the time on CPUs; use pruned, which removes"
    " whole channels",
}
TPU = {
    "fp16": "TPUs compute in bf16; use bf16",
    "fp8": "no fp8 path to TPUs is known to work; use bf16 or int8",
    "int4": "no int4 path to TPUs is known to work; use int8, which stores weights in 8 bits",
    "sparse24": "TPUs have no sparse tensor cores; use bf16 or int8",
}
GPU = {
    "fp16": ("7.5", "TensorRT 11 builds for compute capability 7.5 (Turing) and later"),
    "bf16": ("8.0", "bf16 arithmetic begins with compute capability 8.0 (Ampere)"),
    "int8": ("7.5", "TensorRT 11 builds for compute capability 7.5 (Turing), whose tensor cores take int8"),
    "fp8": ("8.9", "fp8 tensor cores begin with compute capability 8.9 (Ada, Hopper)"),
    "int4": ("8.0", "TensorRT computes int4 weights from compute capability 8.0 (Ampere)"),
    "sparse24": ("8.0", "sparse tensor cores begin with compute capability 8.0 (Ampere)"),
}
MUST_BE_KNOWN = ("bf16", "fp8", "sparse24")
"""What young GPUs alone can do: not assumed of a class that says neither capability nor precisions."""


def steps(preset: str) -> tuple[str, ...]:
    """`pruned+int8` is pruned, then int8."""
    return tuple(preset.split("+"))


def may_train(preset: str, recipe: bool) -> bool:
    """Whether a build needs the training tools; auto and sparse24 train where a recipe is given."""
    return any(step in TRAINED for step in steps(preset)) or (preset in ("auto", "sparse24") and recipe)


def refusal(
    preset: str, device: str, capability: str | None = None, precisions: Sequence[str] = ()
) -> str | None:
    """Why the preset cannot help on a device (gpu, tpu or cpu); None where it may."""
    found = (_refused(step, device, capability, precisions) for step in steps(preset))
    return next((sentence for sentence in found if sentence), None)


def _refused(step: str, device: str, capability: str | None, precisions: Sequence[str]) -> str | None:
    if step in ANYWHERE:
        return None
    never = {"cpu": CPU, "tpu": TPU}.get(device, {}).get(step)
    if never is not None:
        return never
    if device == "gpu" and (missing := _capability(step, capability, precisions)):
        return missing
    if precisions and step not in precisions:
        return f"the accelerator class serves {', '.join(precisions)} only"
    return None


def _capability(step: str, capability: str | None, precisions: Sequence[str]) -> str | None:
    least, reason = GPU[step]
    if capability is None:
        if step in MUST_BE_KNOWN and step not in precisions:
            return f"{reason}, and the accelerator class does not tell its own; set computeCapability"
        return None
    if _version(capability) < _version(least):
        return f"{reason}; this GPU has {capability}"
    return None


def _version(capability: str) -> tuple[int, int]:
    major, _, minor = capability.partition(".")
    return int(major), int(minor or 0)

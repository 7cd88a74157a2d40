"""Which preset can help on which target, and the sentence for each that cannot.

A preset that brings nothing is refused and never turned into a neighbour: who asked for fp16 on a CPU would
otherwise get a model that is no faster and believe that it is.
"""

from __future__ import annotations

from seawall.optimize.types import Refused, Target

STEPS = ("none", "fp16", "bf16", "int8", "fp8", "int4", "sparse24", "pruned", "distilled")
TRAINING = ("pruned", "distilled")

_CPU = {
    "fp16": "CPUs compute fp16 models in fp32 between casts, so fp16 saves storage and no time; use int8",
    "bf16": "ONNX Runtime has no bf16 arithmetic for CPUs; use int8",
    "fp8": "ONNX Runtime cannot load fp8 models on CPUs; use int8",
    "sparse24": "zeros in a pattern shrink neither the file nor the time on CPUs; use pruned, which removes"
    " whole channels",
}
_TPU = {
    "fp16": "TPUs compute in bf16; use bf16",
    "fp8": "no fp8 path to TPUs is known to work; use bf16 or int8",
    "int4": "no int4 path to TPUs is known to work; use int8, which stores weights in 8 bits",
    "sparse24": "TPUs have no sparse tensor cores; use bf16 or int8",
}
_GPU = {
    "fp16": (7.5, "TensorRT 11 builds for compute capability 7.5 (Turing) and later"),
    "bf16": (8.0, "bf16 arithmetic begins with compute capability 8.0 (Ampere)"),
    "int8": (7.5, "TensorRT 11 builds for compute capability 7.5 (Turing), whose tensor cores take int8"),
    "fp8": (8.9, "fp8 tensor cores begin with compute capability 8.9 (Ada, Hopper)"),
    "int4": (8.0, "TensorRT computes int4 weights from compute capability 8.0 (Ampere)"),
    "sparse24": (8.0, "sparse tensor cores begin with compute capability 8.0 (Ampere)"),
}
_MUST_BE_KNOWN = ("bf16", "fp8", "sparse24")
"""What young GPUs alone can do: not assumed of a class that says neither capability nor precisions."""


def steps(preset: str) -> tuple[str, ...]:
    """`pruned+int8` -> pruned, then int8. Raises Refused on a name or an order that means nothing."""
    parts = tuple(preset.split("+"))
    for part in parts:
        if part not in (*STEPS, "auto"):
            raise Refused("PresetUnsupported", f"there is no preset {part!r}; there are {', '.join(STEPS)}")
    if len(parts) > 1 and (
        len(parts) > 2 or parts[0] not in TRAINING or parts[1] in (*TRAINING, "none", "auto")
    ):
        raise Refused(
            "PresetUnsupported",
            f"{preset}: a chain is pruned or distilled, then one number format, such as pruned+int8",
        )
    return parts


def refusal(preset: str, target: Target) -> Refused | None:
    """Why the preset cannot help on the target; None where it may. Data and recipes are not looked at."""
    try:
        parts = steps(preset)
    except Refused as problem:
        return problem
    for part in parts:
        if part in ("none", "auto", *TRAINING):
            continue
        if reason := _format(part, target):
            return Refused("PresetUnsupported", f"{preset} on {target.name}: {reason}")
    return None


def _format(preset: str, target: Target) -> str | None:
    if target.type == "cpu" and preset in _CPU:
        return _CPU[preset]
    if target.type == "tpu" and preset in _TPU:
        return _TPU[preset]
    if target.type == "gpu" and (problem := _capability(preset, target)):
        return problem
    if target.precisions and preset not in target.precisions:
        return f"the accelerator class serves {', '.join(target.precisions)} only"
    return None


def _capability(preset: str, target: Target) -> str | None:
    least, reason = _GPU[preset]
    if target.compute_capability is None:
        if preset in _MUST_BE_KNOWN and preset not in target.precisions:
            return f"{reason}, and the accelerator class does not tell its own; set computeCapability"
        return None
    if _version(target.compute_capability) < _version(str(least)):
        return f"{reason}; this GPU has {target.compute_capability}"
    return None


def _version(capability: str) -> tuple[int, int]:
    major, _, minor = capability.partition(".")
    return int(major), int(minor or 0)


_LADDERS = {
    "cpu": ("none", "int8", "int4"),
    "gpu": ("none", "fp16", "bf16", "int8", "fp8", "int4", "sparse24"),
    "tpu": ("none", "bf16", "int8"),
}
_TRAINED = {
    "cpu": ("pruned", "pruned+int8", "distilled", "distilled+int8"),
    "gpu": ("pruned", "pruned+fp16", "pruned+int8", "distilled", "distilled+fp16", "distilled+int8"),
    "tpu": ("pruned", "pruned+bf16", "distilled", "distilled+bf16"),
}


def ladder(target: Target, training: bool) -> tuple[str, ...]:
    """What `auto` tries, from the mildest to the strongest; presets that cannot help are not on it."""
    rungs = _LADDERS[target.type] + (_TRAINED[target.type] if training else ())
    return tuple(preset for preset in rungs if refusal(preset, target) is None)

"""What a preset's name means to the pipeline: its steps, and the ladder that `auto` climbs.

Which preset can help on which target stands in `seawall.api.presets`, for the operator as for the pipeline.
"""

from __future__ import annotations

from seawall.api import presets
from seawall.optimize.types import Refused, Target

TRAINING = presets.TRAINED
STEPS = ("none", *presets.FORMATS, *TRAINING)


def steps(preset: str) -> tuple[str, ...]:
    """`pruned+int8` -> pruned, then int8. Raises Refused on a name or an order that means nothing."""
    parts = presets.steps(preset)
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
        steps(preset)
    except Refused as problem:
        return problem
    reason = presets.refusal(preset, target.type, target.compute_capability, target.precisions)
    return Refused("PresetUnsupported", f"{preset} on {target.name}: {reason}") if reason else None


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

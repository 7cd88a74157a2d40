"""Which preset is refused on which target, in which words."""

from __future__ import annotations

import pytest

from seawall.optimize.presets import ladder, refusal, steps
from seawall.optimize.types import Refused, Target

CPU, TPU = Target("cpu", "cpu"), Target("v6e", "tpu")


def gpu(capability: str | None, *precisions: str) -> Target:
    return Target("a-gpu", "gpu", capability, precisions)


REFUSED = [
    ("fp16 brings a CPU nothing but casts", "fp16", CPU, "saves storage and no time"),
    ("bf16 has no kernels on a CPU", "bf16", CPU, "no bf16 arithmetic"),
    ("fp8 does not load on a CPU", "fp8", CPU, "cannot load fp8"),
    ("2:4 sparsity gives a CPU neither size nor speed", "sparse24", CPU, "neither the file nor the time"),
    ("a chain is refused for its number format", "pruned+fp16", CPU, "saves storage and no time"),
    ("fp8 needs Ada or Hopper", "fp8", gpu("8.6"), "8.9"),
    ("bf16 needs Ampere", "bf16", gpu("7.5"), "8.0"),
    ("2:4 sparsity needs Ampere", "sparse24", gpu("7.5"), "8.0"),
    ("int4 needs Ampere", "int4", gpu("7.5"), "8.0"),
    ("int8 needs what TensorRT builds for", "int8", gpu("7.0"), "7.5"),
    ("fp16 needs what TensorRT builds for", "fp16", gpu("6.1"), "7.5"),
    ("fp8 is not assumed of an unknown GPU", "fp8", gpu(None), "set computeCapability"),
    ("2:4 sparsity is not assumed of an unknown GPU", "pruned+sparse24", gpu(None), "set computeCapability"),
    ("a format that the class does not list", "int8", gpu("9.0", "fp16", "fp32"), "fp16, fp32 only"),
    ("a capability is not outvoted by a list", "fp8", gpu("8.0", "fp8"), "8.9"),
    ("a CPU class lists its formats too", "int4", Target("c", "cpu", None, ("fp32", "int8")), "int8 only"),
    ("TPUs compute in bf16", "fp16", TPU, "bf16"),
    ("TPUs have no fp8 path", "fp8", TPU, "fp8"),
    ("TPUs have no int4 path", "distilled+int4", TPU, "int4"),
    ("TPUs have no sparse cores", "sparse24", TPU, "sparse"),
    ("a name that is none", "int3", CPU, "no preset 'int3'"),
    ("auto cannot be chained", "auto+int8", CPU, "chain"),
    ("a chain in the wrong order", "int8+pruned", CPU, "chain"),
    ("a chain of three", "pruned+int8+fp16", gpu("9.0"), "chain"),
]


@pytest.mark.parametrize(
    ("preset", "target", "words"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_a_preset_that_cannot_help_is_refused_with_its_reason(
    preset: str, target: Target, words: str
) -> None:
    problem = refusal(preset, target)
    assert problem is not None
    assert problem.reason == "PresetUnsupported"
    assert words in problem.message


ALLOWED = [
    ("none anywhere", "none", CPU),
    ("auto anywhere", "auto", TPU),
    ("int8 on CPUs", "int8", CPU),
    ("int4 on CPUs", "int4", CPU),
    ("pruning on CPUs", "pruned", CPU),
    ("pruning then int8 on CPUs", "pruned+int8", CPU),
    ("fp8 on Ada", "fp8", gpu("8.9")),
    ("fp8 on Blackwell, whose number has two digits", "fp8", gpu("12.0")),
    ("fp8 that the class lists, capability unknown", "fp8", gpu(None, "fp8")),
    ("2:4 sparsity on Ampere", "sparse24", gpu("8.0")),
    ("int8 on Turing", "int8", gpu("7.5")),
    ("int8 on an unknown GPU", "int8", gpu(None)),
    ("bf16 on TPUs", "bf16", TPU),
    ("int8 weights on TPUs", "int8", TPU),
]


@pytest.mark.parametrize(("preset", "target"), [row[1:] for row in ALLOWED], ids=[r[0] for r in ALLOWED])
def test_a_preset_that_may_help_is_let_through(preset: str, target: Target) -> None:
    assert refusal(preset, target) is None


LADDERS = [
    ("a CPU", CPU, False, ("none", "int8", "int4")),
    (
        "a CPU with a recipe",
        CPU,
        True,
        ("none", "int8", "int4", "pruned", "pruned+int8", "distilled", "distilled+int8"),
    ),
    ("Turing", gpu("7.5"), False, ("none", "fp16", "int8")),
    ("Ampere", gpu("8.0"), False, ("none", "fp16", "bf16", "int8", "int4", "sparse24")),
    ("Hopper", gpu("9.0"), False, ("none", "fp16", "bf16", "int8", "fp8", "int4", "sparse24")),
    ("a class that lists formats", gpu("9.0", "fp16", "fp8"), False, ("none", "fp16", "fp8")),
    ("a TPU", TPU, False, ("none", "bf16", "int8")),
]


@pytest.mark.parametrize(
    ("target", "training", "rungs"), [r[1:] for r in LADDERS], ids=[r[0] for r in LADDERS]
)
def test_auto_climbs_only_what_the_target_supports(
    target: Target, training: bool, rungs: tuple[str, ...]
) -> None:
    assert ladder(target, training) == rungs


def test_a_chain_is_its_steps_in_order() -> None:
    assert steps("pruned+int8") == ("pruned", "int8")
    assert steps("int8") == ("int8",)


def test_an_unknown_step_has_no_steps() -> None:
    with pytest.raises(Refused, match="PresetUnsupported"):
        steps("int8+int4")

"""Training data judged before anything learns from it."""

from __future__ import annotations

import hashlib

from seawall.optimize import data
from seawall.optimize.types import Array, Context, Refused, Samples

SHARED = 0.5
"""Share of the evaluation samples that the training data may hold before the judgement is worth nothing."""


def training_data(step: str, context: Context) -> Samples:
    """The samples to learn from. Raises Refused, also where they would judge the result as well."""
    if context.training is None:
        raise Refused(
            "TrainingDataMissing",
            f"preset {step} fine-tunes the model and needs examples for that: name an .npz file with one"
            " array per input of the model in compression.training.data",
        )
    samples = data.load(context.training, context.signature, "training")
    judging = _digests(context.evaluation)
    learnt = set(_digests(samples))
    shared = sum(digest in learnt for digest in judging)
    if context.evaluation.source != "generated" and shared > SHARED * len(judging):
        raise Refused(
            "InvalidData",
            f"{shared} of the {len(judging)} samples that judge the result ({context.evaluation.source} data)"
            " are in the training data: a model is never judged on what it has learnt; keep them apart",
        )
    return samples


def _digests(samples: Samples) -> list[str]:
    names = sorted(samples.inputs)
    return [
        hashlib.sha256(b"".join(_bytes(samples.inputs[name][row]) for name in names)).hexdigest()
        for row in range(samples.count)
    ]


def _bytes(row: Array) -> bytes:
    return "\x00".join(map(str, row.flat)).encode() if row.dtype.hasobject else row.tobytes()

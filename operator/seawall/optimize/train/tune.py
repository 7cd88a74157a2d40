"""Fine-tuning with the original as the teacher.

The student learns the teacher's whole answer, not only its decision: softened scores, the scores themselves,
and the labels where the data has them. With few steps this does harm rather than good, so the default counts
steps, not passes over the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from seawall.optimize.train.network import Network

BATCH = 64
TEMPERATURE = 4.0
SOFT, SCORES, HARD = 0.6, 0.2, 0.2
"""Weights of the three parts of the loss; without labels the third one falls away."""
STEPS = {"pruned": 1200, "distilled": 1800, "sparse24": 1200}
RATE = {"pruned": 2e-3, "distilled": 4e-3, "sparse24": 2e-3}
MOST_EPOCHS = 400
Keep = Callable[[], None]
"""restores what a step of the optimiser must not change"""


@dataclass(frozen=True, slots=True)
class Plan:
    step: str
    epochs: int | None
    seed: int

    def passes(self, samples: int) -> int:
        if self.epochs is not None:
            return self.epochs
        return min(MOST_EPOCHS, math.ceil(STEPS[self.step] / math.ceil(samples / BATCH)))


def tune(
    student: Network,
    teacher: Network,
    inputs: Sequence[Any],
    labels: Any | None,
    plan: Plan,
    say: Callable[[float, str], None],
    keep: Keep | None = None,
) -> int:
    """Trains the student in place; how many passes over the data it took. `keep` runs after every step."""
    torch.manual_seed(plan.seed)
    scores = answers(teacher, inputs)
    spread = scores.var().clamp_min(1e-12)
    count, passes = len(inputs[0]), plan.passes(len(inputs[0]))
    optimiser = torch.optim.Adam(student.parameters(), lr=RATE[plan.step], weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, passes)
    student.train()
    mixing = plan.step == "distilled" and all(values.is_floating_point() for values in inputs)
    for index in range(passes):
        total = 0.0
        for chosen in torch.randperm(count).split(BATCH):
            if len(chosen) == 1 and count > 1:
                continue  # batch normalisation has no variance over one sample
            optimiser.zero_grad()
            batch = [values[chosen] for values in inputs]
            loss = _loss(
                student.logits(*batch), scores[chosen], None if labels is None else labels[chosen], spread
            )
            if mixing:
                mixed = _mixed(batch)
                loss = loss + _loss(student.logits(*mixed), answers(teacher, mixed), None, spread)
            loss.backward()
            optimiser.step()
            if keep is not None:
                keep()
            total += float(loss.detach()) * len(chosen)
        schedule.step()
        say(100.0 * (index + 1) / passes, f"pass {index + 1} of {passes}, loss {total / count:.4f}")
    student.eval()
    return passes


def _mixed(batch: Sequence[Any]) -> list[Any]:
    """Each sample blended with another: the teacher knows an answer to that too, so data is never short."""
    other = torch.randperm(len(batch[0]))
    share = torch.rand(len(other))
    shares = [share.reshape(-1, *[1] * (values.dim() - 1)) for values in batch]
    return [part * values + (1 - part) * values[other] for part, values in zip(shares, batch, strict=True)]


def answers(network: Network, inputs: Sequence[Any]) -> Any:
    """Scores of all samples, batch by batch."""
    network.eval()
    with torch.no_grad():
        rows = range(0, len(inputs[0]), BATCH)
        return torch.cat([network.logits(*(v[start : start + BATCH] for v in inputs)) for start in rows])


def _loss(found: Any, wanted: Any, labels: Any | None, spread: Any) -> Any:
    soft = functional.kl_div(
        functional.log_softmax(found / TEMPERATURE, 1),
        functional.log_softmax(wanted / TEMPERATURE, 1),
        reduction="batchmean",
        log_target=True,
    )
    loss = SOFT * TEMPERATURE**2 * soft + SCORES * functional.mse_loss(found, wanted) / spread
    return loss if labels is None else loss + HARD * functional.cross_entropy(found, labels)

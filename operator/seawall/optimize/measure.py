"""How candidates are timed, in this process or in a running Triton; and what the SLO makes of the figures."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from seawall.optimize.forms import engine_of
from seawall.optimize.pipeline import Bench, Candidate, Prepared
from seawall.optimize.timing import ORIGINAL, batch_sizes, interleaved
from seawall.optimize.triton_profile import (
    Server,
    engine_model,
    instance_count,
    onnx_model,
    profile,
    queue_delay_ms,
)
from seawall.optimize.types import BuildOrder, Graph, Profile

Pair = tuple[Profile, Profile]
Meter = Callable[[Prepared, Candidate], Pair | None]
"""the candidate's profile and the original's, measured in turns; None where nothing here can measure it"""


@dataclass(frozen=True, slots=True)
class Timing:
    bench: Bench
    seconds: float
    url: str | None = None
    """of a Triton with explicit model control; None: this process, which is a CPU"""
    repository: Path | None = None
    """the folder that the Triton serves from, where it is shared"""

    def __call__(self, prepared: Prepared, made: Candidate) -> Pair | None:
        order = self.bench.order
        if (
            order.target.type == "tpu"
            or prepared.program is not None
            or (order.target.type == "gpu" and self.url is None)
        ):
            return None
        graphs = {ORIGINAL: prepared.original}
        if made.compressed is not None:
            graphs[made.preset] = made.graph
        measured = self._in_triton(prepared, made, graphs) if self.url else self._here(prepared, graphs)
        settled = {name: settle(found, order) for name, found in measured.items()}
        return settled[made.preset if made.preset in settled else ORIGINAL], settled[ORIGINAL]

    def _sizes(self, prepared: Prepared) -> tuple[int, ...]:
        return batch_sizes(self.bench.order.max_batch_size, prepared.signature.batched)

    def _here(self, prepared: Prepared, graphs: Mapping[str, Graph]) -> dict[str, Profile]:
        order = self.bench.order
        return interleaved(
            graphs,
            prepared.signature,
            prepared.evaluation,
            self._sizes(prepared),
            max(1, order.threads),
            self.seconds,
            accelerator=order.target.name,
        )

    def _in_triton(
        self, prepared: Prepared, made: Candidate, graphs: Mapping[str, Graph]
    ) -> dict[str, Profile]:
        order, sizes = self.bench.order, self._sizes(prepared)
        most = max(sizes) if prepared.signature.batched else 0
        models = {
            name: onnx_model(graph, most, max(1, order.threads), order.target.type)
            for name, graph in graphs.items()
        }
        engine = engine_of(self.bench, made)
        if engine is not None:
            with_plan = self.bench.work / "served" / made.preset
            with_plan.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(engine.path, with_plan / engine.path.name)
            models[made.preset] = engine_model(with_plan, made.graph, most)
        named = {name: f"build-{name}".replace("+", "-") for name in models}
        found = profile(
            Server(str(self.url), self.repository),
            {named[name]: served for name, served in models.items()},
            prepared.signature,
            prepared.evaluation,
            sizes,
            original=named[ORIGINAL],
            seconds=self.seconds,
            accelerator=order.target.name,
        )
        return {name: found[named[name]] for name in models}


def settle(found: Profile, order: BuildOrder) -> Profile:
    """Queue delay and instances, from the SLO and the cores of this machine."""
    cores = len(os.sched_getaffinity(0))
    return replace(
        found,
        max_queue_delay_ms=queue_delay_ms(found, order.slo_p99_ms),
        instances=instance_count(order.instances, order.threads, cores),
    )

"""Preset `auto`: the cheapest per request of those that are right and fast enough.

Right comes first: a preset below the accuracy floor is not even timed. Fast enough means, for one replica
under load, that a request which finds a batch being served and then rides in the next one still meets the
p99: overhead + queue delay + p50 of the batch in front + p99 of its own. Cheapest is the least time per
request over the batch sizes that hold this, taken as a ratio to the original measured in the same turns,
since times of separate runs on a busy machine cannot be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from seawall.optimize import pipeline
from seawall.optimize.measure import Meter, Pair
from seawall.optimize.pipeline import Bench, Candidate, Prepared
from seawall.optimize.presets import ladder
from seawall.optimize.stages import Stages
from seawall.optimize.types import BatchTiming, PresetResult, Profile, Refused

Told = Callable[[PresetResult], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    best: PresetResult | None
    made: Candidate | None
    """what the best one is, to be published"""
    lost: tuple[PresetResult, ...]
    baseline: Profile | None = None
    """of the original"""


@dataclass(frozen=True, slots=True)
class _Entry:
    result: PresetResult
    made: Candidate
    cost: float | None
    """milliseconds per request; None: no batch size meets the SLO"""
    batch: int


def walk(
    bench: Bench,
    prepared: Prepared,
    meter: Meter,
    told: Told = lambda _: None,
    refusals: Mapping[str, Mapping[str, str]] | None = None,
) -> Outcome:
    """Tries every preset of the ladder. `told` hears of each as soon as it is known; raises Passing only.

    `refusals`: presets that are known not to come about, with reason and message.
    """
    lost: list[PresetResult] = []
    entries: list[_Entry] = []
    baseline: Profile | None = None
    for preset in rungs(bench, prepared):
        stages = bench.stages()
        try:
            if refusals and preset in refusals:
                raise Refused(refusals[preset]["reason"], refusals[preset]["message"])
            made = pipeline.candidate(bench, stages, prepared, preset)
            bench.say("profile", None, preset)
            pair = measured(stages, prepared, made, meter)
            if pair is None:
                here = f"{bench.order.target.name} cannot be measured here"
                raise Refused("ProfileFailed", f"auto compares times, and {here}")
        except Refused as problem:
            lost.append(pipeline.refused(preset, prepared, stages, problem))
            told(lost[-1])
            continue
        found, original = pair
        baseline = baseline or original
        result = pipeline.accepted(made, prepared, stages, found, original)
        cost, batch = cheapest(found, baseline, bench.order.slo_p99_ms)
        entries.append(_Entry(result, made, cost, batch))
        told(result)
    return _decided(entries, lost, baseline, bench.order.slo_p99_ms)


def rungs(bench: Bench, prepared: Prepared) -> tuple[str, ...]:
    """The ladder of this build; an image of the user's own is handed one model, to prune."""
    every = ladder(bench.order.target, prepared.training is not None)
    return tuple(p for p in every if bench.recipe is None or "distilled" not in p)


def measured(stages: Stages, prepared: Prepared, made: Candidate, meter: Meter) -> Pair | None:
    kept: list[Pair | None] = []

    def work() -> dict[str, object]:
        pair = meter(prepared, made)
        kept.append(pair)
        return {"source": pair[0].source if pair else "none"}

    stages.timed("profile", work)
    return kept[0]


def cheapest(found: Profile, baseline: Profile, slo_p99_ms: float | None) -> tuple[float | None, int]:
    """Milliseconds per request and the batch size that reaches it, among those that meet the SLO."""
    base = {b.size: b.p50_ms for b in baseline.batches}
    costs = [
        ((b.ratio_to_original or 1.0) * base[b.size] / b.size, b.size)
        for b in found.batches
        if slo_p99_ms is None or under_load_ms(found, b) <= slo_p99_ms
    ]
    return min(costs) if costs else (None, found.batches[0].size)


def under_load_ms(found: Profile, batch: BatchTiming) -> float:
    return found.overhead_ms + found.max_queue_delay_ms + batch.p50_ms + batch.p99_ms


def _decided(
    entries: list[_Entry], lost: list[PresetResult], baseline: Profile | None, slo: float | None
) -> Outcome:
    fitting = [e for e in entries if e.cost is not None]
    best = min(fitting, key=lambda e: e.cost or 0.0) if fitting else None
    for entry in entries:
        if entry is not best:
            reason = _why(entry, best, slo)
            lost.append(replace(entry.result, accepted=False, reason=reason))
    if best is None:
        return Outcome(None, None, tuple(lost), baseline)
    return Outcome(best.result, best.made, tuple(lost), baseline)


def _why(entry: _Entry, best: _Entry | None, slo: float | None) -> str:
    if entry.cost is None and entry.result.profile is not None:
        first = entry.result.profile.batches[0]
        time = under_load_ms(entry.result.profile, first)
        return f"SLOMissed: p99 under load is {time:.3g} ms at batch {first.size}, the SLO is {slo:g} ms"
    if best is None or best.cost is None or entry.cost is None:
        raise AssertionError("a preset that meets the SLO loses to a better one only")
    return (
        f"NotCheapest: {entry.cost:.3g} ms per request at batch {entry.batch};"
        f" {best.result.preset} takes {best.cost:.3g} ms at batch {best.batch}"
    )


def nothing_fits(outcome: Outcome) -> Refused:
    each = "; ".join(f"{row.preset}: {row.reason}" for row in outcome.lost)
    return Refused("NoPresetFits", f"no preset is right and fast enough ({each})")

"""What each preset makes of the example models on a CPU: size, speed and accuracy beside the original.

All candidates of a model are measured in turns in one run, so that the ratios are honest on a busy machine.
Presets that train need PyTorch: without the training environment they are left out, and the report says so.

    .venv/bin/python bench/compress.py            with tools/training-env's interpreter: all presets
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seawall.optimize import auto, pipeline
from seawall.optimize.measure import Timing
from seawall.optimize.timing import ORIGINAL, interleaved
from seawall.optimize.types import BuildOrder, Criterion, Recipe, Refused, Target

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 30.0
BATCHES = (1, 8, 32)


@dataclass(frozen=True)
class Case:
    """One model with its data, and the bars: preset -> what -> bound."""

    name: str
    file: str
    evaluation: str
    criterion: Criterion
    presets: tuple[str, ...]
    bars: dict[str, dict[str, float]]
    training: str | None = None
    threads: int = 1


CASES = (
    Case(
        "digits CNN",
        "digits-v1.onnx",
        "digits-test.npz",
        Criterion("top1", 0.98),
        ("int8", "int4", "pruned", "pruned+int8", "distilled"),
        {
            "int8": {"size": 0.27, "batch-8": 0.55, "drop": 0.5},
            "pruned": {"size": 0.27, "batch-8": 0.40, "drop": 1.0},
            "pruned+int8": {"size": 0.10, "drop": 1.0},
        },
        training="digits-train.npz",
    ),
    Case(
        "MiniLM",
        "minilm.onnx",
        "minilm-evaluation.npz",
        Criterion("cosine", 0.99),
        ("int8",),
        {"int8": {"size": 0.26, "batch-1": 0.45, "cosine": 0.99}},
        threads=2,
    ),
)
LARGEST = {"size", "batch-1", "batch-8", "drop"}
"""bars that are upper bounds; the others are lower ones"""


def order_of(case: Case, models: Path) -> BuildOrder:
    data = str(models / case.training) if case.training else None
    return BuildOrder(
        model=str(models / case.file),
        format="onnx",
        target=Target("cpu", "cpu"),
        max_batch_size=max(BATCHES),
        criterion=case.criterion,
        evaluation=str(models / case.evaluation),
        calibration=data,
        recipe=Recipe(data=data) if data else None,
        slo_p99_ms=200.0,
        threads=case.threads,
    )


def measured(case: Case, models: Path, folder: Path, training: bool) -> dict[str, Any]:
    began = time.monotonic()
    bench = pipeline.Bench(order_of(case, models), folder, os.environ, lambda *_: None, search_seconds=60.0)
    prepared = pipeline.prepare(bench, bench.stages())
    made, rows = {}, {}
    for preset in case.presets:
        if not training and preset.startswith(("pruned", "distilled")):
            continue
        one = replace(bench, order=replace(bench.order, preset=preset))
        started = time.monotonic()
        try:
            made[preset] = pipeline.candidate(one, one.stages(), prepared, preset)
        except Refused as refusal:
            rows[preset] = {"refused": str(refusal)[:300]}
            continue
        rows[preset] = {"seconds": round(time.monotonic() - started, 1), **proven(made[preset])}
    graphs = {ORIGINAL: prepared.original} | {name: each.graph for name, each in made.items()}
    times = interleaved(
        graphs, prepared.signature, prepared.evaluation, BATCHES, case.threads, SECONDS, "cpu"
    )
    for name, each in made.items():
        rows[name]["bytes"] = each.graph.bytes
        rows[name]["size"] = round(each.graph.bytes / prepared.original.bytes, 4)
        for timing in times[name].batches:
            rows[name][f"batch-{timing.size}"] = round(timing.ratio_to_original or 0.0, 3)
    return {
        "name": case.name,
        "originalBytes": prepared.original.bytes,
        "samples": prepared.evaluation.count,
        "originalP50Ms": {str(t.size): round(t.p50_ms, 3) for t in times[ORIGINAL].batches},
        "rows": rows,
        "auto": chosen(bench, prepared, training),
        "seconds": round(time.monotonic() - began, 1),
        "peakMemoryBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def proven(made: pipeline.Candidate) -> dict[str, Any]:
    proof = made.proof
    if proof is None:
        return {}
    shown: dict[str, Any] = {proof.metric: round(proof.value, 5), "low": round(proof.low, 5)}
    if proof.drop is not None:
        shown |= {"drop": round(proof.drop.drop, 3), "dropHigh": round(proof.drop.high, 3)}
    return shown | {"method": made.compressed.method if made.compressed else ""}


def chosen(bench: pipeline.Bench, prepared: pipeline.Prepared, training: bool) -> dict[str, Any]:
    """What `auto` keeps, and why the others lost."""
    order = replace(bench.order, preset="auto", recipe=bench.order.recipe if training else None)
    one = replace(bench, order=order)
    outcome = auto.walk(one, prepared, Timing(one, 6.0), lambda *_: None)
    return {
        "preset": outcome.best.preset if outcome.best else None,
        "lost": {row.preset: row.reason[:160] for row in outcome.lost},
    }


def judged(case: Case, rows: dict[str, Any]) -> list[tuple[str, str, float, float | None, bool]]:
    """(preset, what, bar, reached, whether it is met); None: not measured."""
    table = []
    for preset, bars in case.bars.items():
        for what, bar in bars.items():
            value = rows.get(preset, {}).get(what)
            met = value is not None and (value <= bar if what in LARGEST else value >= bar)
            table.append((preset, what, bar, value, met))
    return table


def alone(case: Case, models: Path) -> dict[str, Any]:
    """In a process of its own, so that its peak memory is its own."""
    command = [sys.executable, __file__, "--models", str(models), "--only", case.name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=1800)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def report(results: list[dict[str, Any]], training: bool) -> None:
    print(f"{os.cpu_count()} cores ({platform.machine()}), load average {os.getloadavg()[0]:.1f}")
    if not training:
        print("No PyTorch here, so no preset that trains was measured: use tools/training-env's interpreter.")
    for case, result in zip(CASES, results, strict=True):
        peak = result["peakMemoryBytes"] / 2**20
        bound = (3 * result["originalBytes"] + 1.5 * 2**30) / 2**20
        print(f"\n## {case.name}: {result['originalBytes']} bytes, {result['samples']} samples\n")
        print(
            f"p50 of the original, ms by batch: {result['originalP50Ms']}; peak memory {peak:.0f} MiB ",
            end="",
        )
        print(f"(bar: {bound:.0f}); {result['seconds']} s in all; auto keeps {result['auto']['preset']}\n")
        print("| preset | size | batch 1 | batch 8 | batch 32 | accuracy | s | method |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for preset, row in result["rows"].items():
            if "refused" in row:
                print(f"| {preset} | refused: {row['refused']} | | | | | | |")
                continue
            metric = case.criterion.metric
            drop = f", drop {row['drop']} points (to {row['dropHigh']})" if "drop" in row else ""
            print(
                f"| {preset} | {row['size']} | {row['batch-1']} | {row['batch-8']} | {row['batch-32']} "
                f"| {metric} {row[metric]}{drop} | {row['seconds']} | {row['method']} |"
            )
        print("\n| bar | bound | reached | |\n| --- | --- | --- | --- |")
        for preset, what, bar, value, met in judged(case, result["rows"]):
            print(f"| {preset} {what} | {bar} | {value} | {'met' if met else 'NOT MET'} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, help="folder that examples/build made (default: ask it)")
    parser.add_argument("--only", choices=[case.name for case in CASES], help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
    args = parser.parse_args()
    training = importlib.util.find_spec("torch") is not None
    if args.models is None:
        build = [str(ROOT / "examples" / "build")]
        args.models = Path(
            subprocess.run(build, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        )
    if args.only:
        case = next(each for each in CASES if each.name == args.only)
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measured(case, args.models, Path(folder), training)))
        return 0
    results = [alone(case, args.models) for case in CASES]
    if args.json:
        print(json.dumps(results, indent=2))
    else:
        report(results, training)
    return 0


if __name__ == "__main__":
    sys.exit(main())

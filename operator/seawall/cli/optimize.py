"""`seawall optimize`: the build pipeline on one machine, preset by preset, with a table as it goes."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seawall.optimize.deliver import Delivery
    from seawall.optimize.measure import Timing
    from seawall.optimize.pipeline import Bench, Prepared
    from seawall.optimize.types import BuildOrder, PresetResult

FORMATS = ("onnx", "torch", "tensorflow", "tflite", "stablehlo")
METRICS = ("top1", "cosine", "relative-error")
SINGLE = ("none", "fp16", "bf16", "int8", "fp8", "int4", "sparse24")
TRAINED = ("pruned", "pruned+int8", "distilled", "distilled+int8")
EPILOG = """\
examples:
  seawall optimize --model digits.onnx --preset all --target cpu --out build --evaluation digits-test.npz
  seawall optimize --model s3://models/minilm.onnx --preset int8,int4 --target cpu --out build \\
    --evaluation eval.npz --floor 0.99 --max-batch 32 --json

exit codes: 0 at least one preset was accepted, 1 every preset was refused, 2 bad usage or unusable input
"""


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "optimize",
        help="make a model smaller and faster, prove that it still answers right, and measure it",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", required=True, metavar="M", help="a file, a folder or a uri (s3://, hf://, …)"
    )
    parser.add_argument(
        "--preset", action="append", required=True, metavar="P",
        help="such as int8, pruned+int8, auto (the cheapest that fits) or all; repeated or with commas",
    )  # fmt: skip
    parser.add_argument("--target", required=True, metavar="CLASS", help="name of an AcceleratorClass")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where results go")
    _add_model(parser)
    _add_proof(parser)
    _add_training(parser)
    parser.add_argument(
        "--classes", type=Path, metavar="FILE", help="AcceleratorClasses (default: as shipped)"
    )
    parser.add_argument(
        "--triton", metavar="URL", help="measure in this Triton, grpc://HOST:PORT or http://…"
    )
    parser.add_argument("--store", metavar="URI", help="where to publish (default: the folder DIR)")
    parser.add_argument("--threads", type=_positive, default=1, metavar="N", help="cores per instance")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of everything random")
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
    parser.set_defaults(func=run)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=FORMATS, help="default: by its name")
    parser.add_argument("--sha256", type=_digest, metavar="HEX", help="digest that the model must have")
    parser.add_argument(
        "--max-batch", type=_natural, default=8, metavar="N", help="largest batch (default: 8)"
    )
    parser.add_argument("--slo", type=_milliseconds, metavar="TIME", help="p99 that auto keeps, such as 20ms")


def _add_proof(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--evaluation", metavar="E", help=".npz with inputs, and labels if there are any")
    parser.add_argument("--calibration", metavar="C", help=".npz with inputs (default: a part of E)")
    parser.add_argument("--metric", choices=METRICS, default="cosine", help="default: cosine")
    parser.add_argument("--floor", type=_share, metavar="X", help="bound that the metric must keep")
    parser.add_argument(
        "--allow-unproven", action="store_true", help="accept results that only made-up inputs were tried on"
    )
    parser.add_argument(
        "--weight-clipping", type=_share, metavar="Q", help="quantile such as 0.9999, for int8"
    )


def _add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--training-data", metavar="D", help=".npz for pruned and distilled")
    parser.add_argument("--recipe-entrypoint", metavar="CMD", help="own training program (default: built in)")
    parser.add_argument("--epochs", type=_positive, metavar="N", help="passes over the training data")


def run(args: argparse.Namespace) -> int:
    from seawall.cli.optimize_table import Table  # noqa: PLC0415
    from seawall.optimize.types import Passing, Refused  # noqa: PLC0415

    # The quantiser gives advice through the root logger, on what has been decided already.
    logging.getLogger().setLevel(logging.ERROR)
    table = Table(quiet=args.json)
    try:
        order = _order(args)
        presets = _presets(args.preset, order)
        with table:
            rows, shown = _built(args, order, presets, table)
    except BrokenPipeError:
        raise
    except (Refused, Passing, ValueError, OSError) as problem:
        table.clear()
        print(f"seawall optimize: {problem}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(shown, indent=2))
    else:
        table.notes(rows)
    return 0 if any(row.accepted for row in rows) else 1


def _built(
    args: argparse.Namespace, order: BuildOrder, presets: list[str], table: Any
) -> tuple[list[PresetResult], dict[str, Any]]:
    from seawall.optimize import pipeline  # noqa: PLC0415
    from seawall.optimize.deliver import Delivery  # noqa: PLC0415
    from seawall.optimize.measure import Timing  # noqa: PLC0415
    from seawall.optimize.publish import open_store  # noqa: PLC0415
    from seawall.optimize.report import result_json  # noqa: PLC0415

    bench = pipeline.Bench(order, args.out / ".work", os.environ, table.say, search_seconds=60.0)
    meter = Timing(bench, SECONDS, args.triton)
    delivery = Delivery(open_store(args.store or str(args.out)))
    prepared = pipeline.prepare(bench, bench.stages())
    table.head(prepared, order)
    rows: list[PresetResult] = []
    for preset in presets:
        one = replace(bench, order=replace(order, preset=preset))
        made = _auto(one, prepared, meter, delivery, table) if preset == "auto" else None
        rows += made if made is not None else [_one(one, prepared, meter, delivery)]
        if made is None:
            table.row(rows[-1])
    shown = {
        "model": args.model,
        "target": order.target.name,
        "results": [result_json(row, order.target) for row in rows],
    }
    return rows, shown


SECONDS = 6.0
"""of measuring, per preset"""


def _one(bench: Bench, prepared: Prepared, meter: Timing, delivery: Delivery) -> PresetResult:
    from seawall.optimize import auto, deliver, pipeline  # noqa: PLC0415
    from seawall.optimize.types import Refused  # noqa: PLC0415

    preset, stages = bench.order.preset, bench.stages()
    try:
        made = pipeline.candidate(bench, stages, prepared, preset)
        bench.say("profile", None, preset)
        pair = auto.measured(stages, prepared, made, meter)
        found, baseline = pair if pair is not None else (None, None)
        result = pipeline.accepted(made, prepared, stages, found, baseline)
        return deliver.deliver(bench, prepared, made, result, delivery, baseline=baseline)
    except Refused as problem:
        return pipeline.refused(preset, prepared, stages, problem)


def _auto(
    bench: Bench, prepared: Prepared, meter: Timing, delivery: Delivery, table: Any
) -> list[PresetResult]:
    """All rows of the ladder; the chosen one alone is accepted and published."""
    from seawall.optimize import auto, deliver  # noqa: PLC0415

    outcome = auto.walk(bench, prepared, meter, table.row)
    rows = list(outcome.lost)
    if outcome.best is not None and outcome.made is not None:
        best = deliver.deliver(
            bench,
            prepared,
            outcome.made,
            outcome.best,
            delivery,
            lost=outcome.lost,
            baseline=outcome.baseline,
        )
        rows.insert(0, best)
        table.chosen(best)
    return rows


def _order(args: argparse.Namespace) -> BuildOrder:
    from seawall.cli.optimize_target import target_of  # noqa: PLC0415
    from seawall.optimize.bench import with_server  # noqa: PLC0415
    from seawall.optimize.types import BuildOrder, Criterion, Recipe  # noqa: PLC0415

    recipe = None
    if args.training_data or args.recipe_entrypoint or args.epochs:
        recipe = Recipe(None, tuple((args.recipe_entrypoint or "").split()), args.training_data, args.epochs)
    order = BuildOrder(
        model=args.model,
        format=args.format or _format(args.model),
        target=target_of(args.target, args.classes),
        sha256=args.sha256,
        max_batch_size=args.max_batch,
        criterion=Criterion(args.metric, args.floor),
        evaluation=args.evaluation,
        calibration=args.calibration,
        weight_clipping=args.weight_clipping,
        recipe=recipe,
        allow_unproven=args.allow_unproven,
        slo_p99_ms=args.slo,
        threads=args.threads,
        seed=args.seed,
    )
    return with_server(order, os.environ)


def _format(model: str) -> str:
    from seawall.api.v1alpha1 import FORMAT_BY_SUFFIX  # noqa: PLC0415

    path = model.split("?", maxsplit=1)[0].lower()
    found = next((name for suffix, name in FORMAT_BY_SUFFIX.items() if path.endswith(suffix)), None)
    if found in (None, "repository"):
        raise ValueError(f"the name {model} does not tell its format; name it with --format")
    return str(found)


def _presets(given: list[str], order: BuildOrder) -> list[str]:
    """In the order given, each once; all = every single one, and the trained ones where there is data."""
    from seawall.optimize.presets import steps  # noqa: PLC0415

    every = [*SINGLE, *(TRAINED if order.recipe is not None else ())]
    names = [name.strip() for part in given for name in part.split(",")]
    wanted = [each for name in names for each in (every if name == "all" else [name])]
    for name in wanted:
        steps(name)
    return list(dict.fromkeys(wanted))


def _positive(text: str) -> int:
    value = _natural(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 on")
    return value


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def _digest(text: str) -> str:
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise argparse.ArgumentTypeError("a SHA-256 has 64 digits from 0 to 9 and a to f")
    return text


def _milliseconds(text: str) -> float:
    from seawall.api.units import parse_duration  # noqa: PLC0415

    try:
        return parse_duration(text) * 1000.0
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error

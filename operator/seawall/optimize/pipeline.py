"""The build: fetch, verify, convert, check, compress, prove, profile, publish.

What all presets of a model share is prepared once; what differs is done preset by preset. A refusal ends its
preset and no other. Every stage that has the same result for the same inputs is kept, see stages.py.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seawall.optimize import data, prove, report, versions
from seawall.optimize.bench import Bench, Candidate, Prepared, graph_of, graph_told
from seawall.optimize.layers import layer_errors
from seawall.optimize.prepare import prepare
from seawall.optimize.stages import Stages
from seawall.optimize.types import Compressed, Context, Graph, PresetResult, Profile, Proof, Refused

__all__ = [
    "Bench",
    "Candidate",
    "Prepared",
    "accepted",
    "candidate",
    "context_of",
    "prepare",
    "refused",
    "runnable",
]

SEARCH_SAMPLES = 256
"""what a search compares candidates on; the final proof takes all"""
LAYERS_TOLD = 10
TRAINING = ("pruned", "distilled")
SPARSE = "sparse24"
"""trains where there is data for it"""
BASELINE = "none"


def candidate(bench: Bench, stages: Stages, prepared: Prepared, preset: str) -> Candidate:
    """Compressed, proven, and for a GPU pre-checked. Raises Refused."""
    from seawall.optimize import presets  # noqa: PLC0415

    if prepared.program is not None and preset != BASELINE:
        raise Refused(
            "PresetUnsupported",
            f"{preset}: a StableHLO program is served as it was exported; export it in that precision, or"
            " build from ONNX",
        )

    refusal = presets.refusal(preset, bench.order.target)
    if refusal is not None:
        raise refusal
    made = Candidate(preset, prepared.original)
    for step in presets.steps(preset):
        if step != BASELINE:
            made = _compressed(bench, stages, prepared, made, step)
    if made.compressed is not None:
        made = _right(bench, stages, prepared, made)
    return _prechecked(bench, stages, prepared, made)


def _right(bench: Bench, stages: Stages, prepared: Prepared, made: Candidate) -> Candidate:
    proof = _proven(bench, stages, prepared, made.graph)
    if not proof.passed:
        told = layer_errors(prepared.original, runnable(bench, made.graph), prepared.evaluation)
        proof = replace(proof, layers=told[:LAYERS_TOLD])
        raise Refused("AccuracyBelowFloor", _with_layer(prove.verdict(proof), proof), {"proof": proof})
    if proof.unproven and not bench.order.allow_unproven:
        raise Refused(
            "Unproven",
            "there is no evaluation data, and equality on made-up inputs proves little: name some, or allow"
            " unproven results",
            {"proof": proof},
        )
    return replace(made, proof=proof)


def _prechecked(bench: Bench, stages: Stages, prepared: Prepared, made: Candidate) -> Candidate:
    """What the parser will refuse is refused before a GPU is asked for."""
    order = bench.order
    if order.target.type != "gpu" or order.pipeline > 1:
        return made
    from seawall.optimize.gpu.environment import GPU, TENSORRT_RTX, interpreter  # noqa: PLC0415
    from seawall.optimize.gpu.precheck import Verdict, precheck  # noqa: PLC0415
    from seawall.optimize.gpu.profile import profiles  # noqa: PLC0415

    shapes = profiles(prepared.signature, prepared.evaluation, max(1, order.max_batch_size))

    def work(folder: Path) -> Mapping[str, Any]:
        bench.say("pre-check", None, "whether TensorRT will take the graph")
        return precheck(made.graph, shapes, order.target, folder / "scratch").to_json()

    # Which builder there is decides the answer as much as the graph does.
    material = [
        made.graph.sha256(), order.target.compute_capability, shapes, str(interpreter(GPU, TENSORRT_RTX)),
    ]  # fmt: skip
    verdict = Verdict.from_json(stages.run("pre-check", material, work).detail)
    problem = verdict.refusal()
    if problem is not None:
        raise problem
    return replace(made, precheck=verdict.to_json())


def refused(preset: str, prepared: Prepared, stages: Stages, problem: Refused) -> PresetResult:
    """A refusal as a row, with the numbers that led to it."""
    found = problem.details.get("proof")
    return PresetResult(
        preset,
        accepted=False,
        reason=f"{problem.reason}: {problem.message}",
        original_bytes=prepared.fetched.bytes,
        proof=found if isinstance(found, Proof) else None,
        stages=(*prepared.stages, *stages.done),
    )


def accepted(
    made: Candidate,
    prepared: Prepared,
    stages: Stages,
    profile: Profile | None,
    baseline: Profile | None = None,
) -> PresetResult:
    return PresetResult(
        made.preset,
        accepted=True,
        reason="",
        original_bytes=prepared.fetched.bytes,
        compressed_bytes=made.graph.bytes,
        proof=made.proof,
        profile=profile,
        baseline=baseline,
        compressed=made.compressed,
        stages=(*prepared.stages, *stages.done),
        precheck=made.precheck,
        notes=_notes(made),
    )


def _notes(made: Candidate) -> tuple[str, ...]:
    if made.precheck is None:
        return ()
    from seawall.optimize.gpu.precheck import Verdict  # noqa: PLC0415

    return (Verdict.from_json(made.precheck).sentence(),)


def _compressed(bench: Bench, stages: Stages, prepared: Prepared, before: Candidate, step: str) -> Candidate:
    from seawall.optimize.compress import compress  # noqa: PLC0415

    context = context_of(bench, prepared)

    def work(folder: Path) -> Mapping[str, Any]:
        bench.say("compress", None, step)
        if step in TRAINING and bench.recipe is not None:
            from seawall.optimize.recipes import takeover  # noqa: PLC0415

            made = takeover(before.graph, bench.recipe, folder / "graph")
        else:
            # The quantisers print; standard output is the caller's.
            with contextlib.redirect_stdout(io.StringIO()):
                made = compress(step, before.graph, context, folder / "graph")
        told: dict[str, Any] = {"method": made.method, "excluded": list(made.excluded)}
        told |= {"tried": list(made.tried), "versions": _tools(step, bench, prepared)}
        return graph_told(made.graph, folder) | told

    material = [step, before.graph.sha256(), _material(bench, prepared)]
    done = stages.run(f"compress-{step}", material, work, costly=True)
    detail = done.detail
    method = f"{before.compressed.method}; {detail['method']}" if before.compressed else detail["method"]
    graph = graph_of(done)
    made = Compressed(graph, method, tuple(detail["excluded"]), tuple(detail["tried"]))
    return replace(before, graph=graph, compressed=made)


def _tools(step: str, bench: Bench, prepared: Prepared) -> dict[str, str]:
    """Releases of what worked in an interpreter of its own."""
    recipe = bench.order.recipe
    own = recipe is not None and (recipe.image is not None or bool(recipe.entrypoint))
    found: dict[str, str] = {}
    if (step in TRAINING or (step == SPARSE and prepared.training is not None)) and not own:
        from seawall.optimize.train import LIBRARIES, interpreter  # noqa: PLC0415

        found |= versions.of(interpreter(), LIBRARIES)
    if bench.order.target.type == "gpu" and step not in TRAINING:
        from seawall.optimize.gpu import environment  # noqa: PLC0415

        python = environment.interpreter(environment.GPU, environment.MODELOPT)
        found |= versions.of(str(python), ("nvidia-modelopt",)) if python else {}
    return found


def context_of(bench: Bench, prepared: Prepared) -> Context:
    return Context(
        order=bench.order,
        signature=prepared.signature,
        calibration=prepared.calibration,
        evaluation=prepared.evaluation,
        measure=_measure(bench, prepared),
        say=bench.say,
        seconds=bench.search_seconds,
        training=prepared.training,
        recipe=bench.recipe,
    )


def _material(bench: Bench, prepared: Prepared) -> dict[str, Any]:
    """The request without what neither a compressor nor a proof looks at."""
    asked = replace(bench.order, preset="", slo_p99_ms=None, allow_unproven=False, instances=1, pipeline=1)
    return asked.key_material(prepared.digests)


def _measure(bench: Bench, prepared: Prepared) -> Callable[[Graph], Proof]:
    few = prepared.evaluation
    if few.count > SEARCH_SAMPLES:
        rows = np.random.default_rng(bench.order.seed).permutation(few.count)[:SEARCH_SAMPLES]
        few = data.chosen(few, np.sort(rows))
    criterion = bench.order.criterion
    return lambda graph: prove.prove(prepared.original, graph, few, criterion)


def _proven(bench: Bench, stages: Stages, prepared: Prepared, graph: Graph) -> Proof:
    def work(folder: Path) -> Mapping[str, Any]:
        bench.say("prove", None, f"{prepared.evaluation.count} samples")
        proof = prove.prove(
            prepared.original, runnable(bench, graph), prepared.evaluation, bench.order.criterion
        )
        return report.proof_json(proof)

    material = [prepared.original.sha256(), graph.sha256(), _material(bench, prepared)]
    return report.proof_from_json(stages.run("prove", material, work).detail)


def runnable(bench: Bench, graph: Graph) -> Graph:
    """Precisions that a CPU lacks are proven in a simulation with the same roundings."""
    if bench.order.target.type == "cpu":
        return graph
    from seawall.optimize.gpu.simulate import runnable as simulated  # noqa: PLC0415

    return simulated(graph, bench.work / f"simulated-{graph.sha256()[:32]}")


def _with_layer(sentence: str, proof: Proof) -> str:
    if not proof.layers:
        return sentence
    worst = proof.layers[0]
    return f"{sentence}; furthest off is {worst.op} {worst.node} (relative error {worst.relative_error:.3f})"

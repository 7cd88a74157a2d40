"""Results as JSON: of the command line, of the manifest, and of the Job's last words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from seawall.optimize import energy
from seawall.optimize.types import AccuracyDrop, LayerError, PresetResult, Profile, Proof, Stage, Target


def proof_json(proof: Proof) -> dict[str, Any]:
    raw = asdict(proof)
    raw["layers"] = [layer_json(layer) for layer in proof.layers]
    return {key: value for key, value in raw.items() if value not in (None, [])}


def finite(value: Any) -> Any:
    """JSON knows neither NaN nor infinity: they become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(entry) for entry in value]
    return value


def proof_from_json(raw: Mapping[str, Any]) -> Proof:
    drop = raw.get("drop")
    layers = tuple(
        LayerError(each["node"], each["op"], each["relativeError"]) for each in raw.get("layers", ())
    )
    return Proof(**{**raw, "drop": AccuracyDrop(**drop) if drop else None, "layers": layers})


def layer_json(layer: LayerError) -> dict[str, Any]:
    return {"node": layer.node, "op": layer.op, "relativeError": layer.relative_error}


def stage_json(stage: Stage) -> dict[str, Any]:
    return {"name": stage.name, "seconds": stage.seconds, "cached": stage.cached, **stage.detail}


def latency_json(profile: Profile | None) -> list[dict[str, Any]]:
    return [
        {
            "batch": b.size,
            "p50Ms": round(b.p50_ms, 6),
            "p99Ms": round(b.p99_ms, 6),
            "ratioToOriginal": None if b.ratio_to_original is None else round(b.ratio_to_original, 4),
        }
        for b in (profile.batches if profile else ())
    ]


def result_json(result: PresetResult, target: Target) -> dict[str, Any]:
    """One entry of `results` of `seawall optimize --json`."""
    raw: dict[str, Any] = {
        "preset": result.preset,
        "accepted": result.accepted,
        "reason": result.reason,
        "originalBytes": result.original_bytes,
        "compressedBytes": result.compressed_bytes,
        "compressionRatio": None if result.compression_ratio is None else round(result.compression_ratio, 3),
        "engineBytes": result.engine_bytes,
        "accuracy": proof_json(result.proof) if result.proof else None,
        "latency": latency_json(result.profile),
        "artifact": asdict(result.artifact) if result.artifact else None,
        "profile": result.profile.to_json(target) if result.profile else None,
        "energy": energy_json(result.profile, result.baseline, target, whole=True),
        "stages": [stage_json(stage) for stage in result.stages],
        "notes": list(result.notes),
    }
    raw |= {"precheck": result.precheck} if result.precheck else {}
    raw |= {"engine": result.engine} if result.engine else {}
    if result.compressed is not None:
        made = result.compressed
        raw |= {"method": made.method, "excluded": list(made.excluded), "tried": list(made.tried)}
    told: dict[str, Any] = finite(raw)
    return told


def build_json(
    best: PresetResult,
    lost: Sequence[PresetResult],
    digest: str,
    target: Target,
    *,
    baseline: Profile | None,
    kind: str,
) -> dict[str, Any]:
    """`result` of a ModelBuild: fractions as decimal strings, nothing that is absent."""
    raw: dict[str, Any] = {
        "preset": best.preset,
        "format": kind,
        "sha256": digest,
        "originalBytes": best.original_bytes,
        "compressedBytes": best.compressed_bytes,
        "compressionRatio": None if best.compression_ratio is None else round(best.compression_ratio, 3),
        "engineBytes": best.engine_bytes,
        "rejectedPresets": [{"preset": each.preset, "reason": each.reason} for each in lost] or None,
        "energy": energy_json(best.profile, baseline, target),
    }
    if best.proof is not None:
        accuracy = {
            k: v for k, v in proof_json(best.proof).items() if k not in ("passed", "unproven", "layers")
        }
        raw |= {"accuracy": accuracy, "unproven": best.proof.unproven}
    if best.profile is not None:
        raw["profile"] = best.profile.to_json(target)
    raw |= {"precheck": best.precheck, "engine": best.engine, "notes": list(best.notes) or None}
    told: dict[str, Any] = decimal(raw)
    return told


def energy_json(
    profile: Profile | None, baseline: Profile | None, target: Target, *, whole: bool = False
) -> dict[str, Any] | None:
    """Estimated in full use at the best batch size; None without a power figure. `whole`: its inputs too."""
    found = energy.estimated(profile, target) if profile is not None else None
    if found is None:
        return None
    told: dict[str, Any] = {"joulesPer1k": found.joules_per_1k, "estimated": found.estimated}
    before = energy.estimated(baseline, target) if baseline is not None else None
    if before is not None:
        told["originalJoulesPer1k"] = before.joules_per_1k
    if whole:
        told |= {
            "batch": found.batch,
            "idleWatts": target.idle_watts,
            "peakWatts": target.peak_watts,
        }
    return told


def decimal(value: Any) -> Any:
    """Kubernetes' schemas have no fractions: they become strings. What is None or no number is left out."""
    value = finite(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return {key: decimal(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, (list, tuple)):
        return [decimal(entry) for entry in value]
    return value

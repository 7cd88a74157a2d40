"""The scene in which a served model becomes a smaller one: one patch, a build, a proof, a rollout."""

import json
import time
import urllib.request
from typing import Any

from demo_kube import Kube, Object, wait_for
from demo_show import Show
from load import Arrays, Load, Target, answers, running

BATCH = 8
ASKED = 150
"""batches by which the two models are compared"""
RATE = 40.0
NEAR = 0.98
"""least cosine of an answer to that of the model before it was compressed"""
COMPRESSION: Object = {
    "preset": "int8",
    "calibration": "pvc://models/digits-train.npz",
    "accuracy": {"metric": "top1", "floor": "0.98", "evaluation": "pvc://models/digits-test.npz"},
}


async def compress(kube: Kube, targets: list[Target], inputs: Arrays, expected: Arrays, show: Show) -> Object:
    """What is to be told of it, as JSON; the service has one replica before and after."""
    name = targets[0].model
    before = await compute_ms(kube, targets[0], inputs)
    loads = [Load(target, inputs, expected, rate=RATE, near=NEAR) for target in targets]
    began = time.monotonic()
    async with running(*loads):
        with show.step(
            "kubectl patch: spec.compression {preset: int8, …}, until it is built and proven"
        ) as note:
            await kube.patch("inferenceservice", name, {"spec": {"compression": COMPRESSION}})
            build = await built(kube, name, show)
            note.text = f"ModelBuild {build['metadata']['name']}"
        with show.step("until only the compressed revision is left"):
            await kube.wait_settled(name)
    seconds = round(time.monotonic() - began, 1)
    after = await compute_ms(kube, targets[0], inputs)
    result, tallies = build["status"]["result"], [load.tally.report() for load in loads]
    told = {
        "seconds": seconds,
        "ratio": float(result["compressionRatio"]),
        "sameAnswer": float(result["accuracy"]["value"]),
        "accuracy": result["accuracy"]["drop"],
        "batch8Ms": [before, after],
        "load": dict(zip((target.protocol for target in targets), tallies, strict=True)),
    }
    table(show, result, told)
    return told


def table(show: Show, result: Object, told: Object) -> None:
    accuracy, (before, after) = result["accuracy"], told["batch8Ms"]
    sizes = kib(result["originalBytes"]), kib(result["compressedBytes"])
    right = [f"{float(accuracy['drop'][name]):.2f} %" for name in ("original", "compressed")]
    rows = [
        ("", "as it came", "int8"),
        ("size", sizes[0], f"{sizes[1]}, {told['ratio']:.2f} times smaller"),
        ("accuracy", right[0], f"{right[1]} of {accuracy['samples']} images"),
        ("same digit as before", "", f"{told['sameAnswer']:.2%}, at least {float(accuracy['low']):.2%}"),
        (f"Triton, batch of {BATCH}", f"{before:.3f} ms", f"{after:.3f} ms, x{after / before:.2f}"),
    ]
    for first, second, third in rows:
        show.line(f"    {first:<22}{second:<14}{third}")
    for protocol, report in told["load"].items():
        show.line(f"  {protocol}: {report['requests']} requests meanwhile, {report['failed']} failed")


def kib(count: int) -> str:
    return f"{count / 1024:.0f} KiB"


async def built(kube: Kube, service: str, show: Show) -> Object:
    """The ModelBuild that the service asked for, once it has succeeded."""
    found: list[Object] = []

    async def look() -> tuple[bool, str]:
        found[:] = [b for b in await kube.listed("modelbuild") if (b.get("status") or {}).get("phase")]
        said = (await kube.condition(service, "ModelReady")).get("message", "")
        show.progress(said)
        return any(b["status"]["phase"] == "Succeeded" for b in found), said

    await wait_for(look, f"the build of {service}", 180)
    return next(b for b in found if b["status"]["phase"] == "Succeeded")


async def compute_ms(kube: Kube, target: Target, inputs: Arrays) -> float:
    """What Triton itself counted for the batches that are asked for now, mean of each."""
    (pod,) = await kube.children("pod", target.model)
    before = counted(pod, target.model)
    many = {name: array[: BATCH * 64] for name, array in inputs.items()}
    for _ in range(-(-ASKED // 64)):
        await answers(target, many, BATCH)
    after = counted(pod, target.model)
    return (after[1] - before[1]) / (after[0] - before[0]) / 1e6


def counted(pod: Object, model: str) -> tuple[int, int]:
    """Batches of this size so far, and their nanoseconds in the model."""
    url = f"http://{pod['status']['podIP']}:8000/v2/models/{model}/stats"
    with urllib.request.urlopen(url, timeout=5) as answer:
        (stats,) = json.load(answer)["model_stats"]
    one: dict[str, Any] = next((b for b in stats["batch_stats"] if int(b["batch_size"]) == BATCH), {})
    inferred = one.get("compute_infer") or {}
    return int(inferred.get("count", 0)), int(inferred.get("ns", 0))

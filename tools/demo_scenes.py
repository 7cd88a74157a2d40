"""The part of the demo that happens inside the cluster's network: serve, ask, disturb, count.

Started by `tools/demo`; `--models` is the folder that `examples/build` printed.
"""

import argparse
import asyncio
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))

from demo_compress import compress  # noqa: E402
from demo_kube import Kube, KubeError, Object, Waited, claims, namespace_object, wait_for  # noqa: E402
from demo_show import Show  # noqa: E402
from load import Load, Target, answers, arrays, model_inputs, running  # noqa: E402
from seawall_cluster.state import MARK  # noqa: E402

NAMESPACE = "demo"
RATE = 80.0
LEAST_REQUESTS = 5000
"""By each protocol."""
HEALED_SECONDS = 30
LEAST_ACCURACY = 0.98
LEAST_COSINE = 0.999


class Unproven(Exception):
    """The cluster did what it was told, and the result is not what it must be."""


def target(model: str, protocol: str) -> Target:
    if protocol == "http":
        return Target(model, f"{model}.{NAMESPACE}.svc.cluster.local:8000", "http")
    return Target(model, f"{model}-headless.{NAMESPACE}.svc.cluster.local:8001", "grpc")


def pinned(models: Path, file: str) -> dict[str, str]:
    digest = hashlib.sha256((models / file).read_bytes()).hexdigest()
    return {"uri": f"pvc://models/{file}", "sha256": digest}


def example(name: str, models: Path) -> Object:
    """The manifest in examples/, with the digest of the model that was just made."""
    service: Object = yaml.safe_load((ROOT / "examples" / f"{name}.yaml").read_text())
    file = service["spec"]["model"]["uri"].rsplit("/", 1)[1]
    service["spec"]["model"].update(pinned(models, file))
    return service


class Demo:
    def __init__(self, models: Path, artifacts: Path, show: Show) -> None:
        self.models, self.artifacts, self.show = models, artifacts, show
        self.kube = Kube(NAMESPACE)
        self.result: dict[str, Any] = {"seconds": {}}
        self.digits = model_inputs(models / "digits-test.npz")
        self.labels = arrays(models / "digits-test.npz")["labels"]
        self.digit_scores = arrays(models / "digits-expected.npz")

    async def run(self) -> None:
        await self.serve()
        await self.ask()
        await self.disturb()
        await self.shrink_model()
        await self.finish()

    async def serve(self) -> None:
        self.show.heading("Two models become two services")
        services = [example(name, self.models) for name in ("digits", "minilm")]
        await self.kube.apply(namespace_object(NAMESPACE), *claims(NAMESPACE, self.models, self.artifacts))
        began = time.monotonic()
        with self.show.step("kubectl apply of digits (2 replicas) and minilm until digits answers"):
            await self.kube.apply(*services)
            await self.kube.wait_ready("digits")
            await answers(target("digits", "http"), self.first(self.digits), 1)
        self.result["seconds"]["applyToFirstAnswer"] = round(time.monotonic() - began, 1)
        with self.show.step("minilm is Ready, both at full strength"):
            await self.kube.wait_ready("minilm")
            for name in ("digits", "minilm"):
                await self.kube.wait_settled(name)
        self.result["seconds"]["applyToAllReady"] = round(time.monotonic() - began, 1)

    @staticmethod
    def first(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: array[:1] for name, array in inputs.items()}

    async def ask(self) -> None:
        self.show.heading("Real inputs through the Services' names")
        sentences = model_inputs(self.models / "minilm-test.npz")
        original = arrays(self.models / "minilm-expected.npz")["minilm"]
        for protocol in ("http", "grpc"):
            with self.show.step(f"{len(self.labels)} handwritten digits by {protocol}") as note:
                scores = await answers(target("digits", protocol), self.digits, 20)
                accuracy = float((scores.argmax(1) == self.labels).mean())
                note.text = f"accuracy {accuracy:.4f}"
            if accuracy < LEAST_ACCURACY:
                raise Unproven(f"accuracy {accuracy:.4f} by {protocol} is below {LEAST_ACCURACY}")
            with self.show.step(f"{len(original)} sentences by {protocol}") as note:
                embedded = await answers(target("minilm", protocol), sentences, 16)
                cosine = (embedded * original).sum(1) / np.linalg.norm(embedded, axis=1)
                note.text = (
                    f"cosine to the original model: mean {cosine.mean():.6f}, least {cosine.min():.6f}"
                )
            if not cosine.min() >= LEAST_COSINE:
                raise Unproven(f"least cosine {cosine.min():.6f} by {protocol} is below {LEAST_COSINE}")
            self.result[protocol] = {
                "digitsAccuracy": accuracy,
                "minilmCosineMean": float(cosine.mean()),
                "minilmCosineMin": float(cosine.min()),
            }

    async def disturb(self) -> None:
        self.show.heading(f"Trouble, while {2 * RATE:.0f} requests a second go on by HTTP and gRPC")
        loads = {
            protocol: Load(target("digits", protocol), self.digits, self.digit_scores, rate=RATE)
            for protocol in ("http", "grpc")
        }
        async with running(*loads.values()):
            for scene in (self.kill, self.edit, self.update, self.shrink):
                await scene()
            await self.enough(loads.values())
        self.result["load"] = {protocol: load.tally.report() for protocol, load in loads.items()}
        for protocol, report in self.result["load"].items():
            by = ", ".join(f"{count} by {name}" for name, count in sorted(report["answeredBy"].items()))
            self.show.line(
                f"  {protocol}: {report['requests']} requests, {report['failed']} failed,"
                f" p50 {report['p50Ms']} ms, p99 {report['p99Ms']} ms; answered {by}"
            )
            for failure in report["firstFailures"]:
                self.show.line(f"    {failure}")

    async def enough(self, loads: Iterable[Load]) -> None:
        async def look() -> tuple[bool, str]:
            least = min(load.tally.requests for load in loads)
            return least >= LEAST_REQUESTS, f"{least} requests"

        if not (await look())[0]:
            with self.show.step(f"until {LEAST_REQUESTS} requests are made by each"):
                await wait_for(look, "the load to go on", LEAST_REQUESTS / RATE * 3)

    async def kill(self) -> None:
        pod = (await self.kube.children("pod", "digits"))[0]["metadata"]["name"]
        with self.show.step(f"kubectl delete pod {pod}, until two are ready again") as note:
            began = time.monotonic()
            await self.kube.delete("pod", pod)
            await self.kube.wait_settled("digits")
            self.result["seconds"]["podReplaced"] = round(time.monotonic() - began, 1)
            note.text = "replaced"

    async def edit(self) -> None:
        name = f"digits-{await self.kube.wait_settled('digits')}"
        with self.show.step(
            f"kubectl scale deployment {name} --replicas=1, behind the operator's back"
        ) as note:

            async def healed() -> tuple[bool, str]:
                found = await self.kube.get("deployment", name) or {}
                replicas = found["spec"]["replicas"]
                return replicas == 2, f"replicas {replicas}"

            await self.kube.run("scale", "deployment", name, "--replicas=1")
            seconds = await wait_for(healed, "the edit to be undone", HEALED_SECONDS)
            self.result["seconds"]["editHealed"] = round(seconds, 2)
            note.text = f"undone within {seconds:.1f} s"
            await self.kube.wait_settled("digits")

    async def update(self) -> None:
        with self.show.step("spec.model.uri becomes digits-v2.onnx, until only it is left") as note:
            before = await self.kube.wait_settled("digits")
            await self.kube.patch(
                "inferenceservice", "digits", {"spec": {"model": pinned(self.models, "digits-v2.onnx")}}
            )
            after = await self.kube.wait_settled("digits")
            note.text = f"revision {before} → {after}"
            if before == after:
                raise Unproven("the update changed nothing")

    async def shrink(self) -> None:
        with self.show.step("kubectl scale swi digits --replicas=1, until one pod is left"):
            await self.kube.run("scale", "inferenceservice", "digits", "--replicas=1")
            await self.kube.wait_settled("digits")

    async def shrink_model(self) -> None:
        self.show.heading("A smaller model, proven to answer the same")
        targets = [target("digits", protocol) for protocol in ("http", "grpc")]
        told = await compress(self.kube, targets, self.digits, self.digit_scores, self.show)
        self.result["compression"] = told

    async def finish(self) -> None:
        self.show.heading("kubectl get swi")
        self.show.line(await self.kube.run("get", "inferenceservices"))
        reports = [*self.result["load"].values(), *self.result["compression"]["load"].values()]
        failed = sum(report["failed"] for report in reports)
        requests = sum(report["requests"] for report in reports)
        self.show.line(f"Failed requests: {failed} of {requests}")
        if failed:
            raise Unproven(f"{failed} of {requests} requests failed")


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    # The cluster's own folder, which goes with it.
    demo = Demo(args.models, Path(os.environ[MARK]) / "artifacts", Show(quiet=args.json))
    problem = ""
    try:
        await demo.run()
    except (Unproven, Waited, KubeError) as error:
        problem = str(error)
        print(f"demo: {problem}", file=sys.stderr)
    if args.json:
        print(json.dumps({**demo.result, "ok": not problem, "problem": problem}))
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

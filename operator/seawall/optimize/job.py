"""The phases of a build in a cluster: prepare, compress, finish, one container each, in one pod.

What a phase leaves for the next lies in the shared work folder: the stages' results, addressed by what made
them, and a note of refusals and of an artefact that was there already. So each phase simply goes through the
build again as far as it must, and finds done what is done.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seawall.fetch.redact import hide, redacted
from seawall.optimize import auto, deliver, pipeline, publish, versions
from seawall.optimize.auto import Outcome
from seawall.optimize.bench import Bench, Prepared, with_server
from seawall.optimize.forms import COMPILE, COMPILE_ALL, ready_to_compile
from seawall.optimize.measure import Timing
from seawall.optimize.progress import Progress
from seawall.optimize.types import REASONS, BuildOrder, Passing, Refused

PHASES = ("prepare", "compress", "finish")
WORK = Path("/build")
SIGNING = Path("/var/run/seawall/signing")
TERMINATION_LOG = "/dev/termination-log"
TRITON = "grpc://127.0.0.1:8001"
REFUSED, PASSING = 1, 75
MESSAGE_BYTES = 4000
"""of the 4096 that Kubernetes keeps"""
FOUND, REFUSALS, RELEASES = "found.json", "refusals.json", "releases.json"
PROFILE_SECONDS = "60"


def main(phases: Sequence[str], environment: Mapping[str, str], work: Path = WORK) -> int:
    """0 done, 1 refused, 75 a fault that may pass; the last words go into the termination log."""
    hide(environment)
    progress = Progress()
    port = int(environment.get("SEAWALL_BUILD_PORT", "8085"))
    try:
        with progress.served(port):
            job = Job.of(environment, work, progress)
            told: Mapping[str, Any] | None = None
            for phase in phases:
                told = job.phase(phase)
    except Refused as problem:
        return _ended(environment, REFUSED, {"reason": problem.reason, "message": problem.message})
    except Passing as problem:
        return _ended(environment, PASSING, _passing(problem))
    except Exception:  # noqa: BLE001 - as it would end by itself, but for what its words may hold
        print(redacted(traceback.format_exc()), file=sys.stderr, flush=True)  # noqa: T201 - the Job's log
        return 1
    return _ended(environment, 0, told) if told is not None else 0


def _passing(problem: Passing) -> dict[str, str]:
    """A store's own words carry no reason: what fails there is publishing, or finding what is published."""
    reason, _, message = str(problem).partition(": ")
    if reason in REASONS and message:
        return {"reason": reason, "message": message}
    return {"reason": "PublishFailed", "message": str(problem)}


@dataclass(frozen=True, slots=True)
class Job:
    bench: Bench
    delivery: deliver.Delivery
    triton: str | None
    """None: measured in this process"""
    profile_seconds: float

    @classmethod
    def of(cls, environment: Mapping[str, str], work: Path, progress: Progress) -> Job:
        uri = environment.get("SEAWALL_ARTIFACTS", "")
        if not uri:
            raise Refused("ArtifactStoreMissing", "the operator names no store for artefacts")
        order = with_server(BuildOrder.from_json(environment.get("SEAWALL_BUILD", "")), environment)
        mount = Path(environment.get("SEAWALL_BUILD_ARTIFACTS_MOUNT", "/artifacts"))
        store = publish.open_store(uri, publish.store_credentials(environment), mount)
        own_image = order.recipe is not None and order.recipe.image is not None
        bench = Bench(
            order,
            work,
            environment,
            progress.say,
            elsewhere=deliver.StagesInStore(store),
            one_build=True,
            made_by=_releases(work),
            recipe=work / "recipe" if own_image else None,
        )
        return cls(
            bench,
            deliver.Delivery(store, _signer(), json.loads(environment.get("SEAWALL_PUBLIC_KEYS", "[]"))),
            environment.get("SEAWALL_TRITON", TRITON) or None,
            float(environment.get("SEAWALL_BUILD_PROFILE_SECONDS", PROFILE_SECONDS)),
        )

    def phase(self, name: str) -> Mapping[str, Any] | None:
        """The last words, of the last phase only."""
        if name not in PHASES:
            raise ValueError(f"there is no phase {name!r}; there are {', '.join(PHASES)}")
        steps: dict[str, Callable[[], Mapping[str, Any] | None]] = {
            "prepare": self._prepare,
            "compress": self._compress,
            "finish": self._finish,
        }
        return steps[name]()

    def _prepare(self) -> None:
        work = self.bench.work
        for folder in ("repository", COMPILE, "recipe"):
            (work / folder).mkdir(parents=True, exist_ok=True)
        (work / COMPILE / "compile.sh").write_text(COMPILE_ALL, encoding="utf-8")
        prepared = self._prepared()
        there = deliver.known(self.bench.order, prepared.digests, self.delivery)
        if there is not None:
            self.bench.say("publish", 100.0, "another build has made the same artefact already")
            _write(work / FOUND, _words(there.artifact, there.result, there.versions))
        if self.bench.recipe is not None:
            self._hand_over(prepared, self.bench.recipe)

    def _hand_over(self, prepared: Prepared, folder: Path) -> None:
        """To the user's own image, which runs next whatever was found."""
        from seawall.optimize.presets import steps  # noqa: PLC0415
        from seawall.optimize.recipes import handover  # noqa: PLC0415

        trains = (*pipeline.TRAINING, pipeline.SPARSE)
        trained = [s for s in steps(self.bench.order.preset) if s in trains]
        step = trained[0] if trained else "pruned"
        handover(step, prepared.original, pipeline.context_of(self.bench, prepared), folder)

    def _compress(self) -> None:
        if self._found() is not None:
            return
        prepared = self._prepared()
        refusals: dict[str, dict[str, str]] = {}
        for preset in self._presets(prepared):
            try:
                made = pipeline.candidate(self.bench, self.bench.stages(), prepared, preset)
                if self.bench.order.target.type == "gpu" and self.bench.order.pipeline == 1:
                    ready_to_compile(self.bench, prepared, made)
            except Refused as problem:
                if self.bench.order.preset != "auto":
                    raise
                refusals[preset] = {"reason": problem.reason, "message": problem.message}
        _write(self.bench.work / REFUSALS, refusals)

    def _finish(self) -> Mapping[str, Any]:
        found = self._found()
        if found is not None:
            return found
        prepared = self._prepared()
        outcome = self._measured(prepared)
        if outcome.best is None or outcome.made is None:
            raise auto.nothing_fits(outcome)
        result = deliver.deliver(
            self.bench,
            prepared,
            outcome.made,
            outcome.best,
            self.delivery,
            lost=outcome.lost,
            baseline=outcome.baseline,
        )
        there = deliver.known(self.bench.order, prepared.digests, self.delivery)
        if there is None or result.artifact is None:
            raise Passing("PublishFailed: the store does not show what was just published")
        return _words(there.artifact, there.result, there.versions)

    def _measured(self, prepared: Prepared) -> Outcome:
        order = self.bench.order
        meter = Timing(self.bench, self.profile_seconds, self.triton, self.bench.work / "repository")
        if order.preset == "auto":
            refusals = json.loads((self.bench.work / REFUSALS).read_text(encoding="utf-8"))
            return auto.walk(self.bench, prepared, meter, refusals=refusals)
        stages = self.bench.stages()
        made = pipeline.candidate(self.bench, stages, prepared, order.preset)
        self.bench.say("profile", None, f"{order.preset} in Triton")
        pair = auto.measured(stages, prepared, made, meter)
        found, original = pair if pair is not None else (None, None)
        result = pipeline.accepted(made, prepared, stages, found, original)
        return Outcome(result, made, (), original)

    def _prepared(self) -> Prepared:
        return pipeline.prepare(self.bench, self.bench.stages())

    def _presets(self, prepared: Prepared) -> tuple[str, ...]:
        preset = self.bench.order.preset
        return auto.rungs(self.bench, prepared) if preset == "auto" else (preset,)

    def _found(self) -> Mapping[str, Any] | None:
        path = self.bench.work / FOUND
        told: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return told or None


def _words(artifact: Any, result: Mapping[str, Any], versions: Mapping[str, str]) -> dict[str, Any]:
    where = {"uri": artifact.uri, "digest": artifact.digest, "format": artifact.format}
    return {"result": dict(result), "artifact": where, "versions": dict(versions)}


def _releases(work: Path) -> Mapping[str, str]:
    """Of the first container: a phase in another image goes on with its results and makes none anew."""
    path = work / RELEASES
    if not path.is_file():
        _write(path, dict(versions.here()))
    told: Mapping[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return told


def _signer() -> publish.Signer | None:
    """The Secret holds one private key, whatever its name."""
    keys = sorted(p for p in SIGNING.glob("*") if p.is_file() and not p.name.startswith("."))
    return publish.Signer(keys[0]) if keys else None


def _write(path: Path, content: Any) -> None:
    """Whole or not at all: the container may be killed at any time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(content), encoding="utf-8")
    scratch.rename(path)


def cut(told: Mapping[str, Any], most: int = MESSAGE_BYTES) -> bytes:
    """Compact JSON that Kubernetes keeps whole: sentences get shorter first, batches fewer last."""
    for length in (2000, 400, 160, 80, 40):
        for batches in (32, 8, 4):
            text = json.dumps(_shortened(told, length, batches), separators=(",", ":"), ensure_ascii=False)
            if len(text.encode()) <= most:
                return text.encode()
    raise ValueError(f"the result does not fit into {most} bytes")


def _shortened(value: Any, length: int, batches: int, key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {k: _shortened(v, length, batches, k) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        kept = list(value)
        if key == "batches" and len(kept) > batches:
            kept = [kept[round(i * (len(kept) - 1) / (batches - 1))] for i in range(batches)]
        return [_shortened(v, length, batches) for v in kept]
    if isinstance(value, str) and key in ("reason", "message") and len(value) > length:
        return value[: length - 1] + "…"
    return value


def _ended(environment: Mapping[str, str], code: int, told: Mapping[str, Any]) -> int:
    if code:
        told = {name: redacted(words) for name, words in told.items()}
    words = cut(told)
    path = Path(environment.get("SEAWALL_TERMINATION_LOG", TERMINATION_LOG))
    if code:
        print(words.decode(), flush=True)  # noqa: T201 - the Job's log
    path.write_bytes(words)
    return code

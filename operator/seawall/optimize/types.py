"""What the stages of a build hand to one another.

Every stage is a function from these to these. Expected trouble is `Refused`: a reason and one sentence for
the person who asked for the model. Whatever may pass on a second try is `Passing`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from seawall.api.presets import PIPELINE_VERSION

MODEL_FILE = "model.onnx"

Array = npt.NDArray[Any]
Say = Callable[[str, "float | None", str], None]
"""say(stage, percent or None, sentence): progress for people; never the result"""


class Refused(Exception):
    """The request cannot be met, now or on a second try. `reason` is CamelCase, from the list below."""

    def __init__(self, reason: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.details = dict(details or {})


class Passing(Exception):
    """A fault that may pass on a second try: a store that answers 503, a full disk of the node."""


REASONS = (
    "DigestMismatch", "ModelNotFound", "CredentialsRefused", "UnsupportedScheme", "FetchFailed", "NoSpace",
    "InvalidModel", "InvalidConfig", "CustomOps", "UnsafeModel", "OutOfMemory", "ConversionFailed",
    "FormatUnknown", "InvalidData", "TooFewSamples", "PresetUnsupported", "CompressionFailed",
    "AccuracyBelowFloor", "Unproven", "TrainingFailed", "TrainingDataMissing", "CompileFailed", "CannotSplit",
    "ProfileFailed", "NoPresetFits", "NotCheapest", "SLOMissed", "ArtifactStoreMissing", "ArtifactConflict",
    "ArtifactDigestMismatch", "SignatureMissing", "SignatureInvalid", "SigningKeyInvalid", "PublishFailed",
)  # fmt: skip
"""Of builds (Refused and Passing), and of the presets that `auto` did not take: NotCheapest, SLOMissed."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the model is built for: the properties of an AcceleratorClass that matter."""

    name: str
    type: str
    """cpu, gpu or tpu"""
    compute_capability: str | None = None
    precisions: tuple[str, ...] = ()
    memory_bytes: int | None = None
    product: str | None = None
    """as the node labels tell it, such as NVIDIA-L4; a MIG slice is a product of its own"""
    triton_version: str | None = None
    image: str | None = None
    jax_version: str | None = None
    """release of jax in the image, for StableHLO; what a newer one exported is refused"""
    idle_watts: float | None = None
    peak_watts: float | None = None
    price_per_hour: float | None = None


@dataclass(frozen=True, slots=True)
class Criterion:
    metric: str = "cosine"
    """top1 (share of equal decisions), cosine (mean), relative-error (of the L2 norms; smaller is better)"""
    floor: float | None = None
    """None: the metric's default, see prove.default_floor"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is fine-tuned; see docs/recipes.md for the interface of an image or entry point."""

    image: str | None = None
    entrypoint: tuple[str, ...] = ()
    """empty, and no image: the reference recipe for classifiers"""
    data: str | None = None
    epochs: int | None = None


@dataclass(frozen=True, slots=True)
class BuildOrder:
    """Everything that was asked for. Uris may be local paths on a laptop."""

    model: str
    format: str
    target: Target
    preset: str = "none"
    sha256: str | None = None
    max_batch_size: int = 8
    criterion: Criterion = Criterion()
    evaluation: str | None = None
    calibration: str | None = None
    weight_clipping: float | None = None
    """quantile of absolute weights above which int8 calibration clips, such as 0.9999"""
    recipe: Recipe | None = None
    allow_unproven: bool = False
    slo_p99_ms: float | None = None
    instances: int = 1
    pipeline: int = 1
    threads: int = 1
    """cores that one instance gets where it is measured"""
    seed: int = 0

    def to_json(self) -> str:
        """Canonical JSON without a dollar sign: Kubernetes expands $(…) in values."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return text.replace("$", "\\u0024")

    @classmethod
    def from_json(cls, text: str) -> BuildOrder:
        """Raises ValueError on what to_json would not have written."""
        try:
            raw = json.loads(text)
            target = {**raw["target"], "precisions": tuple(raw["target"]["precisions"])}
            recipe = raw["recipe"]
            return cls(
                **{
                    **raw,
                    "target": Target(**target),
                    "criterion": Criterion(**raw["criterion"]),
                    "recipe": Recipe(**{**recipe, "entrypoint": tuple(recipe["entrypoint"])})
                    if recipe
                    else None,
                }
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no order for a build: {error!r}") from error

    def key_material(self, digests: Mapping[str, str]) -> dict[str, Any]:
        """What the artefact is addressed by: the request with digests (model, evaluation, calibration, data)
        in place of addresses. Prices and watts change no bit of it."""
        raw = asdict(self)
        for name in ("model", "evaluation", "calibration", "sha256"):
            raw.pop(name)
        for name in ("idle_watts", "peak_watts", "price_per_hour", "name"):
            raw["target"].pop(name)
        if raw["recipe"]:
            raw["recipe"].pop("data")
        return {"request": raw, "digests": dict(digests), "pipelineVersion": PIPELINE_VERSION}


@dataclass(frozen=True, slots=True)
class Fetched:
    """A model as it came: one file or a folder of files, nothing of it executed."""

    path: Path
    format: str
    sha256: str
    """of the file; of a folder, over the sorted lines `<sha256>  <relative path>`"""
    bytes: int


@dataclass(frozen=True, slots=True)
class Graph:
    """An ONNX model on disk: a folder that holds model.onnx, its external data, and nothing else."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / MODEL_FILE

    @property
    def bytes(self) -> int:
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())

    def sha256(self) -> str:
        """Of all files with their names, so that weights kept outside count too."""
        total = hashlib.sha256()
        for file in sorted(p for p in self.folder.rglob("*") if p.is_file()):
            digest = hashlib.sha256()
            with file.open("rb") as source:
                while piece := source.read(1 << 20):
                    digest.update(piece)
            total.update(f"{digest.hexdigest()}  {file.relative_to(self.folder).as_posix()}\n".encode())
        return total.hexdigest()


@dataclass(frozen=True, slots=True)
class TensorSpec:
    name: str
    dtype: str
    """numpy's name, such as float32 or int64; "object" for strings"""
    shape: tuple[int | None, ...]
    """None where the dimension varies; the first one is the batch where Signature.batched"""


@dataclass(frozen=True, slots=True)
class Signature:
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batched: bool


@dataclass(frozen=True, slots=True)
class Samples:
    """Data for a model: one array per input, first axis = sample."""

    inputs: Mapping[str, Array]
    labels: Array | None = None
    source: str = "evaluation"
    """evaluation, calibration or generated"""

    @property
    def count(self) -> int:
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True, slots=True)
class LayerError:
    node: str
    op: str
    relative_error: float
    """L2 norm of the difference over that of the original's output, mean over samples"""


@dataclass(frozen=True, slots=True)
class AccuracyDrop:
    """Paired, on the labels: accuracy of the original minus that of the result, in points of percent."""

    original: float
    compressed: float
    drop: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Proof:
    metric: str
    value: float
    low: float
    """95 % interval over the samples"""
    high: float
    floor: float
    samples: int
    source: str
    passed: bool
    unproven: bool = False
    """the inputs were generated: equality on them says little about real ones"""
    drop: AccuracyDrop | None = None
    layers: tuple[LayerError, ...] = ()
    """where it went wrong, worst first; only of a refusal"""


@dataclass(frozen=True, slots=True)
class Compressed:
    graph: Graph
    method: str
    """what was done, in the field's words, such as `int8 dynamic, MatMul+Gemm+Gather, per channel`"""
    excluded: tuple[str, ...] = ()
    """nodes left in higher precision by the search"""
    tried: tuple[str, ...] = ()
    """other methods that were tried, each with why it lost"""


@dataclass(frozen=True, slots=True)
class BatchTiming:
    size: int
    mean_ms: float
    std_ms: float
    p50_ms: float
    p99_ms: float
    samples: int
    ratio_to_original: float | None = None
    """of the p50s, measured interleaved in the same run"""

    @property
    def original_p50_ms(self) -> float | None:
        """Of the model as it came."""
        return self.p50_ms / self.ratio_to_original if self.ratio_to_original else None


@dataclass(frozen=True, slots=True)
class Profile:
    """Service time by batch size on one instance, as contract.md's file format has it."""

    accelerator: str
    batches: tuple[BatchTiming, ...]
    source: str
    """triton, or onnxruntime where it was measured in the process itself"""
    instances: int = 1
    max_batch_size: int = 8
    max_queue_delay_ms: float = 0.0
    overhead_ms: float = 0.0
    cold_start_seconds: float | None = None

    def to_json(self, target: Target) -> dict[str, Any]:
        raw: dict[str, Any] = {
            "accelerator": self.accelerator,
            "instances": self.instances,
            "maxBatchSize": self.max_batch_size,
            "maxQueueDelayMs": self.max_queue_delay_ms,
            "overheadMs": self.overhead_ms,
            "coldStartSeconds": self.cold_start_seconds,
            "source": self.source,
            "batches": [
                {
                    "size": b.size,
                    "meanMs": b.mean_ms,
                    "stdMs": b.std_ms,
                    "p50Ms": b.p50_ms,
                    "p99Ms": b.p99_ms,
                    "originalP50Ms": b.original_p50_ms,
                    "samples": b.samples,
                }
                for b in self.batches
            ],
        }
        if target.idle_watts is not None and target.peak_watts is not None:
            raw["power"] = {"idleWatts": target.idle_watts, "peakWatts": target.peak_watts}
        if target.price_per_hour is not None:
            raw["pricePerHour"] = target.price_per_hour
        return raw


@dataclass(frozen=True, slots=True)
class Stage:
    """One entry of the manifest."""

    name: str
    seconds: float
    detail: Mapping[str, Any] = field(default_factory=dict)
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Artifact:
    """A published result."""

    uri: str
    digest: str
    """sha256 of manifest.json"""
    format: str
    """onnx, tensorrt, stablehlo or pipeline"""
    key: str


@dataclass(frozen=True, slots=True)
class PresetResult:
    """What became of one preset; the rows of `seawall optimize`."""

    preset: str
    accepted: bool
    reason: str
    """empty when accepted; else `Reason: sentence`"""
    original_bytes: int
    compressed_bytes: int | None = None
    engine_bytes: int | None = None
    proof: Proof | None = None
    profile: Profile | None = None
    baseline: Profile | None = None
    """of the original, measured in turns with this one"""
    compressed: Compressed | None = None
    stages: tuple[Stage, ...] = ()
    artifact: Artifact | None = None
    precheck: Mapping[str, Any] | None = None
    """of a GPU's graph: what TensorRT-RTX said to it without a GPU, see gpu/precheck.py"""
    engine: Mapping[str, Any] | None = None
    """versions, device and times of an engine, see gpu/engine.py"""
    notes: tuple[str, ...] = ()
    """sentences for people: what was not checked, and why"""

    @property
    def compression_ratio(self) -> float | None:
        """Original bytes over compressed bytes, as stored."""
        return self.original_bytes / self.compressed_bytes if self.compressed_bytes else None


@dataclass(frozen=True, slots=True)
class Context:
    """What a compressor may look at and use."""

    order: BuildOrder
    signature: Signature
    calibration: Samples
    evaluation: Samples
    measure: Callable[[Graph], Proof]
    """compares a candidate with the original on (a part of) the evaluation data"""
    say: Say
    seconds: float = 600.0
    """budget of a search"""
    training: Path | None = None
    """.npz file as obtained from the recipe's `data`; None where the order names none"""
    recipe: Path | None = None
    """folder in which a training image of the user's own has left its work; None where none ran"""

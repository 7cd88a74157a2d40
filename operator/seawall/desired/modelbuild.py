"""Which ModelBuild a service needs: its spec, and the name that carries the spec's digest.

A service that serves its model as it comes needs none.
"""

from __future__ import annotations

import re
from typing import Any

from seawall.api.v1alpha1 import AcceleratorClassSpec, CompressionSpec, InferenceServiceSpec
from seawall.desired import names
from seawall.desired.canonical import digest, stamped, without_empties
from seawall.desired.inputs import compression_part

CONVERTED_FORMATS = frozenset({"torch", "tensorflow", "tflite"})
"""What Triton does not load as it comes."""
BUILT_IN_ANY_CASE = CONVERTED_FORMATS | {"stablehlo"}
"""What is not served as it comes: StableHLO is verified, and its shapes and types are written beside it."""
BUILT_FORMATS = BUILT_IN_ANY_CASE | {"onnx"}
"""What the build pipeline can read."""
PVC_SCHEME = "pvc://"
DIGEST_LENGTH = 10
NAME_LIMIT = 63
_WORD = re.compile(r"[^a-z0-9]+")


def needs_build(spec: InferenceServiceSpec) -> bool:
    return (
        _preset(spec) != "none"
        or spec.model.inferred_format in BUILT_IN_ANY_CASE
        or spec.parallelism.pipeline > 1
    )


def _preset(spec: InferenceServiceSpec) -> str:
    return spec.compression.preset if spec.compression else "none"


def build_spec(
    spec: InferenceServiceSpec, class_name: str, accelerator: AcceleratorClassSpec, pipeline_version: int
) -> dict[str, Any] | None:
    """None when nothing has to be built. Raises ValueError where the class has no runtime."""
    if not needs_build(spec):
        return None
    if accelerator.runtime is None:
        raise ValueError(f"AcceleratorClass {class_name} has no runtime")
    device = accelerator.model_dump(by_alias=True, exclude_none=True, mode="json")
    copied = ("type", "computeCapability", "precisions", "resourceName", "memory", "nodeSelector",
              "tolerations", "power")  # fmt: skip
    pipeline = spec.parallelism.pipeline
    made: dict[str, Any] = without_empties(
        {
            "model": {
                "uri": spec.model.uri,
                "format": spec.model.inferred_format,
                "sha256": spec.model.sha256,
                "credentialsSecret": spec.model.credentials_secret,
                "maxBatchSize": spec.model.max_batch_size,
            },
            "accelerator": {"class": class_name} | {k: device[k] for k in copied if k in device},
            "runtime": {
                "image": accelerator.runtime.image,
                "tritonVersion": accelerator.runtime.triton_version,
                "jaxVersion": accelerator.runtime.jax_version,
            },
            "parallelism": {"pipeline": pipeline} if pipeline > 1 else None,
            "slo": {"p99": spec.slo.p99} if _preset(spec) == "auto" else None,
            "pipelineVersion": pipeline_version,
        }
    )
    compression = compression_part(spec.compression)
    return made if compression is None else {**made, "compression": compression}


def build_name(spec: dict[str, Any]) -> str:
    """`minilm-int8-4f0c1d2e3a`: readable, and as unique as the digest of the spec."""
    preset = (spec.get("compression") or {}).get("preset", "none").replace("+", "-")
    tail = f"-{preset}-{digest(spec)[:DIGEST_LENGTH]}"
    stem = _stem(spec["model"]["uri"])[: NAME_LIMIT - len(tail)].strip("-")
    return f"{stem}{tail}"


def _stem(uri: str) -> str:
    path = uri.partition("?")[0].partition("#")[0].rstrip("/")
    last = path.rpartition("/")[2].partition("@")[0]
    word = _WORD.sub("-", (last.rpartition(".")[0] or last).lower()).strip("-")
    if not word:
        return "model"
    return word if word[0].isalpha() else f"m-{word}"


def build_model_build(namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Without an owner: it may serve several services, and outlives the one that asked first."""
    return stamped(
        {
            "apiVersion": names.API_VERSION,
            "kind": names.BUILD_KIND,
            "metadata": {
                "name": build_name(spec),
                "namespace": namespace,
                "labels": names.shared_build_labels(),
            },
            "spec": spec,
        }
    )


def source_claims(model: str, compression: CompressionSpec | None) -> set[str]:
    """The PersistentVolumeClaims that the model and the data of its build lie on."""
    accuracy = compression.accuracy if compression else None
    training = compression.training if compression else None
    uris = (
        model,
        accuracy.evaluation if accuracy else None,
        compression.calibration if compression else None,
        training.data if training else None,
    )
    return {claim_of(uri) for uri in uris if uri and uri.startswith(PVC_SCHEME)}


def claim_of(uri: str) -> str:
    return uri.removeprefix(PVC_SCHEME).split("/")[0]

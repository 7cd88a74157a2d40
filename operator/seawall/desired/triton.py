"""What Triton is told: command line, probes and ModelConfig, gated by the server's release.

The figures and traps behind each choice were measured on real servers; docs/models.md explains them to users.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from seawall.api.units import parse_duration, parse_quantity
from seawall.desired.inputs import RevisionInputs
from seawall.desired.versions import (
    ALLOW_CLIENT_SHM,
    HISTOGRAMS,
    HTTP_MAX_INPUT_SIZE,
    RESTRICTED_APIS,
    at_least,
)

MODELS_PATH = "/models"
EXIT_TIMEOUT_SECONDS = 20
"""Idle keep-alive connections hold Triton's shutdown for this whole time, so it is kept small."""
PRE_STOP_SECONDS = 10
"""Triton closes its listeners at once on SIGTERM; endpoints need this long to forget the pod everywhere."""
GRACE_PERIOD_SECONDS = PRE_STOP_SECONDS + EXIT_TIMEOUT_SECONDS + 5
HISTOGRAM = "nv_inference_first_response_histogram_ms"
BUCKET_RATIOS = (0.25, 0.5, 0.75, 0.9, 1.25, 1.5, 2, 4)
BACKENDS = {"onnx": "onnxruntime", "python": "python", "tensorrt": "tensorrt"}
INSTANCE_KINDS = {"gpu": "KIND_GPU", "cpu": "KIND_CPU", "tpu": "KIND_CPU"}
SHM_MIB_PER_PROCESS = 128
"""A model in Python hands its tensors on through /dev/shm, in a region of each instance that only grows."""
CLOSED_APIS = ("model-repository", "shared-memory", "trace", "logging")
"""What changes a server rather than asks it. Seawall asks for health, metadata, configuration, statistics and
inference, as clients do, and for none of these."""
ASKING_APIS = ("inference", "metadata", "model-config", "statistics")
KEY_HEADER, KEY_VARIABLE = "seawall-admin-key", "SEAWALL_ADMIN_KEY"
COMPLETE = frozenset({"onnx", "pipeline"})
"""Formats that the fetcher writes inputs and outputs for."""


def served_format(inputs: RevisionInputs) -> str:
    """What Triton loads: the artefact's format where there is one."""
    return str((inputs.artifact or inputs.user["model"])["format"])


def latency_source(version: str, cached: bool, staged: bool = False) -> str | None:
    """Which of Triton's own metrics tells the p99 of all requests; None: only the gateway can.

    Histograms are observed where a response is sent, and an answer from the cache is sent by the same
    function. Summaries are not: a model with the response cache on has no summary of requests at all, and
    those that remain (queue, compute) leave the hits out. A model in stages keeps its summary, because the
    fetcher puts the cache into the stages instead (fetch/ensemble.py).
    """
    if at_least(version, HISTOGRAMS):
        return "Triton"
    return None if cached and not staged else "TritonSummary"


def cache_bytes(inputs: RevisionInputs) -> int:
    """Of the response cache, beyond what the models need; 0: off."""
    return int(parse_quantity(inputs.user["cache"]["size"])) if "cache" in inputs.user else 0


def shared_memory(inputs: RevisionInputs) -> str:
    """Size of /dev/shm."""
    if inputs.platform["type"] != "cpu":
        return "1Gi"
    processes = inputs.user.get("instances", 1) * inputs.user.get("pipeline", 1)
    return f"{max(2, processes) * SHM_MIB_PER_PROCESS}Mi"


def server_args(inputs: RevisionInputs) -> list[str]:
    runtime = inputs.platform["runtime"]
    version = runtime["tritonVersion"]
    args = [
        f"--model-repository={MODELS_PATH}",
        f"--exit-timeout-secs={EXIT_TIMEOUT_SECONDS}",
        # Kubernetes hands on the last 2 KB of a failed server's log: its tables of options would fill them.
        "--log-info=false",
    ]
    if served_format(inputs) in COMPLETE:
        # The fetcher writes inputs and outputs too: the file says everything, and Triton adds no guesses.
        args.append("--disable-auto-complete-config")
    if inputs.platform["type"] != "gpu":
        args.append("--allow-gpu-metrics=false")
    if at_least(version, HISTOGRAMS):
        args.append("--metrics-config=histogram_latencies=true")
    else:
        args.append("--metrics-config=summary_latencies=true")
        args.append("--metrics-config=summary_quantiles=0.5:0.05,0.95:0.01,0.99:0.001")
    if at_least(version, HTTP_MAX_INPUT_SIZE):
        args.append(f"--http-max-input-size={64 * 2**20}")
    if at_least(version, ALLOW_CLIENT_SHM):
        args.append("--allow-client-shm=false")
    if at_least(version, RESTRICTED_APIS):
        args += [f"--http-restricted-api={restricted()}", f"--grpc-restricted-protocol={restricted()}"]
    if "cache" in inputs.user:
        args.append(f"--cache-config=local,size={cache_bytes(inputs)}")
    return [*args, *runtime.get("args", ())]


def restricted(apis: Sequence[str] = CLOSED_APIS) -> str:
    """The kubelet puts the key in, from the environment: it stands in no specification."""
    return f"{','.join(apis)}:{KEY_HEADER}=$({KEY_VARIABLE})"


def key_variable() -> dict[str, Any]:
    """The pod's own uid: 122 random bits that the API server draws and tells nobody on the network."""
    source = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}}
    return {"name": KEY_VARIABLE, "valueFrom": source}


def build_args(version: str) -> list[str]:
    """For the server that a build measures in, which loads whatever it is told: gRPC is for the pod itself,
    and HTTP, which the kubelet probes from outside, answers that it lives and nothing else."""
    args = ["--model-control-mode=explicit", "--grpc-address=127.0.0.1", "--allow-metrics=false"]
    if at_least(version, RESTRICTED_APIS):
        args.append(f"--http-restricted-api={restricted((*CLOSED_APIS, *ASKING_APIS))}")
    return args


def ready_path(name: str, model_format: str) -> str:
    """Readiness of the model: the whole server turns unready when any one version fails to load."""
    if model_format == "repository":
        return f"/v2/models/{name}/ready"  # versions are whatever the repository brings
    return f"/v2/models/{name}/versions/1/ready"


def probes(name: str, model_format: str) -> dict[str, Any]:
    ready = {"httpGet": {"path": ready_path(name, model_format), "port": "http"}}
    live = {"httpGet": {"path": "/v2/health/live", "port": "http"}}
    return {
        # Every second, because a pod's first answer waits for it; for ten minutes, because engines are large.
        "startupProbe": {**ready, "periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": 600},
        "readinessProbe": {**ready, "periodSeconds": 3, "timeoutSeconds": 2, "failureThreshold": 3},
        "livenessProbe": {**live, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
    }


def model_config(inputs: RevisionInputs) -> dict[str, Any]:
    """Triton's ModelConfig as protobuf-JSON with the schema's own field names.

    Name, metric tags, inputs, outputs and warm-up are added by the fetcher, which sees the model, and which
    shares this out over the stages of a pipeline. Of a repository, which brings its own config, only what
    the spec says explicitly is changed.
    """
    model_format = served_format(inputs)
    config: dict[str, Any] = {}
    if model_format in BACKENDS:
        config["backend"] = BACKENDS[model_format]
    if "maxBatchSize" in inputs.user["model"]:
        config["max_batch_size"] = inputs.user["model"]["maxBatchSize"]
    as_it_is = model_format == "repository"
    if not as_it_is or "batching" in inputs.user:
        config["dynamic_batching"] = _dynamic_batching(inputs)
    if not as_it_is or "instances" in inputs.user:
        config["instance_group"] = _instance_groups(inputs)
    if "cache" in inputs.user:
        config["response_cache"] = {"enable": True}
    if at_least(inputs.platform["runtime"]["tritonVersion"], HISTOGRAMS):
        config["model_metrics"] = {
            "metric_control": [
                {
                    "metric_identifier": {"family": HISTOGRAM},
                    "histogram_options": {"buckets": latency_buckets(parse_duration(inputs.slo))},
                }
            ]
        }
    return config


def _instance_groups(inputs: RevisionInputs) -> list[dict[str, Any]]:
    """One per device where a pod has several, so that each can be given to a stage of its own."""
    kind = INSTANCE_KINDS[inputs.platform["type"]]
    group = {"kind": kind, "count": inputs.user.get("instances", 1)}
    devices = inputs.user["accelerator"].get("count", 1)
    if kind != "KIND_GPU" or devices == 1:
        return [group]
    return [{**group, "gpus": [device]} for device in range(devices)]


def _dynamic_batching(inputs: RevisionInputs) -> dict[str, Any]:
    """No preferred sizes, and neither a delay nor a queue policy unless asked for.

    A delay is added one to one at low load. A queue policy of any kind (a bound, a time limit, leave to set
    one) makes Triton's batcher give up preparing the next batch while one runs, and then it misses a wake-up
    now and then: answers come half a second late (bench/queue_policy.py shows it).
    """
    batching = inputs.user.get("batching", {})
    config: dict[str, Any] = {}
    if "maxQueueSize" in batching:
        config["default_queue_policy"] = {"max_queue_size": batching["maxQueueSize"]}
    delay = round(parse_duration(batching.get("maxQueueDelay", "0us")) * 1e6)
    if delay:
        config["max_queue_delay_microseconds"] = delay
    return config


def latency_buckets(slo: float) -> list[int]:
    """Upper edges in whole milliseconds, around the SLO (in seconds).

    Triton floors a latency to whole milliseconds, so `le=20` would count 20.9 ms as good: the edge that
    stands for the SLO is the last whole millisecond below it.
    """
    milliseconds = round(slo * 1000, 6)
    edges = {math.ceil(milliseconds) - 1, *(math.floor(milliseconds * ratio) for ratio in BUCKET_RATIOS)}
    return sorted(edge for edge in edges if edge >= 1 or edge == math.ceil(milliseconds) - 1)

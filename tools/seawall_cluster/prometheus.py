"""Prometheus beside the node's programs: it finds the pods through the API, as it would in any cluster."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

from . import parts
from .api import Api
from .errors import ClusterError
from .gateway import STATS_PORT
from .state import Layout

PORT = 9090
USER = "system:prometheus"
SERVICE = "prometheus"
PODS = "__meta_kubernetes_pod_"
TRITON_METRICS, OPERATOR_METRICS = 8002, 9090
READS = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
# The operator's endpoint knows its readers by their tokens, and a certificate is none.
ACCOUNT, SCRAPER = "prometheus", "seawall-scraper"
SCRAPES = [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]
TOKEN_SECONDS = 7 * 86400


def config(layout: Layout, chosen: parts.Parts) -> dict[str, Any]:
    every = f"{chosen.scrape_seconds}s"
    jobs = [triton_job(layout), operator_job(layout), extra_job(layout)]
    if "gateway" in chosen.names:
        jobs.append(gateway_job())
    return {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "scrape_configs": jobs,
    }


def triton_job(layout: Layout) -> dict[str, Any]:
    """The pods of InferenceServices; their labels are those that a PodMonitor would give."""
    selector = "app.kubernetes.io/managed-by=seawall,app.kubernetes.io/component=model-server"
    label = f"{PODS}label_serving_seawall_dev_"
    return {
        "job_name": "triton",
        "kubernetes_sd_configs": [_pods(layout, selector)],
        "relabel_configs": [
            _keep_port(TRITON_METRICS),
            _rename("__meta_kubernetes_namespace", "namespace"),
            _rename(f"{PODS}name", "pod"),
            _rename(f"{label}inferenceservice", "inferenceservice"),
            _rename(f"{label}revision", "revision"),
        ],
    }


def operator_job(layout: Layout) -> dict[str, Any]:
    """Its series name the services that they are about: those labels stay what they are."""
    selector = "app.kubernetes.io/name=seawall,app.kubernetes.io/component=operator"
    return {
        "job_name": "seawall",
        "honor_labels": True,
        "scheme": "https",
        # The authority is made when the chart is installed, which may never happen here.
        "tls_config": {"insecure_skip_verify": True},
        "authorization": {"credentials_file": str(token(layout))},
        "kubernetes_sd_configs": [_pods(layout, selector)],
        "relabel_configs": [_keep_port(OPERATOR_METRICS), _rename(f"{PODS}name", "pod")],
    }


def extra_job(layout: Layout) -> dict[str, Any]:
    """Programs that are no pods: whoever starts one leaves a file of targets here."""
    return {
        "job_name": "extra",
        "honor_labels": True,
        "file_sd_configs": [{"files": [str(targets(layout) / "*.json")], "refresh_interval": "5s"}],
    }


def gateway_job() -> dict[str, Any]:
    return {
        "job_name": "envoy",
        "metrics_path": "/stats/prometheus",
        "static_configs": [{"targets": [f"127.0.0.1:{STATS_PORT}"]}],
    }


def account(within: str) -> list[tuple[str, dict[str, Any]]]:
    """The identity of its scrapes, and what lets it read the operator's metrics."""
    group = "rbac.authorization.k8s.io"
    made = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": within}}
    role = {"kind": "ClusterRole", "metadata": {"name": SCRAPER}, "rules": SCRAPES}
    binding = {
        "kind": "ClusterRoleBinding",
        "metadata": {"name": SCRAPER},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": SCRAPER},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": within}],
    }
    return [
        (f"/api/v1/namespaces/{within}/serviceaccounts/{ACCOUNT}", made),
        (f"/apis/{group}/v1/clusterroles/{SCRAPER}", {"apiVersion": f"{group}/v1", **role}),
        (f"/apis/{group}/v1/clusterrolebindings/{SCRAPER}", {"apiVersion": f"{group}/v1", **binding}),
    ]


def fetch_token(api: Api, layout: Layout, within: str) -> None:
    """Written before Prometheus starts; longer than a cluster is left running."""
    path = f"/api/v1/namespaces/{within}/serviceaccounts/{ACCOUNT}/token"
    spec = {"expirationSeconds": TOKEN_SECONDS}
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    status, body = api.call("POST", path, request)
    if status != http.client.CREATED:
        raise ClusterError(f"POST {path} answered {status}: {body[:300]!r}")
    token(layout).touch(mode=0o600)
    token(layout).write_text(json.loads(body)["status"]["token"])


def token(layout: Layout) -> Path:
    return layout.directory / "prometheus.token"


def targets(layout: Layout) -> Path:
    return layout.directory / "targets"


def write_configuration(layout: Layout, chosen: parts.Parts) -> None:
    targets(layout).mkdir()
    # JSON is YAML.
    (layout.directory / "prometheus.json").write_text(json.dumps(config(layout, chosen), indent=1))


def command(layout: Layout, programs: dict[str, Path]) -> list[str]:
    return [
        str(programs["prometheus"]),
        f"--config.file={layout.directory / 'prometheus.json'}",
        f"--storage.tsdb.path={layout.directory / 'prometheus'}",
        "--storage.tsdb.retention.time=1d",
        "--web.enable-lifecycle",
        f"--web.listen-address={layout.address}:{PORT}",
        "--log.level=warn",
    ]


def _pods(layout: Layout, selector: str) -> dict[str, Any]:
    return {
        "role": "pod",
        "kubeconfig_file": str(layout.directory / "prometheus.kubeconfig"),
        "selectors": [{"role": "pod", "label": selector}],
    }


def _keep_port(port: int) -> dict[str, Any]:
    return {
        "source_labels": [f"{PODS}container_port_number", f"{PODS}phase"],
        "regex": f"{port};(Pending|Running)",
        "action": "keep",
    }


def _rename(source: str, target: str) -> dict[str, Any]:
    return {"source_labels": [source], "target_label": target}

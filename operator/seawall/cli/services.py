"""How the commands that look at a cluster reach its InferenceServices: kubeconfig or the pod's account."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from seawall.desired.names import GROUP

VERSION, PLURAL, BUILDS, CLASSES = "v1alpha1", "inferenceservices", "modelbuilds", "acceleratorclasses"
SECONDS = 20
PAGE = 500


class ClusterError(Exception):
    """One sentence on why the cluster did not give what was asked."""


class NotFound(ClusterError):
    pass


class Services:
    """InferenceServices of one cluster, as plain dictionaries. `seconds`: how long one answer may take."""

    def __init__(self, context: str | None = None, seconds: float = SECONDS) -> None:
        from kubernetes import client, config  # noqa: PLC0415

        try:
            self.default_namespace = connect(config, context)
        except (config.ConfigException, OSError, ValueError) as error:
            raise ClusterError(f"no usable kubeconfig: {error}") from error
        self._api = client.CustomObjectsApi()
        self._seconds = seconds

    def get(self, namespace: str, name: str) -> dict[str, Any]:
        call = self._api.get_namespaced_custom_object
        found: dict[str, Any] = self._do(
            f"InferenceService {namespace}/{name}", call, GROUP, VERSION, namespace, PLURAL, name
        )
        return found

    def list(self, namespace: str | None) -> list[dict[str, Any]]:
        """All of a namespace, or of the cluster for None."""
        items: list[dict[str, Any]] = []
        following: str | None = None
        while True:
            page = {"limit": PAGE, **({"_continue": following} if following else {})}
            if namespace is None:
                call, place = self._api.list_cluster_custom_object, [GROUP, VERSION, PLURAL]
            else:
                call, place = self._api.list_namespaced_custom_object, [GROUP, VERSION, namespace, PLURAL]
            found = self._do("the resource InferenceService (is Seawall installed?)", call, *place, **page)
            items += found["items"]
            following = found["metadata"].get("continue")
            if not following:
                return items

    def build(self, namespace: str, name: str) -> dict[str, Any] | None:
        """The ModelBuild of this name, None where it has gone."""
        call = self._api.get_namespaced_custom_object
        what = f"ModelBuild {namespace}/{name}"
        try:
            found: dict[str, Any] = self._do(what, call, GROUP, VERSION, namespace, BUILDS, name)
        except NotFound:
            return None
        return found

    def prices(self) -> dict[str, tuple[float, str]] | None:
        """What one device of each class costs for an hour, and the currency; None where nobody may look."""
        call = self._api.list_cluster_custom_object
        try:
            found = self._do("the resource AcceleratorClass", call, GROUP, VERSION, CLASSES)
        except ClusterError:
            return None
        costs = {entry["metadata"]["name"]: entry["spec"].get("cost") for entry in found["items"]}
        return {n: (float(c["perHour"]), c.get("currency", "")) for n, c in costs.items() if c}

    def annotate(self, namespace: str, name: str, annotations: dict[str, str]) -> None:
        self._do(
            f"InferenceService {namespace}/{name}",
            self._api.patch_namespaced_custom_object,
            GROUP,
            VERSION,
            namespace,
            PLURAL,
            name,
            {"metadata": {"annotations": annotations}},
            field_manager="seawall-cli",
            _content_type="application/merge-patch+json",
        )

    def _do(self, what: str, call: Any, *args: Any, **kwargs: Any) -> Any:
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        try:
            return call(*args, _request_timeout=self._seconds, **kwargs)
        except ApiException as error:
            if error.status == 404:
                raise NotFound(f"{what} not found") from error
            raise ClusterError(_message(error)) from error
        except (HTTPError, OSError) as error:
            raise ClusterError(f"the API server does not answer: {error}") from error


def contexts() -> list[str]:
    """Names of the kubeconfig's contexts."""
    from kubernetes import config  # noqa: PLC0415

    try:
        known, _ = config.list_kube_config_contexts(config_file=_kubeconfig())
    except (config.ConfigException, OSError, ValueError) as error:
        raise ClusterError(f"no usable kubeconfig: {error}") from error
    return sorted(str(one["name"]) for one in known)


def _kubeconfig() -> str:
    return os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())


def connect(config: Any, context: str | None = None) -> str:
    """Kubeconfig where there is one, else the pod's own account; the namespace that goes with it."""
    files = _kubeconfig()
    if context is None and not os.environ.get("KUBECONFIG") and not Path(files).exists():
        config.load_incluster_config()
        return "default"
    config.load_kube_config(config_file=files, context=context)
    known, active = config.list_kube_config_contexts(config_file=files)
    if context is not None:
        active = next(known_one for known_one in known if known_one["name"] == context)
    return str(active["context"].get("namespace") or "default")


def _message(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"the API server answered {error.status} {error.reason}"

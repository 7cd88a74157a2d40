"""The node: containerd, the kubelet and the pods' network, as configuration and command lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .controlplane import ControlPlane
from .state import DNS_ADDRESS, NODE, Layout

PAUSE_IMAGE = "localhost/seawall/busybox:1"
KUBELET_PORT = 10250
SNAPSHOTTERS = ("blockfile", "btrfs", "devmapper", "erofs", "zfs")


def containerd_config(layout: Layout, runc: Path, plugins: str) -> str:
    base = layout.directory / "ctd"
    unused = json.dumps(
        ["io.containerd.nri.v1.nri", *(f"io.containerd.snapshotter.v1.{name}" for name in SNAPSHOTTERS)]
    )
    return f"""version = 3
root = "{base}/var"
state = "{base}/run"
disabled_plugins = {unused}
[grpc]
  address = "{layout.socket}"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["{plugins}"]
  conf_dir = "{layout.directory}/cni"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = "{runc}"
  SystemdCgroup = false
"""


def network_config(layout: Layout) -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": layout.pod_range}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(layout.directory / "cni-data"),
    }
    plugin = {"type": "ptp", "ipMasq": False, "ipam": addresses}
    return {"cniVersion": "0.4.0", "name": "seawall", "plugins": [plugin]}


def kubelet_config(layout: Layout, plane: ControlPlane) -> dict[str, Any]:
    serving, own = plane.pki.pair("kubelet-serving"), layout.directory / "kubelet"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{layout.socket}",
        "address": layout.address,
        "port": KUBELET_PORT,
        "healthzPort": 0,
        "readOnlyPort": 0,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(plane.pki.pair("ca").cert)},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "tlsCertFile": str(serving.cert),
        "tlsPrivateKeyFile": str(serving.key),
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        # Each container has its own limits; only the groups between the node and its pods are left out.
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": True,
        "makeIPTablesUtilChains": False,
        "evictionHard": {"memory.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,
        "imageMinimumGCAge": "24h",
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        # An empty file: a pod knows the cluster's names and no others.
        "resolvConf": str(own / "resolv.conf"),
        "podLogsDir": str(own / "logs"),
        "volumePluginDir": str(own / "volume-plugins"),
        "maxPods": 110,
        "serializeImagePulls": False,
        "registryPullQPS": 50,
        "registryBurst": 100,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
        "syncFrequency": "5s",
        "nodeStatusUpdateFrequency": "5s",
    }


def write_configuration(layout: Layout, plane: ControlPlane, plugins: str) -> None:
    directory = layout.directory
    for folder in ("ctd", "cni", "cni-data", "kubelet/logs", "kubelet/volume-plugins"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    (directory / "kubelet" / "resolv.conf").touch()
    (directory / "containerd.toml").write_text(containerd_config(layout, plane.programs["runc"], plugins))
    (directory / "cni" / "10-seawall.conflist").write_text(json.dumps(network_config(layout)))
    (directory / "kubelet.json").write_text(json.dumps(kubelet_config(layout, plane)))
    plane.pki.server("kubelet-serving", f"system:node:{NODE}", [f"IP:{layout.address}", f"DNS:{NODE}"])
    plane.pki.client("kubelet-client", "kube-apiserver-kubelet-client", ("system:masters",))
    plane.kubeconfig_for(f"system:node:{NODE}", ("system:nodes",), directory / "kubelet.kubeconfig")


def apiserver_flags(plane: ControlPlane) -> list[str]:
    client = plane.pki.pair("kubelet-client")
    return [
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--kubelet-client-certificate={client.cert}",
        f"--kubelet-client-key={client.key}",
        f"--kubelet-certificate-authority={plane.pki.pair('ca').cert}",
        # Else the node's name is looked up, and `kubectl logs` and `exec` fail.
        "--kubelet-preferred-address-types=InternalIP",
        "--allow-privileged=true",
    ]


def containerd_command(layout: Layout, programs: dict[str, Path]) -> list[str]:
    return [str(programs["containerd"]), "--config", str(layout.directory / "containerd.toml")]


def kubelet_command(layout: Layout, programs: dict[str, Path]) -> list[str]:
    directory = layout.directory
    return [
        str(programs["kubelet"]),
        f"--config={directory / 'kubelet.json'}",
        f"--kubeconfig={directory / 'kubelet.kubeconfig'}",
        f"--root-dir={directory / 'kubelet'}",
        f"--cert-dir={directory / 'kubelet' / 'pki'}",
        f"--hostname-override={NODE}",
        f"--node-ip={layout.address}",
    ]

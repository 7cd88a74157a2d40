"""ClusterIPs by kube-proxy and names by CoreDNS, both as programs beside the kubelet."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from .api import Api, Object
from .controlplane import ControlPlane
from .state import DNS_ADDRESS, NODE, Layout

DNS_USER = "system:coredns"
RBAC = "rbac.authorization.k8s.io"


def proxy_config(layout: Layout) -> dict[str, Any]:
    untouched = {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "bindAddress": "127.0.0.1",
        "clusterCIDR": layout.pod_range,
        "detectLocalMode": "ClusterCIDR",
        "hostnameOverride": NODE,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "nodePortAddresses": [f"{layout.address}/32"],
        "clientConnection": {
            "kubeconfig": str(layout.directory / "kube-proxy.kubeconfig"),
            "qps": 100,
            "burst": 200,
        },
        "conntrack": untouched,
        "nftables": {"syncPeriod": "30s", "minSyncPeriod": "50ms"},
    }


def corefile(layout: Layout) -> str:
    """No forwarding: a name outside the cluster does not exist, and nothing leaves the machine."""
    return f"""cluster.local in-addr.arpa ip6.arpa {{
    bind {layout.address}
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {layout.directory / "coredns.kubeconfig"}
        pods insecure
        ttl 1
    }}
    cache 1
}}
. {{
    bind {layout.address}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""


def write_configuration(layout: Layout, plane: ControlPlane) -> None:
    directory = layout.directory
    plane.kubeconfig_for("system:kube-proxy", (), directory / "kube-proxy.kubeconfig")
    plane.kubeconfig_for(DNS_USER, (), directory / "coredns.kubeconfig")
    (directory / "kube-proxy.json").write_text(json.dumps(proxy_config(layout)))
    (directory / "Corefile").write_text(corefile(layout))


def proxy_command(layout: Layout, programs: dict[str, Path]) -> list[str]:
    return [str(programs["kube-proxy"]), f"--config={layout.directory / 'kube-proxy.json'}"]


def dns_command(layout: Layout, programs: dict[str, Path]) -> list[str]:
    return [str(programs["coredns"]), "-conf", str(layout.directory / "Corefile")]


def apply_dns(api: Api, layout: Layout) -> None:
    for path, manifest in dns_objects(layout):
        api.apply(path, manifest)


def dns_objects(layout: Layout) -> list[tuple[str, Object]]:
    """CoreDNS's rights, and the Service of the well-known address that leads to it."""
    reads = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    ports = [{"name": f"dns-{kind.lower()}", "port": 53, "protocol": kind} for kind in ("UDP", "TCP")]
    service = hosted("kube-system", "kube-dns", layout.address, ports, ports, DNS_ADDRESS)
    return [*rights(DNS_USER, reads), *service]


def rights(user: str, rules: list[Object]) -> list[tuple[str, Object]]:
    """A role of the user's own, with these rules."""
    role = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": user}, "rules": rules}
    return [(f"/apis/{RBAC}/v1/clusterroles/{user}", role), binding(user, user)]


def binding(user: str, role: str) -> tuple[str, Object]:
    manifest = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": user},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
    }
    return f"/apis/{RBAC}/v1/clusterrolebindings/{user}", manifest


def namespace(name: str) -> tuple[str, Object]:
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    return f"/api/v1/namespaces/{name}", manifest


def hosted(
    within: str, name: str, address: str, ports: list[Object], targets: list[Object], cluster_ip: str = ""
) -> list[tuple[str, Object]]:
    """A Service without a selector, and the address on the node that it leads to."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": within},
        "spec": {"ports": ports} | ({"clusterIP": cluster_ip} if cluster_ip else {}),
    }
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": within,
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": targets,
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
    }
    return [
        (f"/api/v1/namespaces/{within}/services/{name}", service),
        (f"/apis/discovery.k8s.io/v1/namespaces/{within}/endpointslices/{name}", endpoints),
    ]


def resolves(name: str, server: str = DNS_ADDRESS) -> bool:
    """Ask for a name's address by way of the Service: true proves kube-proxy and CoreDNS together."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(0.5)
        try:
            asking.sendto(question(name), (server, 53))
            answer = asking.recv(512)
        except OSError:
            return False
    return answers(answer)


def question(name: str) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"\x5e\xa1\x01\x00\x00\x01" + bytes(6) + labels + b"\x00\x00\x01\x00\x01"


def answers(reply: bytes) -> bool:
    """Whether a DNS reply carries no error and at least one record."""
    return len(reply) >= 12 and reply[3] & 0x0F == 0 and int.from_bytes(reply[6:8], "big") > 0

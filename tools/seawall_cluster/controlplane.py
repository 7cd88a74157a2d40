"""The command lines of etcd, kube-apiserver, kube-controller-manager and kube-scheduler."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .pki import ADMIN_GROUP, Pair, Pki

SERVICE_RANGE = "10.96.0.0/16"
SERVICE_OF_API = "10.96.0.1"
ISSUER = "https://kubernetes.default.svc"
API_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


@dataclass(frozen=True)
class ControlPlane:
    """Where one control plane lives: its directory, address, ports and programs."""

    directory: Path
    address: str
    port: int
    etcd_ports: tuple[int, int]
    programs: dict[str, Path]

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.port}"

    @property
    def pki(self) -> Pki:
        return Pki(self.directory / "pki")

    @property
    def audit_log(self) -> Path:
        return self.directory / "audit.log"

    @property
    def admin(self) -> Pair:
        return self.pki.pair("admin")

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    def prepare(self) -> None:
        """Keys, certificates, the admin's kubeconfig and the audit policy."""
        pki = self.pki
        pki.authority("ca")
        sans = [f"IP:{ip}" for ip in dict.fromkeys(("127.0.0.1", self.address, SERVICE_OF_API))]
        pki.server("apiserver", "kube-apiserver", [*sans, *(f"DNS:{name}" for name in API_NAMES)])
        pki.client("front-proxy-client", "front-proxy-client", ca="front-proxy-ca")
        pki.service_account_keys()
        self.kubeconfig_for("admin", (ADMIN_GROUP,), self.kubeconfig)
        (self.directory / "audit-policy.json").write_text(json.dumps(AUDIT_POLICY))

    def kubeconfig_for(self, user: str, groups: tuple[str, ...] = (), path: Path | None = None) -> Path:
        """A kubeconfig whose client certificate names this user: the audit log can be counted by it."""
        stem = user.removeprefix("system:").replace(":", "-")
        client = self.pki.client(stem, user, groups)
        return self.pki.kubeconfig(path or self.directory / f"{stem}.kubeconfig", self.url, client, user=user)

    def etcd(self) -> list[str]:
        client, peer = (f"http://127.0.0.1:{port}" for port in self.etcd_ports)
        return [
            str(self.programs["etcd"]),
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        ]

    def apiserver(self, *extra: str) -> list[str]:
        pki, serving, accounts = self.pki, self.pki.pair("apiserver"), self.pki.service_account_keys()
        proxy = pki.pair("front-proxy-client")
        return [
            str(self.programs["kube-apiserver"]),
            f"--etcd-servers=http://127.0.0.1:{self.etcd_ports[0]}",
            f"--bind-address={self.address}",
            f"--advertise-address={self.address}",
            f"--secure-port={self.port}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            f"--client-ca-file={pki.pair('ca').cert}",
            f"--tls-cert-file={serving.cert}",
            f"--tls-private-key-file={serving.key}",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={accounts.cert}",
            f"--service-account-signing-key-file={accounts.key}",
            f"--requestheader-client-ca-file={pki.pair('front-proxy-ca').cert}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={proxy.cert}",
            f"--proxy-client-key-file={proxy.key}",
            f"--audit-policy-file={self.directory / 'audit-policy.json'}",
            f"--audit-log-path={self.audit_log}",
            "--audit-log-maxsize=2000",
            *extra,
        ]

    def controller_manager(self, port: int) -> list[str]:
        authority, accounts = self.pki.pair("ca"), self.pki.service_account_keys()
        return [
            *self._with_kubeconfig("kube-controller-manager", port),
            "--use-service-account-credentials",
            f"--root-ca-file={authority.cert}",
            f"--service-account-private-key-file={accounts.key}",
            f"--cluster-signing-cert-file={authority.cert}",
            f"--cluster-signing-key-file={authority.key}",
            # Without these two the controllers run after 8 s instead of 4 s.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--horizontal-pod-autoscaler-sync-period=5s",
            # Else it creates a directory under /usr/libexec.
            f"--flex-volume-plugin-dir={self.directory / 'flex'}",
        ]

    def scheduler(self, port: int) -> list[str]:
        limits = ["--kube-api-qps=500", "--kube-api-burst=1000"]
        return [*self._with_kubeconfig("kube-scheduler", port), *limits]

    def _with_kubeconfig(self, program: str, port: int) -> list[str]:
        own = self.kubeconfig_for(f"system:{program}")
        return [
            str(self.programs[program]),
            f"--kubeconfig={own}",
            f"--authentication-kubeconfig={own}",
            f"--authorization-kubeconfig={own}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            "--leader-elect=false",
        ]

"""Certificates of one cluster, made with openssl.

One command per certificate: `openssl req -x509 -CA` (OpenSSL 3) makes key and certificate together. The
configuration is written to a file for each, so that no name needs escaping on a command line.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import ClusterError

ADMIN_GROUP = "system:masters"


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    cert: Path
    key: Path


@dataclass(frozen=True)
class Pki:
    directory: Path

    def authority(self, name: str) -> Pair:
        pair = self.pair(name)
        if not pair.cert.exists():
            self._make(
                name, name, (), "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign"
            )
        return pair

    def server(self, name: str, common_name: str, sans: Sequence[str], *, ca: str = "ca") -> Pair:
        usage = "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth"
        names = ",".join(sans)
        return self._issue(name, common_name, (), f"{usage}\nsubjectAltName={names}", ca)

    def client(self, name: str, common_name: str, groups: Sequence[str] = (), *, ca: str = "ca") -> Pair:
        usage = "keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth"
        return self._issue(name, common_name, groups, usage, ca)

    def service_account_keys(self) -> Pair:
        """The pair that signs and checks service account tokens: a public key, no certificate."""
        pair = Pair(self.directory / "sa.pub", self.directory / "sa.key")
        if not pair.key.exists():
            self._openssl(
                "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(pair.key)
            )
            self._openssl("pkey", "-in", str(pair.key), "-pubout", "-out", str(pair.cert))
        return pair

    def pair(self, name: str) -> Pair:
        return Pair(self.directory / f"{name}.crt", self.directory / f"{name}.key")

    def kubeconfig(self, path: Path, server: str, client: Pair, *, user: str = "admin") -> Path:
        """A kubeconfig with everything inside, so that it can be copied anywhere. JSON is YAML."""
        cluster = {"server": server, "certificate-authority-data": encoded(self.pair("ca").cert)}
        identity = {"client-certificate-data": encoded(client.cert), "client-key-data": encoded(client.key)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "seawall", "cluster": cluster}],
            "users": [{"name": user, "user": identity}],
            "contexts": [{"name": "seawall", "context": {"cluster": "seawall", "user": user}}],
            "current-context": "seawall",
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(document, indent=1))
        return path

    def _issue(self, name: str, common_name: str, groups: Sequence[str], extensions: str, ca: str) -> Pair:
        pair = self.pair(name)
        if not pair.cert.exists():
            issuer = self.authority(ca)
            signing = ("-CA", str(issuer.cert), "-CAkey", str(issuer.key))
            self._make(
                name, common_name, groups, f"basicConstraints=critical,CA:FALSE\n{extensions}", *signing
            )
        return pair

    def _make(
        self, name: str, common_name: str, groups: Sequence[str], extensions: str, *signing: str
    ) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        request = self.directory / f"{name}.cnf"
        request.write_text(request_config(common_name, groups, extensions))
        pair = self.pair(name)
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        files = ("-keyout", str(pair.key), "-out", str(pair.cert))
        self._openssl("req", "-x509", "-config", str(request), *curve, "-days", "3650", *files, *signing)
        request.unlink()

    @staticmethod
    def _openssl(*args: str) -> None:
        try:
            done = subprocess.run(["openssl", *args], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise ClusterError("openssl is missing: run tools/bootstrap") from None
        if done.returncode:
            raise ClusterError(f"openssl {args[0]} failed: {done.stderr.strip()}")


def request_config(common_name: str, groups: Sequence[str], extensions: str) -> str:
    organisations = "".join(f"{number}.O={group}\n" for number, group in enumerate(groups))
    return (
        "[req]\nprompt=no\ndistinguished_name=dn\nx509_extensions=ext\nstring_mask=utf8only\n"
        f"[dn]\n{organisations}CN={common_name}\n"
        f"[ext]\nsubjectKeyIdentifier=hash\n{extensions}\n"
    )


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()

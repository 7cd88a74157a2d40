"""Authorities and clients such as an API server's front proxy has them, made for a test."""

from __future__ import annotations

import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PROXY_NAME = "front-proxy-client"


class Authority:
    """Signs client certificates; with a parent it is an intermediate one."""

    def __init__(self, name: str, parent: Authority | None = None) -> None:
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        signer = parent or self
        made = self._builder(self.name, signer.name, self.key, timedelta(days=1))
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = made.sign(signer.key, hashes.SHA256())

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def client(
        self, folder: Path, name: str = PROXY_NAME, *, serves: bool = False, ended: bool = False
    ) -> Path:
        """A file with a key and a certificate of this common name."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if serves else ExtendedKeyUsageOID.CLIENT_AUTH
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._builder(subject, self.name, key, timedelta(seconds=-60 if ended else 86400))
        made = made.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        pair = made.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)
        pair += key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path = folder / f"{x509.random_serial_number():x}.pem"
        path.write_bytes(pair)
        return path

    @staticmethod
    def _builder(
        subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, life: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + life)
        )


def published(*authorities: Authority, names: list[str] | None = None) -> dict[str, Any]:
    """The ConfigMap in which the API server says by what it is to be known."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {
            "requestheader-client-ca-file": "".join(authority.pem for authority in authorities),
            "requestheader-allowed-names": json.dumps([PROXY_NAME] if names is None else names),
            "requestheader-username-headers": '["X-Remote-User"]',
        },
    }


def trusting(authority: str, pair: Path | None = None) -> ssl.SSLContext:
    """A client's context: whom it believes, and how it presents itself."""
    context = ssl.create_default_context(cadata=authority)
    if pair is not None:
        context.load_cert_chain(pair)
    return context

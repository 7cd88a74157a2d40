"""The serving certificate and the authority that signs it, made here so that nothing else need be installed.

The authority's certificate goes to whoever is to trust it (the APIServices, Prometheus), its key stays in
the Secret: a renewed serving certificate then needs no change anywhere else. An authority that ends is
followed by another while both are trusted, because replicas take the new certificate within a minute, not at
once.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE = timedelta(days=3650)
SERVING_LIFE = timedelta(days=365)
SKEW = timedelta(minutes=5)
"""How far the API server's clock may be behind ours."""

_FIELDS = {"authority": "ca.crt", "authority_key": "ca.key", "certificate": "tls.crt", "key": "tls.key"}


class Due(Enum):
    NOTHING = auto()
    CERTIFICATE = auto()
    """a new one from the same authority"""
    AUTHORITY = auto()
    """a new authority, beside which the old one stays trusted"""
    EVERYTHING = auto()
    """what is there is no use"""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Four PEM texts. The first certificate of `authority` is the one that signs."""

    authority: str
    authority_key: str
    certificate: str
    key: str

    @classmethod
    def of(cls, secret: Mapping[str, Any] | None) -> Credentials | None:
        """What the Secret holds; None where something is missing or is not text."""
        data = (secret or {}).get("data") or {}
        try:
            read = {
                field: base64.b64decode(data[key], validate=True).decode() for field, key in _FIELDS.items()
            }
        except (KeyError, TypeError, binascii.Error, UnicodeDecodeError):
            return None
        return cls(**read)

    def data(self) -> dict[str, str]:
        return {key: encoded(getattr(self, field)) for field, key in _FIELDS.items()}


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def due(credentials: Credentials | None, name: str, now: datetime) -> Due:
    """What has to be made anew, for a server that is called by this DNS name."""
    if credentials is None:
        return Due.EVERYTHING
    try:
        authority = x509.load_pem_x509_certificates(credentials.authority.encode())[0]
        authority_key = _private(credentials.authority_key)
        if _public(authority) != authority_key.public_key() or _ended(authority, now):
            return Due.EVERYTHING
    except (ValueError, TypeError, IndexError):
        return Due.EVERYTHING
    if _ageing(authority, now):
        return Due.AUTHORITY
    return Due.NOTHING if _serves(credentials, authority, name, now) else Due.CERTIFICATE


def _serves(credentials: Credentials, authority: x509.Certificate, name: str, now: datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(credentials.certificate.encode())
        certificate.verify_directly_issued_by(authority)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        called = names.get_values_for_type(x509.DNSName) == [name]
        fits = _public(certificate) == _private(credentials.key).public_key()
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return called and fits and not _ageing(certificate, now)


def renewed(credentials: Credentials | None, what: Due, name: str, now: datetime) -> Credentials:
    """Credentials with which nothing is due, keeping of the old ones what may be kept."""
    if what is Due.NOTHING and credentials is not None:
        return credentials
    if what is Due.CERTIFICATE and credentials is not None:
        signer, signer_key = credentials.authority, credentials.authority_key
    else:
        signer, signer_key = _authority(now)
        if what is Due.AUTHORITY and credentials is not None:
            old = x509.load_pem_x509_certificates(credentials.authority.encode())[0]
            signer += _pem(old)
    issuer = x509.load_pem_x509_certificates(signer.encode())[0]
    certificate, key = _serving(issuer, _private(signer_key), name, now)
    return Credentials(signer, signer_key, certificate, key)


def _authority(now: datetime) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    # A serial in the name: two authorities of the same name in one bundle would be tried for each other.
    name = _named(f"seawall-{x509.random_serial_number():x}"[:60])
    made = (
        _builder(name, name, key, now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _pem(made), _key_pem(key)


def _serving(
    issuer: x509.Certificate, issuer_key: ec.EllipticCurvePrivateKey, name: str, now: datetime
) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    made = (
        _builder(_named("seawall"), issuer.subject, key, now, SERVING_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
        .sign(issuer_key, hashes.SHA256())
    )
    return _pem(made), _key_pem(key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _private(pem: str) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not a key that was made here")
    return key


def _public(certificate: x509.Certificate) -> object:
    return certificate.public_key()


def _ended(certificate: x509.Certificate, now: datetime) -> bool:
    return not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def _ageing(certificate: x509.Certificate, now: datetime) -> bool:
    """Two thirds of its life are over, or it is not valid at all."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now < start or now >= start + (end - start) * 2 / 3

"""Who may ask: the API server's own proxy, known by its client certificate, and nobody else.

What it identifies itself with is published in the ConfigMap `extension-apiserver-authentication` of
kube-system. The certificate is verified in the TLS handshake: whoever has none gets no further than that.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from seawall.decide.types import ObjectRef

CONFIG = ObjectRef("v1", "ConfigMap", "kube-system", "extension-apiserver-authentication")


class NotPublished(Exception):
    """The API server does not say by what it is to be known."""


@dataclass(frozen=True, slots=True)
class FrontProxy:
    authorities: str
    """PEM of those that sign its client certificates"""
    names: tuple[str, ...]
    """common names that it may have; none: any that these authorities have signed"""
    user_headers: tuple[str, ...]

    @classmethod
    def of(cls, config: Mapping[str, Any] | None) -> FrontProxy:
        data = (config or {}).get("data") or {}
        authorities = str(data.get("requestheader-client-ca-file") or "")
        try:
            x509.load_pem_x509_certificates(authorities.encode())
            names = _strings(data.get("requestheader-allowed-names") or "[]")
            headers = _strings(data.get("requestheader-username-headers") or "[]")
        except ValueError as problem:
            raise NotPublished(f"ConfigMap {CONFIG.namespace}/{CONFIG.name}: {problem}") from problem
        if not headers:
            raise NotPublished(f"ConfigMap {CONFIG.namespace}/{CONFIG.name} names no header for the user")
        return cls(authorities, names, headers)

    def user(self, peer: Mapping[str, Any] | None, headers: Mapping[str, str]) -> str:
        """On whose behalf is asked; empty when that is not to be believed."""
        if not peer or (self.names and _common_name(peer) not in self.names):
            return ""
        return next((headers[name] for name in self.user_headers if headers.get(name)), "")


def _strings(text: str) -> tuple[str, ...]:
    listed = json.loads(text)
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise ValueError(f"{text!r} is not a list of names")
    return tuple(listed)


def _common_name(peer: Mapping[str, Any]) -> str | None:
    """The last one, as Go reads a subject with several."""
    pairs = [pair for part in peer.get("subject", ()) for pair in part]
    return next((value for kind, value in reversed(pairs) if kind == "commonName"), None)


def tls_context(certificate: str, key: str, authorities: str) -> ssl.SSLContext:
    """A server's context that refuses every client whose certificate these authorities have not signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    # Go takes every listed certificate for an anchor, intermediate ones as well.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=authorities)
    # A resumed session is not verified again: without tickets each connection is.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    _load(context, certificate, key)
    return context


def _load(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """OpenSSL reads files only; this one is memory, so that the key is on no disk."""
    with os.fdopen(os.memfd_create("pair"), "w") as pair:
        pair.write(certificate + key)
        pair.flush()
        context.load_cert_chain(f"/proc/self/fd/{pair.fileno()}")

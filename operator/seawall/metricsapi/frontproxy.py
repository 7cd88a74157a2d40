"""Who may ask: the API server's own proxy, known by its client certificate, and nobody else.

What it identifies itself with is published in the ConfigMap `extension-apiserver-authentication` of
kube-system. The certificate is verified in the TLS handshake: whoever has none gets no further than that.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from seawall.decide.types import ObjectRef
from seawall.metricsapi.listener import server_context

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
    context = server_context(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    # Go takes every listed certificate for an anchor, intermediate ones as well.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=authorities)
    # A resumed session is not verified again: without tickets each connection is.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context

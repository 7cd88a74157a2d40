"""Signatures over the manifest, made with a key from a file: Ed25519 or ECDSA, PEM without a password."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seawall.fetch.signature import PAYLOAD_TYPE
from seawall.optimize.publish.manifest import canonical
from seawall.optimize.types import Refused


class Signer:
    def __init__(self, private_key: Path) -> None:
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415
        from securesystemslib.signer import CryptoSigner  # noqa: PLC0415

        try:
            key = load_pem_private_key(private_key.read_bytes(), password=None)
            if not isinstance(key, Ed25519PrivateKey | EllipticCurvePrivateKey):
                raise TypeError("it is neither Ed25519 nor ECDSA")
            self._signer: Any = CryptoSigner(key)
        except (OSError, ValueError, TypeError) as error:
            # Not the content: a message may be logged.
            raise Refused(
                "SigningKeyInvalid", f"the key {private_key} cannot be used to sign: {error}"
            ) from error

    def sign(self, content: bytes) -> bytes:
        """manifest.dsse.json: the envelope around the manifest."""
        from securesystemslib.dsse import Envelope  # noqa: PLC0415

        envelope = Envelope(content, PAYLOAD_TYPE, {})
        envelope.sign(self._signer)
        return canonical(envelope.to_dict())

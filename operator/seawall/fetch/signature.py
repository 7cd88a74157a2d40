"""Whether somebody who is trusted signed the manifest: a DSSE envelope, checked with public keys in PEM."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from seawall.fetch.problem import FetchProblem, Reason, invalid_config

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MOST_SIGNATURES = 16


def require_signature(content: bytes, envelope: bytes | None, public_keys: Sequence[str]) -> None:
    """Raises FetchProblem unless the envelope holds exactly this content and one of the keys signed it."""
    if envelope is None:
        raise FetchProblem(
            Reason.SIGNATURE_MISSING, "the artefact is not signed, and the operator demands a signature"
        )
    keys = [_key(pem) for pem in public_keys]
    try:
        raw = json.loads(envelope)
        count = len(raw["signatures"])
        if count > MOST_SIGNATURES:
            raise ValueError(f"{count} signatures")
        # The key id is a hint that the signer chose: every signature is tried with every key.
        raw["signatures"] = [{"sig": s["sig"], "keyid": str(i)} for i, s in enumerate(raw["signatures"])]
        trusted = _signed(raw, content, keys)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _invalid(f"the envelope cannot be read: {error!r}") from error
    if not trusted:
        raise _invalid("none of its signatures was made with a key that the operator trusts")


def _signed(raw: dict[str, Any], content: bytes, keys: Sequence[Any]) -> bool:
    from securesystemslib.dsse import Envelope  # noqa: PLC0415
    from securesystemslib.exceptions import Error  # noqa: PLC0415
    from securesystemslib.signer import SSlibKey  # noqa: PLC0415

    envelope = Envelope.from_dict(raw)
    if envelope.payload != content or envelope.payload_type != PAYLOAD_TYPE:
        raise _invalid("the signature is of another manifest")
    for name in envelope.signatures:
        for key in keys:
            try:
                envelope.verify([SSlibKey.from_crypto(key, keyid=name)], 1)
            except Error:
                continue
            return True
    return False


def _key(pem: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415
    from securesystemslib.signer import SSlibKey  # noqa: PLC0415

    try:
        key = load_pem_public_key(pem.encode())
        SSlibKey.from_crypto(key)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise invalid_config(f"a public key of the operator's settings cannot be used: {error}") from error
    return key


def _invalid(why: str) -> FetchProblem:
    return FetchProblem(Reason.SIGNATURE_INVALID, f"the artefact's signature is not accepted: {why}")

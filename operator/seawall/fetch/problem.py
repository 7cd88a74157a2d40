"""The failures that a fetch may end with; each reason becomes a condition of the InferenceService."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    DIGEST_MISMATCH = "DigestMismatch"
    MODEL_NOT_FOUND = "ModelNotFound"
    CREDENTIALS_REFUSED = "CredentialsRefused"
    INVALID_MODEL = "InvalidModel"
    INVALID_CONFIG = "InvalidConfig"
    UNSUPPORTED_SCHEME = "UnsupportedScheme"
    FETCH_FAILED = "FetchFailed"
    NO_SPACE = "NoSpace"
    ARTIFACT_DIGEST_MISMATCH = "ArtifactDigestMismatch"
    SIGNATURE_MISSING = "SignatureMissing"
    SIGNATURE_INVALID = "SignatureInvalid"


class FetchProblem(Exception):
    """One sentence for the person who wrote the InferenceService."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Interrupted(Exception):
    """A fault that may pass (5xx, time-out, connection lost): worth another attempt."""


def invalid_model(message: str) -> FetchProblem:
    return FetchProblem(Reason.INVALID_MODEL, message)


def invalid_config(message: str) -> FetchProblem:
    return FetchProblem(Reason.INVALID_CONFIG, message)


def not_found(message: str) -> FetchProblem:
    return FetchProblem(Reason.MODEL_NOT_FOUND, message)

"""When a certificate is made anew, what is kept, and whether a client believes the result."""

from __future__ import annotations

import base64
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from seawall.metricsapi.certificates import AUTHORITY_LIFE, SERVING_LIFE, Credentials, Due, due, renewed

NAME = "seawall-metrics-api.seawall-system.svc"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
FIRST = renewed(None, Due.EVERYTHING, NAME, NOW)
SECOND = renewed(None, Due.EVERYTHING, NAME, NOW)


def believed(credentials: Credentials, authority: str, at: datetime = NOW) -> bool:
    anchors = x509.load_pem_x509_certificates(authority.encode())
    verifier = PolicyBuilder().store(Store(anchors)).time(at).build_server_verifier(x509.DNSName(NAME))
    try:
        verifier.verify(x509.load_pem_x509_certificate(credentials.certificate.encode()), [])
    except x509.verification.VerificationError:
        return False
    return True


def test_what_is_made_is_believed_by_who_trusts_its_authority_and_nobody_else() -> None:
    assert due(FIRST, NAME, NOW) is Due.NOTHING
    assert believed(FIRST, FIRST.authority)
    assert not believed(FIRST, SECOND.authority)


def changed(**texts: str) -> Credentials:
    return dataclasses.replace(FIRST, **texts)


CASES: dict[str, tuple[Credentials | None, timedelta, str, Due]] = {
    "there is none": (None, timedelta(), NAME, Due.EVERYTHING),
    "fresh": (FIRST, timedelta(), NAME, Due.NOTHING),
    "the certificate before two thirds": (FIRST, SERVING_LIFE * 0.66, NAME, Due.NOTHING),
    "the certificate after two thirds": (FIRST, SERVING_LIFE * 0.67, NAME, Due.CERTIFICATE),
    "the certificate has ended": (FIRST, SERVING_LIFE * 2, NAME, Due.CERTIFICATE),
    "the authority after two thirds": (FIRST, AUTHORITY_LIFE * 0.67, NAME, Due.AUTHORITY),
    "the authority has ended": (FIRST, AUTHORITY_LIFE * 1.01, NAME, Due.EVERYTHING),
    "a clock that went far back": (FIRST, -timedelta(days=1), NAME, Due.EVERYTHING),
    "a Service of another name": (FIRST, timedelta(), "other.seawall-system.svc", Due.CERTIFICATE),
    "a key of another pair": (changed(key=SECOND.key), timedelta(), NAME, Due.CERTIFICATE),
    "a pair of another authority": (
        changed(certificate=SECOND.certificate, key=SECOND.key),
        timedelta(),
        NAME,
        Due.CERTIFICATE,
    ),
    "a certificate that is none": (changed(certificate="no"), timedelta(), NAME, Due.CERTIFICATE),
    "the authority's key of another": (
        changed(authority_key=SECOND.authority_key),
        timedelta(),
        NAME,
        Due.EVERYTHING,
    ),
    "an authority that is none": (changed(authority=""), timedelta(), NAME, Due.EVERYTHING),
    "an authority's key that is none": (changed(authority_key="no"), timedelta(), NAME, Due.EVERYTHING),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_due_and_that_nothing_is_due_once_it_is_made(case: str) -> None:
    held, later, name, expected = CASES[case]
    assert due(held, name, NOW + later) is expected
    made = renewed(held, expected, name, NOW + later)
    assert due(made, name, NOW + later) is Due.NOTHING


def test_a_new_certificate_keeps_the_authority() -> None:
    made = renewed(FIRST, Due.CERTIFICATE, NAME, NOW)
    assert (made.authority, made.authority_key) == (FIRST.authority, FIRST.authority_key)
    assert made.certificate != FIRST.certificate


def test_a_new_authority_leaves_the_old_one_trusted_and_a_third_drops_it() -> None:
    then = NOW + AUTHORITY_LIFE * 0.67
    old = renewed(FIRST, Due.CERTIFICATE, NAME, then)
    following = renewed(old, Due.AUTHORITY, NAME, then)
    assert believed(old, following.authority, then)
    assert believed(following, following.authority, then)
    assert not believed(following, old.authority, then)
    third = renewed(following, Due.AUTHORITY, NAME, then)
    assert believed(following, third.authority, then)
    assert not believed(old, third.authority, then)


def test_after_damage_the_old_authority_is_trusted_no_more() -> None:
    made = renewed(changed(authority_key="no"), Due.EVERYTHING, NAME, NOW)
    assert not believed(FIRST, made.authority)


def test_a_secret_gives_back_what_was_put_in() -> None:
    assert Credentials.of({"data": FIRST.data()}) == FIRST


UNREADABLE: dict[str, Any] = {
    "no Secret": None,
    "no data": {},
    "an empty one": {"data": None},
    "a key is missing": {"data": {k: v for k, v in FIRST.data().items() if k != "tls.key"}},
    "not base64": {"data": FIRST.data() | {"ca.crt": "***"}},
    "not text": {"data": FIRST.data() | {"ca.crt": base64.b64encode(b"\xff\xfe").decode()}},
    "null": {"data": FIRST.data() | {"ca.crt": None}},
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_damaged_secret_holds_nothing(case: str) -> None:
    assert Credentials.of(UNREADABLE[case]) is None

"""Secrets are planted where a fetch may find them, the source gives them back, and nothing that is told holds them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from seawall.fetch.redact import HIDDEN, hide, redacted
from seawall.fetch.run import main
from support.hostile import echoing

pytestmark = pytest.mark.long
PLANTED = "pl4nted/S3cret+value=="
Where = Callable[[str], tuple[str, dict[str, str]]]
"""of the server's host and port: the model's uri and the environment"""


def rsa_key() -> str:
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


GOOGLE = {
    "type": "service_account",
    "private_key": rsa_key(),
    "private_key_id": "0a1b2c3d4e5f60718293",
    "client_email": "reader@project.iam.gserviceaccount.com",
    "token_uri": "http://127.0.0.1:9/token",
}
DOCKER = base64.b64encode(f"reader:{PLANTED}".encode()).decode()


def s3(host: str) -> tuple[str, dict[str, str]]:
    keys = {"AWS_ACCESS_KEY_ID": "AKIAPLANTED0001", "AWS_SECRET_ACCESS_KEY": PLANTED}
    return "s3://models/a.onnx", keys | {
        "AWS_ENDPOINT_URL": f"http://{host}",
        "AWS_SESSION_TOKEN": PLANTED[::-1],
    }


def azure(host: str) -> tuple[str, dict[str, str]]:
    sas = f"sv=2024-01-01&sig={quote(PLANTED, safe='')}"
    keys = {"AZURE_STORAGE_ACCOUNT_NAME": "account", "AZURE_STORAGE_SAS_TOKEN": sas}
    return "az://models/a.onnx", keys | {"AZURE_STORAGE_ENDPOINT": f"http://{host}"}


def google(host: str) -> tuple[str, dict[str, str]]:
    return "gs://models/a.onnx", {
        "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(GOOGLE),
        "GOOGLE_BASE_URL": f"http://{host}",
    }


def hub(host: str) -> tuple[str, dict[str, str]]:
    return "hf://org/repo@main/a.onnx", {"HF_TOKEN": PLANTED, "HF_ENDPOINT": f"http://{host}"}


def hub_with_a_lines_end(host: str) -> tuple[str, dict[str, str]]:
    uri, keys = hub(host)
    return uri, keys | {"HF_TOKEN": PLANTED + "\n"}


def hub_with_a_broken_token(host: str) -> tuple[str, dict[str, str]]:
    uri, keys = hub(host)
    return uri, keys | {"HF_TOKEN": f"{PLANTED}\n{PLANTED}"}


def registry(host: str) -> tuple[str, dict[str, str]]:
    keys = {"OCI_USERNAME": "reader", "OCI_PASSWORD": PLANTED, "OCI_PLAIN_HTTP": "true"}
    return f"oci://{host}/team/model:1", keys


def registry_with_docker(host: str) -> tuple[str, dict[str, str]]:
    entry = {"username": "reader", "password": PLANTED, "auth": DOCKER}
    return f"oci://{host}/team/model:1", {
        ".dockerconfigjson": json.dumps({"auths": {host: entry}}),
        "OCI_PLAIN_HTTP": "true",
    }


def signed_address(host: str) -> tuple[str, dict[str, str]]:
    return f"https://{host}/a.onnx?X-Signature={quote(PLANTED, safe='')}&v=1", {}


def password_for_https(host: str) -> tuple[str, dict[str, str]]:
    return f"https://{host}/a.onnx", {"HTTPS_USERNAME": "reader", "HTTPS_PASSWORD": f"{PLANTED}\x01"}


def proxy_with_a_login(host: str) -> tuple[str, dict[str, str]]:
    return "https://example.test/a.onnx", {"https_proxy": f"http://reader:{quote(PLANTED, safe='')}@{host}"}


SOURCES: dict[str, Where] = {
    "S3 keys": s3,
    "an Azure SAS token": azure,
    "a Google service account": google,
    "a Hugging Face token": hub,
    "a token with a line's end": hub_with_a_lines_end,
    "a token that is no header": hub_with_a_broken_token,
    "a registry's login": registry,
    "a registry's login of Docker's form": registry_with_docker,
    "a signed address": signed_address,
    "a password for https": password_for_https,
    "a proxy's login": proxy_with_a_login,
}
SECRETS = (
    PLANTED, PLANTED[::-1], quote(PLANTED, safe=""), base64.b64encode(PLANTED.encode()).decode(), DOCKER,
    base64.b64encode(f"reader:{PLANTED}".encode()).decode(), "AKIAPLANTED0001",
    GOOGLE["private_key"].splitlines()[1], GOOGLE["private_key_id"],
)  # fmt: skip


def fetched(
    tmp_path: Path, uri: str, environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> tuple[dict[str, str], str]:
    """The last word, and everything that was said."""
    order = {"name": "a", "uri": uri, "format": "onnx", "tritonVersion": "24.10", "config": {}}
    (tmp_path / "models").mkdir()
    own = {
        "SEAWALL_FETCH": json.dumps(order),
        "SEAWALL_FETCH_MODELS": str(tmp_path / "models"),
        "SEAWALL_TERMINATION_LOG": str(tmp_path / "last-word"),
    }
    assert main(own | environment, lambda seconds: None) == 1
    last = (tmp_path / "last-word").read_text()
    out, err = capsys.readouterr()
    return json.loads(last), last + out + err


def leaks(told: str) -> list[str]:
    return [secret for secret in SECRETS if secret in told]


@pytest.mark.parametrize("status", [400, 403, 404])
@pytest.mark.parametrize("source", SOURCES)
def test_no_word_of_a_failed_fetch_holds_a_secret(
    source: str,
    status: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with echoing(status) as server:
        uri, environment = SOURCES[source](server.host)
        for name, value in environment.items():
            if name == "https_proxy":  # the one that libraries read by themselves
                monkeypatch.setenv(name, value)
        last, told = fetched(tmp_path, uri, environment, capsys)
    assert last["reason"]
    assert last["message"]
    assert leaks(told) == []


def test_without_hiding_these_sources_do_leak(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the tests above look where something is to be found."""
    monkeypatch.setattr("seawall.fetch.run.redacted", lambda text: text)
    monkeypatch.setattr("seawall.fetch.log.redacted", lambda text: text)
    monkeypatch.setattr("seawall.fetch.objects.redacted", lambda text: text)
    leaking = set()
    for number, (source, where) in enumerate(SOURCES.items()):
        with echoing(400) as server:
            folder = tmp_path / str(number)
            folder.mkdir()
            uri, environment = where(server.host)
            if leaks(fetched(folder, uri, environment, capsys)[1]):
                leaking.add(source)
    assert leaking >= {"an Azure SAS token", "S3 keys"}


def test_a_sentence_keeps_what_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "AWS_REGION").write_text("eu-west-1")
    (tmp_path / "AWS_SECRET_ACCESS_KEY").write_text(PLANTED + "\n")
    hide({"HF_TOKEN": "abc", "PATH": "/usr/bin", "HF_ENDPOINT": "http://hub.example"}, [tmp_path])
    said = f"http://hub.example in eu-west-1 refuses {PLANTED!r} of abc, see /usr/bin"
    assert redacted(said) == f"http://hub.example in eu-west-1 refuses '{HIDDEN}' of abc, see /usr/bin"


ADDRESSES = {
    "https://store.example/a?sig=1&v=2 is gone": f"https://store.example/a?{HIDDEN} is gone",
    "see http://me:word@proxy:80/x": f"see http://{HIDDEN}@proxy:80/x",
    "hf://org/repo@main/a.onnx stays": "hf://org/repo@main/a.onnx stays",
    "oci://registry/team/model@sha256:00 stays": "oci://registry/team/model@sha256:00 stays",
}


@pytest.mark.parametrize("said", ADDRESSES)
def test_addresses_lose_logins_and_queries_whatever_the_secrets_are(said: str) -> None:
    hide({}, [])
    assert redacted(said) == ADDRESSES[said]


def test_secrets_of_another_run_are_forgotten() -> None:
    hide({"HF_TOKEN": PLANTED}, [])
    assert redacted(PLANTED) == HIDDEN
    hide({}, [])
    assert redacted(PLANTED) == PLANTED

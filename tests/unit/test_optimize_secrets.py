"""The same for a build: credentials of the model, of the store and the signing key leave no phase's process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from seawall.optimize import job
from seawall.optimize.progress import Progress
from seawall.optimize.types import Passing, Refused
from support import builds
from support.hostile import echoing

pytestmark = pytest.mark.long
PLANTED = "pl4nted/S3cret+value=="
S3 = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTED0001",
    "AWS_SECRET_ACCESS_KEY": PLANTED,
    "AWS_SESSION_TOKEN": PLANTED[::-1],
}
LEAKS = (PLANTED, PLANTED[::-1], "AKIAPLANTED0001")
Where = Callable[[str], tuple[str | None, dict[str, str]]]
"""of the hostile server's address: another model than the local one, and the environment"""

PLACES: dict[str, Where] = {
    "the store of artefacts": lambda host: (
        None,
        S3 | {"AWS_ENDPOINT_URL": f"http://{host}", "SEAWALL_ARTIFACTS": "s3://artifacts/builds"},
    ),
    "a registry of artefacts": lambda host: (
        None,
        {
            "OCI_USERNAME": "writer",
            "OCI_PASSWORD": PLANTED,
            "OCI_PLAIN_HTTP": "true",
            "SEAWALL_ARTIFACTS": f"oci://{host}/artifacts/builds",
        },
    ),
    "the model's store": lambda host: ("s3://models/a.onnx", S3 | {"AWS_ENDPOINT_URL": f"http://{host}"}),
    "a hub whose token is no header": lambda host: (
        "hf://org/repo@main/a.onnx",
        {"HF_TOKEN": f"{PLANTED}\n{PLANTED}", "HF_ENDPOINT": f"http://{host}"},
    ),
}


def run(
    folder: Path, environment: dict[str, str], capsys: pytest.CaptureFixture[str], model: str | None = None
) -> tuple[int, str]:
    """The exit code, and all that the first phase tells."""
    order = builds.order(folder)
    order = replace(order, model=model) if model else order
    own = {
        "SEAWALL_BUILD": order.to_json(),
        "SEAWALL_ARTIFACTS": "pvc://builds/models",
        "SEAWALL_BUILD_ARTIFACTS_MOUNT": str(folder / "volume"),
        "SEAWALL_BUILD_PORT": "0",
        "SEAWALL_TERMINATION_LOG": str(folder / "last-word"),
    }
    code = job.main(("prepare",), own | environment, folder / "work")
    out, err = capsys.readouterr()
    last = folder / "last-word"
    return code, out + err + (last.read_text() if last.exists() else "")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize("place", PLACES)
def test_no_word_of_a_failed_build_holds_a_secret(
    place: str, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with echoing(status) as server:
        model, environment = PLACES[place](server.host)
        code, told = run(tmp_path, environment, capsys, model)
        assert code in (job.REFUSED, job.PASSING)
        assert '"reason"' in told
    assert [secret for secret in LEAKS if secret in told] == []


FAULTS = {
    "a refusal": (Refused("FetchFailed", f"the source said {PLANTED}"), job.REFUSED),
    "a fault that passes": (Passing(f"the store said {PLANTED}"), job.PASSING),
    "a surprise": (RuntimeError(f"header {PLANTED!r}"), 1),
}


@pytest.mark.parametrize("case", FAULTS)
def test_whatever_ends_a_phase_is_told_without_the_secret(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error, wanted = FAULTS[case]

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(job.Job, "phase", fails)
    code, told = run(tmp_path, {"HF_TOKEN": PLANTED}, capsys)
    assert code == wanted
    assert "[hidden]" in told
    assert PLANTED not in told


def test_a_surprise_leaves_no_last_word_that_would_pass_for_a_refusal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job.Job, "phase", lambda *_: 1 / 0)
    code, told = run(tmp_path, {}, capsys)
    assert (code, (tmp_path / "last-word").exists()) == (1, False)
    assert "ZeroDivisionError" in told


def test_a_signing_key_that_is_none_is_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "signing"
    keys.mkdir()
    (keys / "key.pem").write_text(f"-----BEGIN PRIVATE KEY-----\n{PLANTED}\n-----END PRIVATE KEY-----\n")
    monkeypatch.setattr(job, "SIGNING", keys)
    code, told = run(tmp_path, {}, capsys)
    assert code != 0
    assert PLANTED not in told


def test_progress_that_is_asked_for_holds_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job.hide({"HF_TOKEN": PLANTED}, [])
    progress = Progress()
    progress.say("fetch", None, f"trying {PLANTED} again")
    assert progress.now["message"] == "trying [hidden] again"
    assert PLANTED not in json.dumps(progress.now) + capsys.readouterr().out

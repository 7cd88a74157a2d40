"""The whole fetch, from the order in the environment to the exit code and the termination message."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from seawall.fetch.archive import unpack
from seawall.fetch.artifact import Published, fetch_artifact
from seawall.fetch.cache import Cache, model_cache
from seawall.fetch.download import download, patiently, require_digest, space_told
from seawall.fetch.layout import Identity, cleared, lay_out, readable
from seawall.fetch.log import say
from seawall.fetch.order import Budget, Credentials, Order, parse_order
from seawall.fetch.problem import FetchProblem, Reason
from seawall.fetch.redact import hide, redacted
from seawall.fetch.sources import ARCHIVE_SUFFIXES, list_files

MODELS = "/models"
TERMINATION_LOG = "/dev/termination-log"
MAX_BYTES = 20 * 2**30
TIMEOUT_SECONDS = 1800.0
STAGING = ".fetch"
_MESSAGE_LIMIT = 2000


def main(environment: Mapping[str, str], sleep: Callable[[float], None] = time.sleep) -> int:
    """0 when the model lies in its place; 1, with one line of JSON in the termination log, when not."""
    started = time.monotonic()
    hide(environment)
    try:
        order = parse_order(environment.get("SEAWALL_FETCH"))
        models = Path(environment.get("SEAWALL_FETCH_MODELS", MODELS))
        budget = Budget(
            int(environment.get("SEAWALL_FETCH_MAX_BYTES", MAX_BYTES)),
            float(environment.get("SEAWALL_FETCH_TIMEOUT_SECONDS", TIMEOUT_SECONDS)),
            time.monotonic,
        )
        fetch(order, environment, models, budget, sleep)
    except FetchProblem as problem:
        return _failed(environment, problem.reason, problem.message)
    except Exception as error:  # noqa: BLE001 - whatever it is, the pod's status shall say it
        return _failed(environment, Reason.FETCH_FAILED, f"{type(error).__name__}: {error}")
    say("laid out", model=order.name, seconds=round(time.monotonic() - started, 3), bytes=budget.used)
    return 0


def fetch(
    order: Order,
    environment: Mapping[str, str],
    models: Path,
    budget: Budget,
    sleep: Callable[[float], None],
) -> None:
    credentials = Credentials(environment)
    identity = Identity(environment.get("SEAWALL_NAMESPACE", ""), environment.get("SEAWALL_REVISION", ""))
    say("fetching", uri=order.uri.split("?")[0], format=order.format)
    cleared(models)
    staging = models / STAGING
    with space_told():
        staging.mkdir()
    try:
        published = _downloaded(order, credentials, staging, budget, sleep, model_cache(environment))
        source = staging if published else _unpacked(staging, models / f"{STAGING}-unpacked", budget)
        readable(source)
        with space_told():
            lay_out(order, source, models, identity, published)
    except BaseException:
        cleared(models)
        raise
    for leftover in models.glob(f"{STAGING}*"):
        cleared(leftover)
        leftover.rmdir()


def _downloaded(
    order: Order,
    credentials: Credentials,
    staging: Path,
    budget: Budget,
    sleep: Callable[[float], None],
    cache: Cache | None,
) -> Published | None:
    """What the uri names, below `staging` and proven; of an artefact its manifest."""
    if order.artifact is not None:
        return fetch_artifact(order, order.artifact, credentials, staging, budget, sleep, cache)
    files = patiently(lambda: list_files(order, credentials), sleep, budget)
    if len(files) == 1 and order.sha256 is not None:
        files = [replace(files[0], expected=order.sha256)]
    digests = download(files, staging, budget, sleep, cache)
    require_digest(order.sha256, digests, order.uri)
    return None


def _unpacked(staging: Path, folder: Path, budget: Budget) -> Path:
    """The folder to lay out from: a single archive's content, else what was fetched."""
    entries = list(staging.iterdir())
    if len(entries) != 1 or not entries[0].name.lower().endswith(ARCHIVE_SUFFIXES):
        return staging
    folder.mkdir()
    unpack(entries[0], folder, budget)
    entries[0].unlink()
    return folder


def _failed(environment: Mapping[str, str], reason: Reason, message: str) -> int:
    say(message, "error", reason=str(reason))
    told = json.dumps({"reason": str(reason), "message": redacted(message)[:_MESSAGE_LIMIT]})
    path = Path(environment.get("SEAWALL_TERMINATION_LOG", TERMINATION_LOG))
    try:
        path.write_text(told + "\n", encoding="utf-8")
    except OSError as error:
        say(
            "the termination log cannot be written",
            "error",
            path=str(path),
            error=os.strerror(error.errno or 0),
        )
    return 1

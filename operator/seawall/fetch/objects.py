"""s3://, gs:// and az:// sources through obstore, which streams, signs and retries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

from obstore import exceptions
from obstore.store import AzureStore, GCSStore, S3Store

from seawall.fetch.order import Credentials
from seawall.fetch.problem import FetchProblem, Interrupted, Reason, not_found
from seawall.fetch.redact import redacted
from seawall.fetch.sources import RemoteFile
from seawall.fetch.web import CHUNK

T = TypeVar("T")
AMBIENT = "SEAWALL_AMBIENT_CREDENTIALS"
_RETRY = {
    "max_retries": 4,
    "backoff": {"init_backoff": timedelta(seconds=1), "max_backoff": timedelta(seconds=10), "base": 2},
    "retry_timeout": timedelta(minutes=2),
}
_STATUS = re.compile(r"Server returned non-2xx status code: (\d{3})\b")
_TIMEOUTS = {"connect_timeout": "10s", "read_timeout": "30s", "timeout": "1day", "user_agent": "seawall"}


def object_files(uri: str, credentials: Credentials, folder: bool) -> Iterator[RemoteFile]:
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if not bucket or (not key and not folder):
        raise not_found(f"{uri} names no object; write {scheme}://bucket/path/of/the/model")
    store = _told(uri, lambda: object_store(scheme, bucket, credentials))
    if not folder:
        yield _object(store, uri, key, key.rpartition("/")[2], None)
        return
    prefix = key.rstrip("/")
    found = False
    for meta in _listed(store, uri, prefix):
        path: str = meta["path"]
        relative = path.removeprefix(f"{prefix}/") if prefix else path
        if relative and not path.endswith("/"):
            found = True
            yield _object(store, f"{scheme}://{bucket}/{path}", path, relative, meta["size"])
    if not found:
        raise not_found(f"{uri}: there is nothing below this path")


def _listed(store: Any, uri: str, prefix: str) -> Iterator[Any]:
    pages = _told(uri, lambda: iter(store.list(prefix or None, chunk_size=500)))
    while (page := _told(uri, lambda: next(pages, None))) is not None:
        yield from page


def _object(store: Any, uri: str, key: str, relative: str, size: int | None) -> RemoteFile:
    def read() -> Iterator[bytes]:
        result = _told(uri, lambda: store.get(key))
        pieces = iter(result.stream(min_chunk_size=CHUNK))
        while (piece := _told(uri, lambda: next(pieces, None), interrupted=True)) is not None:
            yield bytes(piece)

    return RemoteFile(relative, read, size)


def _s3(bucket: str, credentials: Credentials) -> Any:
    key, secret = credentials.get("AWS_ACCESS_KEY_ID"), credentials.get("AWS_SECRET_ACCESS_KEY")
    endpoint = credentials.get("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    config = {
        "access_key_id": key,
        "secret_access_key": secret,
        "session_token": credentials.get("AWS_SESSION_TOKEN"),
        "region": credentials.get("AWS_REGION", "AWS_DEFAULT_REGION") or "us-east-1",
        "endpoint": endpoint,
        # Path style is what every server other than AWS's own understands.
        "virtual_hosted_style_request": None if endpoint else True,
        "skip_signature": True
        if not key and not _ambient(credentials, "AWS_WEB_IDENTITY_TOKEN_FILE")
        else None,
    }
    return S3Store(bucket, config=_set(config), client_options=_client(endpoint), retry_config=_RETRY)


def _gs(bucket: str, credentials: Credentials) -> Any:
    key = credentials.get("GOOGLE_SERVICE_ACCOUNT_KEY")
    endpoint = credentials.get("GOOGLE_BASE_URL")
    config = {
        "service_account_key": key,
        "base_url": endpoint,
        "skip_signature": True if not key and not _ambient(credentials) else None,
    }
    return GCSStore(bucket, config=_set(config), client_options=_client(endpoint), retry_config=_RETRY)


def _az(container: str, credentials: Credentials) -> Any:
    account = credentials.get("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT")
    if not account:
        raise FetchProblem(
            Reason.CREDENTIALS_REFUSED, "az:// needs the key AZURE_STORAGE_ACCOUNT_NAME in credentialsSecret"
        )
    endpoint = credentials.get("AZURE_STORAGE_ENDPOINT")
    config = {
        "account_name": account,
        "account_key": credentials.get("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY"),
        "sas_key": credentials.get("AZURE_STORAGE_SAS_TOKEN"),
        "client_id": credentials.get("AZURE_CLIENT_ID"),
        "client_secret": credentials.get("AZURE_CLIENT_SECRET"),
        "tenant_id": credentials.get("AZURE_TENANT_ID"),
        "endpoint": endpoint,
    }
    known = any(config[name] for name in ("account_key", "sas_key", "client_secret"))
    config_set = _set(config)
    if not known and not _ambient(credentials, "AZURE_FEDERATED_TOKEN_FILE"):
        config_set["skip_signature"] = True
    return AzureStore(container, config=config_set, client_options=_client(endpoint), retry_config=_RETRY)


_STORES: dict[str, Callable[[str, Credentials], Any]] = {"s3": _s3, "gs": _gs, "az": _az}


def object_store(scheme: str, bucket: str, credentials: Credentials) -> Any:
    """obstore's store of a bucket; raises its errors, and FetchProblem."""
    return _STORES[scheme](bucket, credentials)


def _ambient(credentials: Credentials, *files: str) -> bool:
    """Whether the pod itself has an identity. Without one, asking metadata servers only costs time."""
    return credentials.flag(AMBIENT) or any(name in credentials.environment for name in files)


def _set(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if value is not None}


def _client(endpoint: str | None) -> dict[str, Any]:
    return {**_TIMEOUTS, "allow_http": bool(endpoint and endpoint.startswith("http://"))}


def _told(uri: str, call: Callable[[], T], interrupted: bool = False) -> T:
    """The call with obstore's errors turned into ours; `interrupted`: halfway through a body any may pass."""
    try:
        return call()
    except (exceptions.NotFoundError, FileNotFoundError) as error:
        raise not_found(f"{uri} does not exist") from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, PermissionError) as error:
        raise FetchProblem(
            Reason.CREDENTIALS_REFUSED, f"{uri} may not be read with these credentials: {first_line(error)}"
        ) from error
    except (exceptions.BaseError, OSError, ValueError) as error:
        said = f"{uri}: {first_line(error)}"
        # A refused listing comes without a class of its own.
        if status_of(error) in (401, 403):
            raise FetchProblem(Reason.CREDENTIALS_REFUSED, said) from error
        if status_of(error) == 404:
            raise not_found(said) from error
        if interrupted:
            raise Interrupted(said) from error
        raise FetchProblem(Reason.FETCH_FAILED, said) from error


def status_of(error: BaseException) -> int | None:
    """What the server answered, where it answered at all."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None


def first_line(error: BaseException) -> str:
    """What went wrong without the debug dump that obstore appends."""
    text = " ".join(str(error).split("Debug source:")[0].split())
    return redacted(text)[:400] or type(error).__name__

"""https:// sources: one file, also behind redirects and signed URLs."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from seawall.fetch.order import Credentials
from seawall.fetch.problem import FetchProblem, Reason
from seawall.fetch.sources import RemoteFile, uri_path
from seawall.fetch.web import Web, body


def https_file(uri: str, credentials: Credentials, folder: bool, web: Web) -> list[RemoteFile]:
    if folder:
        raise FetchProblem(
            Reason.UNSUPPORTED_SCHEME,
            f"{uri.split('?', maxsplit=1)[0]}: https cannot list a folder; pack it as .tar.gz",
        )
    headers = authorization(credentials)

    def read() -> Iterator[bytes]:
        with web.get(uri, headers) as response:
            yield from body(response, uri)

    return [RemoteFile(uri_path(uri).rpartition("/")[2] or "model", read)]


def authorization(credentials: Credentials) -> dict[str, str]:
    token = credentials.get("HTTPS_BEARER_TOKEN")
    if token:
        return {"Authorization": f"Bearer {token}"}
    user, password = credentials.get("HTTPS_USERNAME"), credentials.get("HTTPS_PASSWORD")
    if user and password:
        return {"Authorization": basic(user, password)}
    return {}


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

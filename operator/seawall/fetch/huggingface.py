"""hf://org/repo@rev/file and hf://org/repo@rev/folder/ from a Hugging Face hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

from seawall.fetch.order import Credentials
from seawall.fetch.problem import FetchProblem, Reason, not_found
from seawall.fetch.sources import RemoteFile
from seawall.fetch.web import Web, body, small_body

DEFAULT_ENDPOINT = "https://huggingface.co"
_URI = re.compile(r"hf://(?P<repo>[^/@]+/[^/@]+)(?:@(?P<rev>(?:refs/[^/]+/[^/]+|[^/]+)))?(?:/(?P<path>.*))?")
_NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')


def hub_files(uri: str, credentials: Credentials, folder: bool) -> Iterator[RemoteFile]:
    match = _URI.fullmatch(uri)
    if match is None:
        raise not_found(f"{uri} does not look like hf://organisation/repository@revision/file")
    repo, revision, path = match["repo"], match["rev"] or "main", (match["path"] or "").strip("/")
    endpoint = (credentials.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
    plain = frozenset({urlsplit(endpoint).netloc}) if endpoint.startswith("http://") else frozenset[str]()
    hub = _Hub(endpoint, repo, quote(revision, safe=""), credentials.get("HF_TOKEN"), Web(plain))
    if not folder:
        if not path:
            raise not_found(f"{uri} names a repository; add the file, such as /model.onnx")
        yield hub.file(path, path.rpartition("/")[2])
        return
    found = False
    for inside in hub.tree(path):
        found = True
        yield hub.file(inside, inside.removeprefix(f"{path}/") if path else inside)
    if not found:
        raise not_found(f"{uri}: the folder is empty")


class _Hub:
    def __init__(self, endpoint: str, repo: str, revision: str, token: str | None, web: Web) -> None:
        self._base, self._repo, self._revision, self._web = endpoint, repo, revision, web
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def file(self, path: str, relative: str) -> RemoteFile:
        url = f"{self._base}/{self._repo}/resolve/{self._revision}/{quote(path)}"

        def read() -> Iterator[bytes]:
            with self._web.get(url, self._headers) as response:
                yield from body(response, url)

        return RemoteFile(relative, read)

    def tree(self, path: str) -> Iterator[str]:
        """The paths of all files below, in as many pages as it takes."""
        base = f"{self._base}/api/models/{self._repo}/tree/{self._revision}"
        url: str | None = f"{base}/{quote(path)}?recursive=true" if path else f"{base}?recursive=true"
        while url is not None:
            with self._web.get(url, self._headers) as response:
                entries = _entries(small_body(response, url), url)
                link = _NEXT.search(response.headers.get("Link") or "")
            yield from entries
            url = link[1] if link else None
            if url is not None and not url.startswith(f"{self._base}/"):
                raise FetchProblem(Reason.FETCH_FAILED, f"{base} continues its listing on another host")


def _entries(body: bytes, url: str) -> list[str]:
    """The paths of the files in one page of a listing."""
    try:
        return [str(entry["path"]) for entry in json.loads(body) if entry["type"] == "file"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FetchProblem(Reason.FETCH_FAILED, f"{url} answers with no listing of files") from error

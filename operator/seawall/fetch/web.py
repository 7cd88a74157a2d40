"""HTTPS for plain web servers. Redirects are followed by hand: no secret and no model leaves TLS."""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO
from urllib.parse import SplitResult, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from seawall.fetch.problem import FetchProblem, Interrupted, Reason, not_found

CHUNK = 1024 * 1024
Body = bytes | IO[bytes] | None
_TIMEOUT = urllib3.Timeout(connect=10, read=30)
# A registry answers the last byte of a large upload when it has stored and hashed all of it.
_UPLOAD_TIMEOUT = urllib3.Timeout(connect=10, read=300)
_REDIRECTS = (301, 302, 303, 307, 308)
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_MOST_REDIRECTS = 8


class Web:
    """Plain http only towards hosts that the credentials name as such."""

    def __init__(self, plain_http_hosts: frozenset[str] = frozenset()) -> None:
        self._plain = plain_http_hosts
        self._tls = ssl.create_default_context()
        self._pools: dict[str, urllib3.PoolManager] = {}

    @contextmanager
    def get(
        self, url: str, headers: Mapping[str, str] | None = None, accept: tuple[int, ...] = ()
    ) -> Iterator[BaseHTTPResponse]:
        """A response with status 200, or one of `accept`, its body not yet read.

        Headers are secrets as a rule: they stay behind when a redirect leads to another host.
        """
        response = self._follow(url, dict(headers or {}))
        try:
            if response.status != 200 and response.status not in accept:
                raise _refusal(url, response)
            yield response
        finally:
            response.close()

    @contextmanager
    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body = None,
        accept: tuple[int, ...] = (),
    ) -> Iterator[BaseHTTPResponse]:
        """A request that may change something, or HEAD: a redirect is an answer and not followed."""
        parts = urlsplit(url)
        self._require_tls(parts)
        response = self._request(url, parts, headers, method, body)
        try:
            if response.status not in accept:
                raise _refusal(url, response)
            yield response
        finally:
            response.close()

    def _follow(self, url: str, headers: dict[str, str]) -> BaseHTTPResponse:
        for _ in range(_MOST_REDIRECTS):
            parts = urlsplit(url)
            self._require_tls(parts)
            response = self._request(url, parts, headers)
            target = response.headers.get("Location")
            if response.status not in _REDIRECTS or not target:
                return response
            response.close()
            url = urljoin(url, target)
            if _origin(urlsplit(url)) != _origin(parts):
                headers = {k: v for k, v in headers.items() if k.lower() == "accept"}
        raise FetchProblem(Reason.FETCH_FAILED, f"{shown(url)} redirects more than {_MOST_REDIRECTS} times")

    def _require_tls(self, parts: SplitResult) -> None:
        if parts.scheme == "https" or (parts.scheme == "http" and parts.netloc in self._plain):
            return
        raise FetchProblem(
            Reason.FETCH_FAILED,
            f"{shown(parts.geturl())} is not https, and models are not fetched without TLS",
        )

    def _request(
        self,
        url: str,
        parts: SplitResult,
        headers: Mapping[str, str],
        method: str = "GET",
        body: Body = None,
    ) -> BaseHTTPResponse:
        try:
            return self._pool(parts).request(
                method,
                url,
                body=body,
                headers={"User-Agent": "seawall", "Accept-Encoding": "identity", **headers},
                preload_content=False,
                redirect=False,
                retries=False,
                timeout=_TIMEOUT if body is None else _UPLOAD_TIMEOUT,
            )
        except (HTTPError, OSError) as error:
            raise Interrupted(f"{shown(url)}: {_words(error)}") from error
        except ValueError as error:
            # The library's own words repeat the header.
            raise FetchProblem(
                Reason.CREDENTIALS_REFUSED,
                f"{shown(url)} cannot be asked: the credentials hold a line break or another character"
                " that no header may have",
            ) from error

    def _pool(self, parts: SplitResult) -> urllib3.PoolManager:
        """The pool for this host: through the proxy that the environment names, if it names one."""
        proxy = urllib.request.getproxies().get(parts.scheme, "")
        if not proxy or urllib.request.proxy_bypass(parts.hostname or ""):
            proxy = ""
        if proxy not in self._pools:
            self._pools[proxy] = (
                urllib3.ProxyManager(proxy, ssl_context=self._tls)
                if proxy
                else urllib3.PoolManager(ssl_context=self._tls)
            )
        return self._pools[proxy]


def body(response: BaseHTTPResponse, url: str) -> Iterator[bytes]:
    """The body in pieces; a connection lost halfway is Interrupted, not a short file."""
    try:
        yield from response.stream(CHUNK, decode_content=False)
    except (HTTPError, OSError) as error:
        raise Interrupted(f"{shown(url)}: the connection broke: {_words(error)}") from error


def small_body(response: BaseHTTPResponse, url: str, limit: int = 8 * 1024 * 1024) -> bytes:
    """All of a body that is meant to be small, such as a manifest or a listing."""
    collected = bytearray()
    for piece in body(response, url):
        collected += piece
        if len(collected) > limit:
            raise FetchProblem(Reason.FETCH_FAILED, f"{shown(url)} answers with more than {limit} bytes")
    return bytes(collected)


def length(response: BaseHTTPResponse) -> int | None:
    text = response.headers.get("Content-Length") or ""
    return int(text) if text.isdecimal() else None


def shown(url: str) -> str:
    """The URL without its query: signatures belong in no log."""
    return url.split("?", maxsplit=1)[0]


def _origin(parts: SplitResult) -> tuple[str, str]:
    return parts.scheme, parts.netloc


def _refusal(url: str, response: BaseHTTPResponse) -> Exception:
    said = f"{shown(url)} answers {response.status} {response.reason or ''}".rstrip()
    if response.status in (404, 410):
        return not_found(said)
    if response.status in (401, 403):
        return FetchProblem(Reason.CREDENTIALS_REFUSED, said)
    if response.status in _TRANSIENT:
        return Interrupted(said)
    return FetchProblem(Reason.FETCH_FAILED, said)


def _words(error: BaseException) -> str:
    inner = getattr(error, "reason", None)
    return str(inner if isinstance(inner, BaseException) else error)

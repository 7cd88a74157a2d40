"""Just enough of an API client to wait for a cluster and to lay its first objects into it."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .errors import ClusterError
from .pki import Pair, Pki

Object = dict[str, Any]


@dataclass(frozen=True)
class Api:
    server: str
    context: ssl.SSLContext

    @classmethod
    def admin(cls, server: str, pki: Pki, client: Pair) -> Api:
        context = ssl.create_default_context(cafile=str(pki.pair("ca").cert))
        context.load_cert_chain(str(client.cert), str(client.key))
        return cls(server, context)

    def call(
        self, method: str, path: str, body: Object | None = None, kind: str = "application/json"
    ) -> tuple[int, bytes]:
        url = urlsplit(self.server)
        connection = http.client.HTTPSConnection(
            url.hostname or "", url.port, context=self.context, timeout=10
        )
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": kind, "Accept": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def ready(self, path: str = "/readyz") -> bool:
        try:
            return self.call("GET", path)[0] == http.client.OK
        except (OSError, http.client.HTTPException):
            return False

    def read(self, path: str) -> Object:
        status, body = self.call("GET", path)
        if status != http.client.OK:
            raise ClusterError(f"GET {path} answered {status}: {body[:300]!r}")
        return dict(json.loads(body))

    def apply(self, path: str, manifest: Object) -> None:
        query = "?fieldManager=seawall-cluster&force=true"
        status, body = self.call("PATCH", path + query, manifest, "application/apply-patch+yaml")
        if status not in {http.client.OK, http.client.CREATED}:
            raise ClusterError(f"apply of {path} answered {status}: {body[:300]!r}")

"""What no log line, no last word and no progress report may hold: the values of the credentials.

Sources put strange things into their errors: a header that a library refuses, a signed address, what a store
answers. Every text that leaves the process goes through here, before it is cut to length.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from seawall.fetch.https import basic
from seawall.fetch.order import CREDENTIALS_FOLDER, Credentials

HIDDEN = "[hidden]"
FOLDERS = tuple(CREDENTIALS_FOLDER.with_name(name) for name in ("credentials", "artifacts", "signing"))
ORDERS = ("SEAWALL_FETCH", "SEAWALL_BUILD")
SHORTEST = 4
"""What is shorter is part of ordinary words."""
LONG = 8
"""The same for what need not be a secret at all, such as a parameter."""
_OURS = re.compile(r"(AWS|AZURE|GOOGLE|HF|HTTPS|OCI)_\w+|[.]dockerconfigjson")
PLAIN = frozenset({
    "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AZURE_STORAGE_ACCOUNT",
    "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ENDPOINT", "AZURE_TENANT_ID", "AZURE_CLIENT_ID",
    "GOOGLE_BASE_URL", "HF_ENDPOINT", "HF_HOME", "HTTPS_PROXY", "HTTPS_USERNAME", "OCI_USERNAME",
    "OCI_PLAIN_HTTP", "SEAWALL_AMBIENT_CREDENTIALS", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN",
    "AZURE_FEDERATED_TOKEN_FILE",
})  # fmt: skip
"""Keys of a credentials Secret that a message should be able to name."""
_INNER = ("private_key", "private_key_id", "password", "auth", "identitytoken", "registrytoken")
_LOGIN = re.compile(r"(?<=://)[^/\s?#@]+@")
_QUERY = re.compile(r"""(\w+://[^\s?'"]+)\?[^\s'")>]+""")
_VALUE = re.compile(r"(?:^|[?&])[\w.-]+=([^&\s]+)")
_ASKED = re.compile(r"""\?([^\s"'\\]+)""")

_values: tuple[str, ...] = ()


def hide(environment: Mapping[str, str], folders: Sequence[Path] = FOLDERS) -> None:
    """From now on: the credentials of this environment and of these folders, in the place of any before."""
    global _values  # noqa: PLW0603 - a process has one set of credentials
    found = {form for secret in _secrets(environment, folders) for form in _forms(secret)}
    _values = tuple(sorted((form for form in found if len(form) >= SHORTEST), key=len, reverse=True))


def redacted(text: str) -> str:
    for value in _values:
        text = text.replace(value, HIDDEN)
    return _QUERY.sub(rf"\1?{HIDDEN}", _LOGIN.sub(f"{HIDDEN}@", text))


def _secrets(environment: Mapping[str, str], folders: Iterable[Path]) -> Iterator[str]:
    for name, value in environment.items():
        if _OURS.fullmatch(name) and name not in PLAIN:
            yield value
    for folder in folders:
        for path in sorted(folder.glob("*")):
            if path.name not in PLAIN and path.is_file():
                yield path.read_text(encoding="utf-8", errors="replace")
        for kind in ("HTTPS", "OCI"):
            known = Credentials(environment, folder)
            user, password = known.get(f"{kind}_USERNAME"), known.get(f"{kind}_PASSWORD")
            if user and password:
                yield basic(user, password).removeprefix("Basic ")
    for name in ORDERS:
        # A signed address is as good as a password while it lasts.
        yield from _ASKED.findall(environment.get(name, ""))


def _forms(secret: str) -> Iterator[str]:
    """As written, line by line, what is inside where it is JSON, and as other notations write it."""
    lines = {line.strip() for line in secret.splitlines() if not line.startswith("-----")}
    # A signature in a query is told back with and without its percent signs.
    parameters = {value for value in _VALUE.findall(secret) if len(value) >= LONG}
    for plain in {secret.strip(), *lines, *parameters, *_inside(secret)}:
        yield plain
        yield unquote(plain)
        yield repr(plain)[1:-1]
        yield json.dumps(plain)[1:-1]
        yield quote(plain, safe="")
        yield base64.b64encode(plain.encode()).decode()


def _inside(secret: str) -> Iterator[str]:
    try:
        document = json.loads(secret)
    except (ValueError, RecursionError):
        return
    waiting: list[Any] = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            for name in _INNER:
                if isinstance(value.get(name), str):
                    yield value[name].strip()
                    yield from value[name].split("\n")

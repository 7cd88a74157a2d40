"""From a uri to the files behind it. Each source lists what there is; reading comes later, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from seawall.fetch.order import Credentials, Order
from seawall.fetch.problem import FetchProblem, Reason, invalid_model
from seawall.fetch.web import Web

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
FILE_SUFFIXES = (".onnx", ".plan", ".py", *ARCHIVE_SUFFIXES)
FOLDER_FORMATS = ("python", "repository")
MOST_FILES = 10_000


@dataclass(frozen=True, slots=True)
class RemoteFile:
    path: str
    """relative, with slashes; inside the folder that the uri names, or the file's own name"""
    read: Callable[[], Iterator[bytes]]
    """starts from the beginning each time; raises FetchProblem or Interrupted"""
    size: int | None = None
    sha256: str | None = None
    """what the source itself says the content must be"""
    expected: str | None = None
    """what the order wants it to be: whoever asked for the download checks it"""


def wants_folder(order: Order) -> bool:
    """Whether the uri names a folder: by its trailing slash, else by what the format is made of."""
    path = uri_path(order.uri)
    if path.endswith("/") or order.artifact is not None:
        return True
    return order.format in FOLDER_FORMATS and not path.lower().endswith(FILE_SUFFIXES)


def uri_path(uri: str) -> str:
    """Without scheme, query and fragment; a `?` or `#` in an object's key is part of the key."""
    rest = uri.partition("://")[2]
    return rest.split("?")[0].split("#")[0] if uri.startswith("https://") else rest


def list_files(order: Order, credentials: Credentials) -> list[RemoteFile]:
    """One file, or all files of the folder. Raises FetchProblem or Interrupted."""
    folder = wants_folder(order)
    files = bounded(_source(order, credentials, folder))
    for file in files:
        checked_path(file.path)
    return files


def _source(order: Order, credentials: Credentials, folder: bool) -> Iterable[RemoteFile]:
    # Only the library of the source at hand is imported.
    if order.scheme in ("s3", "gs", "az"):
        from seawall.fetch.objects import object_files  # noqa: PLC0415

        return object_files(order.uri, credentials, folder)
    if order.scheme == "https":
        from seawall.fetch.https import https_file  # noqa: PLC0415

        return https_file(order.uri, credentials, folder, Web())
    if order.scheme == "hf":
        from seawall.fetch.huggingface import hub_files  # noqa: PLC0415

        return hub_files(order.uri, credentials, folder)
    if order.scheme == "oci":
        from seawall.fetch.oci import artefact_files  # noqa: PLC0415

        return artefact_files(order.uri, credentials)
    if order.scheme == "pvc":
        from seawall.fetch.volume import volume_files  # noqa: PLC0415

        return volume_files(order.uri, folder)
    raise FetchProblem(
        Reason.UNSUPPORTED_SCHEME,
        f"{order.uri} has a scheme that is not supported; use s3, gs, az, https, hf, oci or pvc",
    )


def bounded(files: Iterable[RemoteFile]) -> list[RemoteFile]:
    found: list[RemoteFile] = []
    for file in files:
        found.append(file)
        if len(found) > MOST_FILES:
            raise invalid_model(f"the folder has more than {MOST_FILES} files")
    return found


def checked_path(path: str) -> PurePosixPath:
    """The path, if it stays inside the folder it is relative to. Raises FetchProblem."""
    parts = path.split("/")
    if not path or "\\" in path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise invalid_model(f"the path {path!r} does not stay inside the model's folder")
    return PurePosixPath(path)

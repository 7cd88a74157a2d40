"""Reads an OCI archive layer by layer, writes what it found as CycloneDX; runs in what tools/venv audit made.

python sbom_worker.py IMAGE ARCHIVE OUT
"""

import email
import json
import sys
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

DPKG = PurePosixPath("var/lib/dpkg/status")
WHITEOUT = ".wh."


class Found:
    """The files that matter, as the topmost layer leaves them."""

    def __init__(self) -> None:
        self.texts: dict[PurePosixPath, str] = {}

    def add(self, layer: tarfile.TarFile) -> None:
        texts: dict[PurePosixPath, str] = {}
        for member in layer:
            path = PurePosixPath(member.name.removeprefix("./").lstrip("/"))
            if path.name.startswith(WHITEOUT):
                self._gone(path)
            elif member.isfile() and (path == DPKG or _is_metadata(path)):
                content = layer.extractfile(member)
                texts[path] = content.read().decode("utf-8", "replace") if content else ""
        self.texts |= texts

    def _gone(self, mark: PurePosixPath) -> None:
        opaque = mark.name == ".wh..wh..opq"
        gone = mark.parent if opaque else mark.parent / mark.name.removeprefix(WHITEOUT)
        self.texts = {p: text for p, text in self.texts.items() if gone != p and gone not in p.parents}


def _is_metadata(path: PurePosixPath) -> bool:
    return path.name == "METADATA" and path.parent.suffix == ".dist-info"


def layers(archive: Path) -> Iterator[IO[bytes]]:
    """Of the archive's one image, from the bottom up. Of several platforms there is only ours."""
    with tarfile.open(archive) as outer:

        def blob(digest: str) -> IO[bytes]:
            content = outer.extractfile(f"blobs/{digest.replace(':', '/')}")
            if content is None:
                raise SystemExit(f"sbom: {archive}: {digest} is no file")
            return content

        index = json.load(outer.extractfile("index.json"))  # type: ignore[arg-type]
        manifest = json.load(blob(index["manifests"][0]["digest"]))
        for layer in manifest["layers"]:
            yield blob(layer["digest"])


def licensed(component: Component, name: str | None) -> Component:
    if name and len(name) < 100 and "\n" not in name:
        component.licenses.add(DisjunctiveLicense(name=name))
    return component


def debian(status: str) -> Iterator[Component]:
    for paragraph in status.split("\n\n"):
        fields = email.message_from_string(paragraph)
        if "installed" in (fields.get("Status") or "").split():
            name, version, arch = fields["Package"], fields["Version"], fields["Architecture"]
            url = PackageURL("deb", "debian", name, version, {"arch": arch, "distro": "bookworm"})
            yield Component(
                name=name, version=version, purl=url, bom_ref=str(url), type=ComponentType.LIBRARY
            )


def python(path: PurePosixPath, metadata: str) -> Component:
    fields = email.message_from_string(metadata)
    name, version = fields["Name"], fields["Version"]
    url = PackageURL("pypi", None, name.lower().replace("_", "-"), version)
    # One package may lie in several environments of an image.
    place = f"{url}#{path.parent.parent}"
    made = Component(name=name, version=version, purl=url, bom_ref=place, type=ComponentType.LIBRARY)
    return licensed(made, fields.get("License-Expression") or fields.get("License"))


def bill(image: str, archive: Path) -> Bom:
    found = Found()
    for blob in layers(archive):
        with tarfile.open(fileobj=blob) as layer:
            found.add(layer)
    made = Bom()
    digest = HashType(alg=HashAlgorithm.SHA_256, content=_digest(archive))
    made.metadata.component = Component(
        name=image, type=ComponentType.CONTAINER, bom_ref=image, hashes=[digest]
    )
    for path, text in sorted(found.texts.items()):
        for component in debian(text) if path == DPKG else [python(path, text)]:
            made.components.add(component)
    return made


def _digest(archive: Path) -> str:
    """The manifest's own, by which a registry names the image."""
    with tarfile.open(archive) as outer:
        index = json.load(outer.extractfile("index.json"))  # type: ignore[arg-type]
    digest: str = index["manifests"][0]["digest"]
    return digest.removeprefix("sha256:")


def main(image: str, archive: str, out: str) -> None:
    # The graph of who needs whom is not in an image, and is not made up.
    warnings.filterwarnings("ignore", message=".*has no defined dependencies.*", category=UserWarning)
    made = make_outputter(bill(image, Path(archive)), OutputFormat.JSON, SchemaVersion.V1_6)
    text = made.output_as_string(indent=1)
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong is not None:
        raise SystemExit(f"sbom: {image}: {wrong}")
    Path(out).write_text(text + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

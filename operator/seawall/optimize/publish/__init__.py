"""From a folder of results to an artefact that is published once, found by its key, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seawall.fetch.artifact import ENVELOPE, MANIFEST, Published, read_manifest
from seawall.fetch.problem import FetchProblem
from seawall.fetch.signature import require_signature
from seawall.optimize.publish.manifest import Manifest, canonical, files_of, key, statement
from seawall.optimize.publish.signing import Signer
from seawall.optimize.publish.stage import get_stage, put_stage
from seawall.optimize.publish.stores import Found, Store, open_store, store_credentials
from seawall.optimize.types import Artifact, Passing, Refused

__all__ = [
    "Manifest",
    "Signer",
    "Store",
    "canonical",
    "find",
    "get_stage",
    "key",
    "lookup",
    "open_store",
    "publish",
    "put_stage",
    "store_credentials",
]


def publish(
    folder: Path, manifest: Manifest, store: Store, signer: Signer | None, trusted: Sequence[str] = ()
) -> Artifact:
    """The artefact under the manifest's key: this folder, or what another build published there before.

    `trusted`: public keys in PEM; what is there must then be signed with one of them. Raises Refused and
    Passing, and ValueError for a folder that cannot be published.
    """
    files = files_of(folder)
    there = store.find(manifest.key)
    if there is not None and (artifact := _whole(manifest.key, there)):
        _require_trusted(there, trusted)
        return artifact
    content = statement(files, manifest)
    # The manifest comes last wherever the order of writing shows.
    documents = {ENVELOPE: signer.sign(content)} if signer else {}
    documents[MANIFEST] = content
    store.publish(manifest.key, files, documents, replace=there is not None)
    there = store.find(manifest.key)
    artifact = _whole(manifest.key, there) if there else None
    if there is None or artifact is None:
        raise Passing(f"the store {store.uri} does not hold what was just published")
    _require_trusted(there, trusted)
    return artifact


def find(key: str, store: Store, trusted: Sequence[str] = ()) -> Artifact | None:
    """The artefact, if a valid manifest is there, all of its files with their sizes, and, where keys are
    given, a signature with one of them. Raises Refused and Passing when the store cannot tell."""
    found = lookup(key, store, trusted)
    return found[0] if found else None


def lookup(key: str, store: Store, trusted: Sequence[str] = ()) -> tuple[Artifact, Published] | None:
    """As `find`, with what its manifest says."""
    there = store.find(key)
    if there is None or (trusted and not _is_trusted(there, trusted)):
        return None
    artifact = _whole(key, there)
    return (artifact, read_manifest(there.manifest)) if artifact else None


def _whole(key: str, found: Found) -> Artifact | None:
    try:
        published = read_manifest(found.manifest)
    except ValueError:
        return None
    # A manifest of another request, signed or not, is no answer to this one.
    if published.predicate.get("key") != key:
        return None
    if {name: size for name, (_, size) in published.files.items()} != dict(found.sizes):
        return None
    return Artifact(found.uri, published.digest, published.kind, key)


def _is_trusted(found: Found, trusted: Sequence[str]) -> bool:
    try:
        require_signature(found.manifest, found.envelope, trusted)
    except FetchProblem:
        return False
    return True


def _require_trusted(found: Found, trusted: Sequence[str]) -> None:
    if trusted and not _is_trusted(found, trusted):
        raise Refused(
            "ArtifactConflict",
            f"{found.uri} is published already, without a signature that is trusted; delete it, or take"
            " another prefix",
        )

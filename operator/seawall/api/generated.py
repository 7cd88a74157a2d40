"""Which files of the repository are written from the models, and with what; a test holds them to it."""

from __future__ import annotations

import sys
from pathlib import Path

from seawall.api import catalogue, crd, editor, reference

DEFINITIONS = ("crds", "charts/seawall/crds", "charts/seawall-crds/files")
"""Folders of the CustomResourceDefinitions: for kubectl, for Helm's first installation, for its upgrades."""


def files() -> dict[str, str]:
    """Path from the repository's root -> content."""
    made = {f"{folder}/{n}": t for folder in DEFINITIONS for n, t in crd.files().items()}
    made["charts/seawall/files/acceleratorclasses.yaml"] = catalogue.text()
    made |= {f"{editor.FOLDER}/{name}": text for name, text in editor.files().items()}
    made["docs/api.md"] = reference.markdown()
    return made


def write(root: Path) -> None:
    for name, text in files().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "pyproject.toml").is_file():
        sys.exit("usage: python -m seawall.api.generated CHECKOUT")
    write(Path(sys.argv[1]))

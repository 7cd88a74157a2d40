"""The model of known service times as an archive, and the InferenceService that serves it."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parent / "sleeper"
FILE = "sleeper.tar.gz"
BASE_MS, EACH_MS, BATCH = 60.0, 10.0, 8
SLO_MS = 200.0


def pack(folder: Path, load_seconds: float) -> Path:
    """model.py and its config.pbtxt, for a uri like pvc://models/sleeper.tar.gz."""
    numbers = {"base_ms": BASE_MS, "each_ms": EACH_MS, "load_seconds": load_seconds}
    config = (SOURCE / "config.pbtxt").read_text() + "".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'
        for key, value in numbers.items()
    )
    written = folder / "config.pbtxt"
    written.write_text(config)
    archive = folder / FILE
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(written, "config.pbtxt")
        tar.add(SOURCE / "model.py", "model.py")
    written.unlink()
    archive.chmod(0o644)
    return archive


def service(name: str, namespace: str, scaling: dict[str, Any], claim: str = "models") -> dict[str, Any]:
    """Asks for next to no processor: what it needs is time."""
    triton = {"name": "triton", "resources": {"requests": {"cpu": "10m", "memory": "128Mi"}}}
    return {
        "apiVersion": "serving.seawall.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"uri": f"pvc://{claim}/{FILE}", "format": "python", "maxBatchSize": BATCH},
            "accelerator": {"class": "cpu"},
            "slo": {"p99": f"{SLO_MS:g}ms"},
            "scaling": scaling,
            "podTemplate": {"spec": {"containers": [triton]}},
        },
    }

"""The versions of the model beside this file: good ones, one that is slow and one that is wrong, each subtly.

Every version differs from every other by its mark, so that a client can tell who answered. The good ones are
late 4 times in 1000, well within an objective of 99 in 100. `slow` answers as right as they do and is late in
1 request of 20: its mean moves by a tenth, its p99 by a factor of two to three. `wrong` is as fast as the
good ones, and gives 3 of 100 inputs another class.
"""

from __future__ import annotations

import base64
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SOURCE = Path(__file__).resolve().parent
CLASSES = 10
USUAL_MS, LATE_MS, SLO_MS = 90.0, 270.0, 240.0
"""far enough apart for a busy machine not to make good requests late; an edge of the gateway's histogram"""
LATE_SHARE, SLOW_SHARE = 0.004, 0.05
WRONG_EVERY = 33
MARK = 0.02
INPUTS = 1980
"""of the golden set and of the load"""
GOOD = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh")


@dataclass(frozen=True)
class Version:
    name: str
    mark: float
    late_share: float = LATE_SHARE
    wrong_every: int = 0
    """every n-th input gets the class beside its own; 0: none"""

    @property
    def file(self) -> str:
        return f"{self.name}.tar.gz"

    def scores(self, numbers: np.ndarray) -> np.ndarray:
        """What model.py must answer."""
        classes = numbers.astype(np.int64) * 7 % CLASSES
        if self.wrong_every:
            classes = (classes + (numbers % self.wrong_every == 0)) % CLASSES
        return np.eye(CLASSES, dtype=np.float32)[classes] + np.float32(self.mark)


VERSIONS = {
    version.name: version
    for version in (
        *(Version(name, MARK * index) for index, name in enumerate(GOOD)),
        Version("slow", MARK * len(GOOD), late_share=SLOW_SHARE),
        Version("wrong", MARK * (len(GOOD) + 1), wrong_every=WRONG_EVERY),
    )
}


def numbers() -> np.ndarray:
    return np.arange(INPUTS)


def inputs() -> dict[str, np.ndarray]:
    return {"x": numbers().astype(np.float32)[:, None]}


def expected() -> dict[str, np.ndarray]:
    """By version; an answer that fits none of them is a wrong one."""
    return {name: version.scores(numbers()) for name, version in VERSIONS.items()}


def pack(folder: Path) -> None:
    """An archive of each version, for uris like pvc://models/second.tar.gz."""
    for version in VERSIONS.values():
        _pack(folder / version.file, version)


def _pack(archive: Path, version: Version) -> None:
    parameters = {
        "mark": version.mark,
        "usual_ms": USUAL_MS,
        "late_ms": LATE_MS,
        "late_share": version.late_share,
        "wrong_every": version.wrong_every,
    }
    config = (SOURCE / "config.pbtxt").read_text() + "".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'
        for key, value in parameters.items()
    )
    with tarfile.open(archive, "w:gz") as tar:
        told = tarfile.TarInfo("config.pbtxt")
        told.size = len(config)
        tar.addfile(told, io.BytesIO(config.encode()))
        tar.add(SOURCE / "model.py", "model.py")
    archive.chmod(0o644)


def uri(version: str, claim: str = "models") -> str:
    return f"pvc://{claim}/{VERSIONS[version].file}"


def golden_set(name: str) -> dict[str, Any]:
    """The recorded inputs as a ConfigMap."""
    written = io.BytesIO()
    np.savez_compressed(written, **inputs())
    data = {"golden.npz": base64.b64encode(written.getvalue()).decode()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "binaryData": data}


def service(name: str, version: str, rollout: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Asks for next to no processor: what it needs is time. `more`: further fields of spec."""
    triton = {"name": "triton", "resources": {"requests": {"cpu": "10m", "memory": "128Mi"}}}
    return {
        "apiVersion": "serving.seawall.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {
            "model": {"uri": uri(version), "format": "python", "maxBatchSize": 16},
            "accelerator": {"class": "cpu"},
            "parallelism": {"instances": 8},
            "slo": {"p99": f"{SLO_MS:g}ms"},
            "scaling": {"mode": "Fixed", "replicas": 2},
            "podTemplate": {"spec": {"containers": [triton]}},
            "rollout": rollout,
            **more,
        },
    }

"""Programs that PyTorch itself has saved: converted with their answers, or refused where loading would run code."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not here: tools/training-env makes its environment")

from seawall.optimize import graph as graphs  # noqa: E402
from seawall.optimize import train  # noqa: E402
from seawall.optimize.convert.torch_program import convert  # noqa: E402
from seawall.optimize.types import Fetched, Refused  # noqa: E402


class Pictures(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.classify = torch.nn.Linear(8, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = torch.relu(self.norm(self.conv(image)))
        return torch.softmax(self.classify(found.mean((2, 3))), 1)


class Tokens(torch.nn.Module):
    """Two inputs, whole numbers, a free length, arithmetic on it, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(50, 16)
        self.attention = torch.nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        words = self.words(ids) * mask[:, :, None]
        found, _ = self.attention(words, words, words, need_weights=False)
        return found.sum(1) / ids.shape[1], found[:, 0]


BATCH, LENGTH = torch.export.Dim("batch"), torch.export.Dim("length", min=4, max=64)
PROGRAMS: dict[str, tuple[Callable[[], Any], Callable[[], tuple[Any, ...]], Any]] = {
    "a convolutional classifier": (Pictures, lambda: (torch.randn(2, 3, 8, 8),), ({0: BATCH},)),
    "attention over tokens of any length": (
        Tokens,
        lambda: (torch.randint(0, 50, (2, 6)), torch.ones(2, 6)),
        ({0: BATCH, 1: LENGTH}, {0: BATCH, 1: LENGTH}),
    ),
}


def program(path: Path, name: str = "a convolutional classifier") -> tuple[Any, tuple[Any, ...]]:
    torch.manual_seed(3)
    kind, inputs, shapes = PROGRAMS[name]
    module, example = kind().eval(), inputs()
    torch.export.save(torch.export.export(module, example, dynamic_shapes=shapes), path)
    return module, example


def converted(path: Path, folder: Path) -> Any:
    return convert(Fetched(path, "torch", "0" * 64, path.stat().st_size), folder)


@pytest.fixture(autouse=True)
def this_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(train.PYTHON_VARIABLE, raising=False)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_graph_answers_as_the_module_does(tmp_path: Path, name: str) -> None:
    module, example = program(tmp_path / "m.pt2", name)
    graph = converted(tmp_path / "m.pt2", tmp_path / "graph")
    signature = graphs.signature(graph)
    assert signature.batched
    five = [torch.cat([value, value, value])[:5] for value in example]
    with torch.no_grad():
        wanted = module(*five)
    inputs = {spec.name: value.numpy() for spec, value in zip(signature.inputs, five, strict=True)}
    found = graphs.run(graphs.session(graph), inputs)
    for one, other in zip(wanted if isinstance(wanted, tuple) else (wanted,), found, strict=True):
        np.testing.assert_allclose(other, one.numpy(), rtol=1e-4, atol=1e-5)


class Trap:
    """Leaves a file where it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return Path.touch, (self.place,)


def sample_inputs(place: Path, files: dict[str, bytes]) -> None:
    """What torch.export.load falls back to unpickling without restrictions."""
    buffer = io.BytesIO()
    torch.save(Trap(place), buffer)
    files["data/sample_inputs/model.pt"] = buffer.getvalue()


def weight(place: Path, files: dict[str, bytes]) -> None:
    config = json.loads(files["data/weights/model_weights_config.json"])
    config["config"]["conv.bias"]["use_pickle"] = True
    files["data/weights/model_weights_config.json"] = json.dumps(config).encode()
    files["data/weights/weight_1"] = pickle.dumps(Trap(place))


def size(place: Path, files: dict[str, bytes]) -> None:
    text = files["models/model.json"].decode()
    evil = f"__import__('pathlib').Path('{place}').touch()"
    changed, count = re.subn(r"Symbol\('s\d+', positive=True, integer=True\)", evil, text)
    assert count
    files["models/model.json"] = changed.encode()


TRAPS = {
    "in the sample inputs": sample_inputs,
    "in a weight": weight,
    "in the size of a tensor": size,
}


@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS.keys())
def test_a_trap_is_refused_before_it_shuts(
    tmp_path: Path, trap: Callable[[Path, dict[str, bytes]], None]
) -> None:
    program(tmp_path / "good.pt2")
    with zipfile.ZipFile(tmp_path / "good.pt2") as good:
        files = {name.partition("/")[2]: good.read(name) for name in good.namelist()}
    trap(tmp_path / "sprung", files)
    with zipfile.ZipFile(tmp_path / "bad.pt2", "w") as bad:
        for name, content in files.items():
            bad.writestr(f"m/{name}", content)
    with pytest.raises(Refused) as caught:
        converted(tmp_path / "bad.pt2", tmp_path / "graph")
    assert caught.value.reason == "UnsafeModel"
    assert not (tmp_path / "sprung").exists()
    with contextlib.suppress(Exception):
        torch.export.load(tmp_path / "bad.pt2")
    assert (tmp_path / "sprung").exists(), "PyTorch itself is no longer caught by this: no trap at all"


def test_torchscript_and_checkpoints_are_refused_unopened(tmp_path: Path) -> None:
    torch.save(Pictures().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(Refused, match="pickle") as caught:
        converted(tmp_path / "weights.pt", tmp_path / "graph")
    assert caught.value.reason == "UnsafeModel"

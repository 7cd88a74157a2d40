"""The interface of recipes: what they are handed, what may come back, and that they get no credentials."""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from seawall.optimize import graph as graphs
from seawall.optimize import outside, recipes, train
from seawall.optimize.types import (
    BuildOrder,
    Context,
    Graph,
    Proof,
    Recipe,
    Refused,
    Samples,
    Target,
)

pytestmark = pytest.mark.long

CLASSES, FEATURES, COUNT = 3, 6, 40
RANDOM = np.random.default_rng(5)
INPUTS = RANDOM.standard_normal((COUNT, FEATURES)).astype(np.float32)
OTHERS = RANDOM.standard_normal((COUNT, FEATURES)).astype(np.float32)

COPY = """
    import json, os, pathlib, shutil
    order = pathlib.Path(os.environ["SEAWALL_RECIPE"])
    raw = json.loads(order.read_text())
    output = order.parent / raw["output"]
    print("progress: 40 halfway there")
    shutil.copy(order.parent / raw["model"], output / "model.onnx")
    (output / "result.json").write_text(json.dumps({"method": "copied as it was"}))
"""


def linear(folder: Path, classes: int = CLASSES, name: str = "scores") -> Graph:
    weight = np.random.default_rng(1).standard_normal((FEATURES, classes)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], [name])],
        "linear",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", FEATURES])],
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", classes])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    return graphs.save(model, folder)


def proof(passed: bool = True) -> Proof:
    return Proof("top1", 1.0 if passed else 0.5, 0.9, 1.0, 0.98, COUNT, "evaluation", passed)


@pytest.fixture
def original(tmp_path: Path) -> Graph:
    return linear(tmp_path / "original")


@pytest.fixture
def context(tmp_path: Path, original: Graph) -> Context:
    data = tmp_path / "train.npz"
    np.savez(data, x=INPUTS)
    order = BuildOrder("m", "onnx", Target("cpu", "cpu"), preset="pruned", recipe=Recipe(data=str(data)))
    samples = Samples({"x": OTHERS})
    return Context(
        order,
        graphs.signature(original),
        samples,
        samples,
        lambda graph: proof(),
        lambda stage, percent, sentence: None,
        training=data,
    )


def with_recipe(context: Context, tmp_path: Path, program: str, **told: Any) -> Context:
    script = tmp_path / "recipe.py"
    script.write_text(textwrap.dedent(program), encoding="utf-8")
    recipe = Recipe(entrypoint=(sys.executable, str(script)), data="train.npz", **told)
    return replace(context, order=replace(context.order, recipe=recipe))


def test_a_recipe_finds_its_order_and_its_model_is_taken_over(
    tmp_path: Path, context: Context, original: Graph
) -> None:
    said: list[tuple[str, float | None, str]] = []
    listening = replace(with_recipe(context, tmp_path, COPY, epochs=7), say=lambda *words: said.append(words))
    made = train.compress("pruned", original, listening, tmp_path / "out")
    assert made.method == "copied as it was"
    assert made.graph.sha256() == original.sha256()
    assert ("train", 40.0, "halfway there") in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.onnx"]
    assert not (tmp_path / "out.training").exists()


def test_the_order_says_everything_that_determines_the_result(
    tmp_path: Path, context: Context, original: Graph
) -> None:
    recipe = Recipe(epochs=7, data="train.npz")
    asked = replace(context, order=replace(context.order, recipe=recipe, seed=3, threads=2))
    path = recipes.handover("distilled", original, asked, tmp_path / "recipe")
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "interface": 1,
        "step": "distilled",
        "model": "model/model.onnx",
        "data": "data.npz",
        "output": "output",
        "epochs": 7,
        "seed": 3,
        "threads": 2,
        "ratio": 0.6,
    }
    assert (path.parent / "model/model.onnx").read_bytes() == original.path.read_bytes()
    assert sorted(np.load(path.parent / "data.npz").files) == ["x"]


def test_a_second_handover_leaves_nothing_of_the_first(
    tmp_path: Path, context: Context, original: Graph
) -> None:
    folder = tmp_path / "recipe"
    recipes.handover("pruned", original, context, folder)
    (folder / "output/model.onnx").write_bytes(b"half written")
    recipes.handover("pruned", original, context, folder)
    assert list((folder / "output").iterdir()) == []


BAD_RECIPES = {
    "a recipe that fails shows its last lines": (
        "import sys; print('no room for the weights'); sys.exit(3)",
        "TrainingFailed",
        "code 3.*no room for the weights",
    ),
    "a recipe may refuse in its own words": (
        """
        import json, os, pathlib, sys
        output = pathlib.Path(os.environ["SEAWALL_RECIPE"]).parent / "output"
        output.joinpath("result.json").write_text(
            json.dumps({"reason": "PresetUnsupported", "message": "too small to prune"}))
        sys.exit(1)
        """,
        "PresetUnsupported",
        "^too small to prune$",
    ),
    "a reason that nobody knows counts as a failed training": (
        """
        import json, os, pathlib
        output = pathlib.Path(os.environ["SEAWALL_RECIPE"]).parent / "output"
        output.joinpath("result.json").write_text(json.dumps({"reason": "Whatever", "message": "tired"}))
        """,
        "TrainingFailed",
        "^tired$",
    ),
    "a recipe that writes no model": ("pass", "TrainingFailed", "left no model.onnx"),
    "a model that is a link to somewhere else": (
        """
        import os, pathlib
        order = pathlib.Path(os.environ["SEAWALL_RECIPE"]).parent
        os.symlink(order / "model/model.onnx", order / "output/model.onnx")
        """,
        "TrainingFailed",
        "left no model.onnx",
    ),
    "a model that is none": (
        """
        import os, pathlib
        output = pathlib.Path(os.environ["SEAWALL_RECIPE"]).parent / "output"
        output.joinpath("model.onnx").write_bytes(b"PK\\x03\\x04 not onnx")
        """,
        "TrainingFailed",
        "cannot be used.*zip archive",
    ),
    "a result that is no JSON": (
        """
        import os, pathlib
        output = pathlib.Path(os.environ["SEAWALL_RECIPE"]).parent / "output"
        output.joinpath("result.json").write_text("{")
        """,
        "TrainingFailed",
        "no JSON",
    ),
}


@pytest.mark.parametrize(("program", "reason", "words"), BAD_RECIPES.values(), ids=BAD_RECIPES.keys())
def test_what_a_recipe_may_not_do(
    tmp_path: Path, context: Context, original: Graph, program: str, reason: str, words: str
) -> None:
    with pytest.raises(Refused) as caught:
        train.compress("pruned", original, with_recipe(context, tmp_path, program), tmp_path / "out")
    assert caught.value.reason == reason
    assert re.search(words, caught.value.message, re.DOTALL)


def test_a_recipe_that_takes_too_long_is_ended(tmp_path: Path, context: Context, original: Graph) -> None:
    endless = with_recipe(context, tmp_path, "import time; print('working', flush=True); time.sleep(600)")
    with pytest.raises(Refused, match="ended after 1 s") as caught:
        train.compress("pruned", original, endless, tmp_path / "out", seconds=1.0)
    assert caught.value.reason == "TrainingFailed"


def test_a_recipe_sees_no_credentials(
    tmp_path: Path, context: Context, original: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("HF_TOKEN", "hush")
    spying = "import os, sys; print(sorted(os.environ), os.environ['HOME']); sys.exit(1)"
    with pytest.raises(Refused) as caught:
        train.compress("pruned", original, with_recipe(context, tmp_path, spying), tmp_path / "out")
    assert "SEAWALL_RECIPE" in caught.value.message
    assert "AWS_SECRET_ACCESS_KEY" not in caught.value.message
    assert "HF_TOKEN" not in caught.value.message
    assert os.environ.get("HOME", "?") not in caught.value.message.split("]")[-1].split()


OTHER_MODELS = {
    "another number of classes": ({"classes": 4}, "other outputs.*scores float32"),
    "another name of the output": ({"name": "logits"}, "other outputs.*logits"),
}


@pytest.mark.parametrize(("built", "words"), OTHER_MODELS.values(), ids=OTHER_MODELS.keys())
def test_a_model_of_another_signature_is_not_taken_over(
    tmp_path: Path, context: Context, original: Graph, built: dict[str, Any], words: str
) -> None:
    folder = recipes.handover("pruned", original, context, tmp_path / "recipe").parent
    linear(folder / "output", **built)
    with pytest.raises(Refused, match=words):
        recipes.takeover(original, folder, tmp_path / "made")


def test_training_needs_data(tmp_path: Path, context: Context, original: Graph) -> None:
    with pytest.raises(Refused) as caught:
        train.compress("pruned", original, replace(context, training=None), tmp_path / "out")
    assert caught.value.reason == "TrainingDataMissing"


def test_a_model_is_never_judged_on_what_it_has_learnt(
    tmp_path: Path, context: Context, original: Graph
) -> None:
    judged = replace(context, evaluation=Samples({"x": INPUTS[::-1]}))
    with pytest.raises(Refused, match="40 of the 40 samples") as caught:
        train.compress("pruned", original, judged, tmp_path / "out")
    assert caught.value.reason == "InvalidData"


def test_a_chance_duplicate_between_training_and_evaluation_is_no_leak(
    tmp_path: Path, context: Context, original: Graph
) -> None:
    mixed = replace(context, evaluation=Samples({"x": np.concatenate([OTHERS, INPUTS[:3]])}))
    made = train.compress("pruned", original, with_recipe(mixed, tmp_path, COPY), tmp_path / "out")
    assert made.method == "copied as it was"


def test_an_image_needs_a_cluster(tmp_path: Path, context: Context, original: Graph) -> None:
    order = replace(context.order, recipe=Recipe(image="registry.example/recipe:1", data="d.npz"))
    with pytest.raises(Refused, match=r"registry\.example/recipe:1, which runs in a cluster only"):
        train.compress("pruned", original, replace(context, order=order), tmp_path / "out")


@pytest.mark.parametrize("module", ["torch", "torch.nn", "torch_pruning"])
def test_without_pytorch_the_sentence_says_what_to_do(
    tmp_path: Path, context: Context, original: Graph, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    bare = tmp_path / "python"
    bare.write_text(f"#!/bin/sh\necho \"ModuleNotFoundError: No module named '{module}'\"; exit 1\n")
    bare.chmod(0o755)
    monkeypatch.setenv(train.PYTHON_VARIABLE, str(bare))
    with pytest.raises(
        Refused, match=r"PyTorch is missing.*seawall\[training\].*tools/training-env"
    ) as caught:
        train.compress("pruned", original, context, tmp_path / "out")
    assert "\n" not in caught.value.message


def test_less_is_pruned_until_the_floor_is_kept(
    tmp_path: Path, context: Context, original: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\nexec {sys.executable} {tmp_path / 'recipe.py'}\n")
    script.chmod(0o755)
    (tmp_path / "recipe.py").write_text(
        textwrap.dedent(COPY).replace('"copied as it was"', 'str(round(raw["ratio"], 2))')
    )
    monkeypatch.setenv(train.PYTHON_VARIABLE, str(script))
    answers = iter([proof(passed=False), proof()])
    searching = replace(context, measure=lambda graph: next(answers))
    made = train.compress("pruned", original, searching, tmp_path / "out")
    assert made.method == "0.3"
    assert made.tried == ("ratio 0.50: top1 0.5000, floor 0.98",)


def test_what_a_program_started_ends_with_it(tmp_path: Path) -> None:
    ended = outside.run(
        ("/bin/sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"), {}, tmp_path / "home", seconds=60
    )
    assert ended.code == 0
    assert eventually(lambda: is_dead(int(ended.tail)))


def eventually(holds: Callable[[], bool]) -> bool:
    """The kernel takes a moment for a kill."""
    for _ in range(500):
        if holds():
            return True
        time.sleep(0.02)
    return False


def is_dead(process: int) -> bool:
    """A killed orphan may stay as a zombie until init has read its end."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_a_program_that_is_not_there_is_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be started: No such file"):
        outside.run(("/nowhere/python",), {}, tmp_path, seconds=5, refusal="TrainingFailed")

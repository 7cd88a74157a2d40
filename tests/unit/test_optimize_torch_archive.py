"""PyTorch files are vetted without PyTorch: what may run code when it is loaded is refused by what it is."""

from __future__ import annotations

import copy
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seawall.optimize.convert.torch_archive import vetted
from seawall.optimize.convert.torch_program import convert
from seawall.optimize.types import Fetched, Refused

TREE = '[1, {"type": "builtins.tuple", "context": "null", "children_spec": []}]'
PROGRAM: dict[str, Any] = {
    "graph_module": {
        "graph": {
            "inputs": [{"as_tensor": {"name": "x"}}],
            "nodes": [
                {
                    "target": "torch.ops.aten.linear.default",
                    "inputs": [{"name": "input", "arg": {"as_tensor": {"name": "x"}}}],
                    "metadata": {"stack_trace": 'File "/home/me/train.py", line 6'},
                }
            ],
            "tensor_values": {
                "x": {"sizes": [{"as_expr": {"expr_str": "Symbol('s77', positive=True, integer=True)"}}]}
            },
        },
        "module_call_graph": [
            {"fqn": "", "signature": {"in_spec": TREE, "out_spec": TREE}},
            {"fqn": "a (b)", "signature": None},
        ],
        "metadata": {},
    },
    "range_constraints": {"s77": {"min_val": 0, "max_val": None}},
    "guards_code": ["L['x'].size()[0] >= 2"],
    "torch_version": "2.15.0+cu132",
}
WEIGHTS = {"config": {"l.weight": {"path_name": "weight_0", "use_pickle": False, "is_param": True}}}


def archive(path: Path, program: Any = PROGRAM, weights: Any = WEIGHTS, **more: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("m/models/model.json", json.dumps(program))
        made.writestr("m/data/weights/model_weights_config.json", json.dumps(weights))
        made.writestr("m/data/weights/weight_0", b"\0" * 16)
        for name, content in more.items():
            made.writestr(f"m/{name}", content)
    return path


def with_node(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    program = copy.deepcopy(PROGRAM)
    change(program["graph_module"]["graph"]["nodes"][0])
    return program


def with_size(expression: str) -> dict[str, Any]:
    program = copy.deepcopy(PROGRAM)
    sizes = program["graph_module"]["graph"]["tensor_values"]["x"]["sizes"]
    sizes[0]["as_expr"]["expr_str"] = expression
    return program


def with_tree(tree: str) -> dict[str, Any]:
    program = copy.deepcopy(PROGRAM)
    program["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = tree
    return program


def test_a_plain_program_is_rewritten_without_what_pytorch_would_evaluate(tmp_path: Path) -> None:
    fresh = vetted(archive(tmp_path / "m.pt2"), tmp_path / "fresh.pt2")
    with zipfile.ZipFile(fresh) as made:
        program = json.loads(made.read("model/models/model.json"))
        assert made.read("model/data/weights/weight_0") == b"\0" * 16
    assert program["guards_code"] == []
    assert program["graph_module"]["graph"]["nodes"][0]["metadata"] == {}
    assert [call["fqn"] for call in program["graph_module"]["module_call_graph"]] == [""]


SIZES = [
    "4",
    "2*s77 + 1",
    "FloorDiv(s77, 2)",
    "Integer(3)",
    "Mul(Integer(2), Symbol('s0', integer=True))",
    "Max(1, u3)",
]


@pytest.mark.parametrize("expression", SIZES)
def test_arithmetic_over_sizes_passes(tmp_path: Path, expression: str) -> None:
    assert vetted(archive(tmp_path / "m.pt2", with_size(expression)), tmp_path / "fresh.pt2").is_file()


UNSAFE: dict[str, tuple[dict[str, Any], str]] = {
    "a call of the operating system": (
        {"program": with_node(lambda node: node.update(target="torch.os.system"))},
        "torch.os.system",
    ),
    "a way to load more code": (
        {"program": with_node(lambda node: node.update(target="torch.ops.load_library"))},
        "load_library",
    ),
    "an operator from an extension": (
        {"program": with_node(lambda node: node.update(target="#mine:run"))},
        "#mine:run",
    ),
    "a size that is Python": ({"program": with_size("__import__('os').system('id')")}, "arithmetic"),
    "a size that reaches for attributes": ({"program": with_size("s77.__class__")}, "arithmetic"),
    "a size that is a string": ({"program": with_size("Symbol('__import__')")}, "arithmetic"),
    "a size that is a lambda": ({"program": with_size("(lambda: 1)()")}, "arithmetic"),
    "a size of endless nesting": ({"program": with_size("(" * 900 + ")" * 900)}, "arithmetic"),
    "a bound that is Python": (
        {"program": PROGRAM | {"range_constraints": {"exec('1')": {}}}},
        "arithmetic",
    ),
    "a name that breaks out of generated code": (
        {"program": with_node(lambda node: node.update(name="x): import os #"))},
        "import os",
    ),
    "a class of inputs that has to be imported": (
        {"program": with_tree(TREE.replace("builtins.tuple", "collections.defaultdict"))},
        "defaultdict",
    ),
    "an enumeration that has to be imported": (
        {"program": with_tree(TREE.replace('"null"', '"{\\"__enum__\\": true}"'))},
        "enum",
    ),
    "weights kept as a pickle": (
        {"weights": {"config": {"w": {"path_name": "weight_0", "use_pickle": True}}}},
        "weight 'w' is kept as a pickle",
    ),
    "weights outside of the archive": (
        {"weights": {"config": {"w": {"path_name": "../../etc/passwd", "use_pickle": False}}}},
        "weight 'w'",
    ),
    "a compiled library": ({"data/aotinductor/model/x.so": b"\x7fELF"}, "aotinductor"),
    "an object of someone's class": ({"data/constants/custom_obj_0": b"x"}, "custom_obj_0"),
    "files of someone's own": ({"extra/notes.pkl": b"x"}, "extra/notes.pkl"),
    "a pickle beside the program": ({"data.pkl": b"x"}, "pickle"),
}


@pytest.mark.parametrize(("parts", "words"), UNSAFE.values(), ids=UNSAFE.keys())
def test_what_could_run_code_is_refused(tmp_path: Path, parts: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused) as caught:
        vetted(archive(tmp_path / "m.pt2", **parts), tmp_path / "fresh.pt2")
    assert caught.value.reason == "UnsafeModel"
    assert words in caught.value.message
    assert "torch.export.save" in caught.value.message


def packed(path: Path) -> Path:
    with zipfile.ZipFile(archive(path), "a", zipfile.ZIP_DEFLATED) as made:
        made.writestr("m/data/weights/weight_1", b"\0" * 1_000_000)
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def torch_save(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("archive/data.pkl", pickle.dumps({}))
    return path


FILES: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "a zip bomb": (lambda folder: packed(folder / "m.pt2"), "InvalidModel", "packed"),
    "a truncated archive": (
        lambda folder: written(folder / "m.pt2", archive(folder / "whole.zip").read_bytes()[:200]),
        "InvalidModel",
        "no exported program",
    ),
    "an archive of something else": (
        lambda folder: torch_save(folder / "m.pt2"),
        "UnsafeModel",
        "torch.save or TorchScript",
    ),
    "a program that is no JSON object": (
        lambda folder: archive(folder / "m.pt2", program=[]),
        "InvalidModel",
        "no exported program",
    ),
    "an old pickle": (
        lambda folder: written(folder / "m.pth", pickle.dumps({})),
        "UnsafeModel",
        "torch.export.save",
    ),
    "a checkpoint in today's format": (
        lambda folder: torch_save(folder / "m.pt"),
        "UnsafeModel",
        "torch.export.save",
    ),
}


@pytest.mark.parametrize(("made", "reason", "words"), FILES.values(), ids=FILES.keys())
def test_files_that_are_no_exported_programs(
    tmp_path: Path, made: Callable[[Path], Path], reason: str, words: str
) -> None:
    path = made(tmp_path)
    with pytest.raises(Refused) as caught:
        convert(Fetched(path, "torch", "0" * 64, 1), tmp_path / "out" / "graph")
    assert caught.value.reason == reason
    assert words in caught.value.message
    assert not (tmp_path / "out" / "graph").exists()


def test_a_folder_of_checkpoints_is_refused_as_what_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "fetched"
    folder.mkdir()
    written(folder / "pytorch_model.bin", b"x")
    written(folder / "config.json", b"{}")
    with pytest.raises(Refused, match="its files are pickles") as caught:
        convert(Fetched(folder, "torch", "0" * 64, 1), tmp_path / "out")
    assert caught.value.reason == "UnsafeModel"

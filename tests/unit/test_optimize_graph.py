"""ONNX folders: what is read, what is refused, what is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from seawall.optimize import graph as graphs
from seawall.optimize.types import Graph, Refused
from support import graphs as made


def _bytes(content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / "model.onnx").write_bytes(content) and None


def _cut(folder: Path) -> None:
    content = made.cnn().SerializeToString()
    (folder / "model.onnx").write_bytes(content[: len(content) // 2])


def _moved(location: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder.parent / "secret").write_bytes(bytes(1 << 20))
        graph = made.external(made.cnn(), folder / "inner")
        model = onnx.load(graph.path, load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location.replace("FOLDER", str(folder))
        (folder / "model.onnx").write_bytes(model.SerializeToString())

    return write


def _in_a_branch(folder: Path) -> None:
    weight = TensorProto(name="w", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "../secret"
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["y"], value=weight)], "b", [], [made.value("y", [1])]
    )
    node = helper.make_node("If", ["c"], ["out"], then_branch=branch, else_branch=branch)
    model = made.model([node], [made.value("c", [], TensorProto.BOOL)], [made.value("out", [1])])
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def _linked(folder: Path) -> None:
    graph = made.external(made.cnn(), folder / "inner")
    (folder / "model.onnx").write_bytes(graph.path.read_bytes())
    outside = folder.parent / "elsewhere.bin"
    (folder / "inner" / "weights.bin").rename(outside)
    (folder / "weights.bin").symlink_to(outside)


def _short_weights(folder: Path) -> None:
    graph = made.external(made.cnn(), folder / "inner")
    (folder / "model.onnx").write_bytes(graph.path.read_bytes())
    (folder / "weights.bin").write_bytes(bytes(16))


UNREADABLE = [
    ("no file at all", lambda _: None, "InvalidModel", "no file model.onnx"),
    ("an empty file", _bytes(b""), "InvalidModel", "no graph with outputs"),
    ("a file cut in half", _cut, "InvalidModel", "cut short"),
    ("random bytes", _bytes(bytes(range(7, 250))), "InvalidModel", "cannot be read as ONNX"),
    ("a zip archive", _bytes(b"PK\x03\x04rest"), "InvalidModel", "zip archive"),
    ("a pickle", _bytes(b"\x80\x04\x95rest"), "InvalidModel", "pickle"),
    ("a login page", _bytes(b"<!doctype html>"), "InvalidModel", "login page"),
    ("a Git LFS pointer", _bytes(b"version https://git-lfs.github.com"), "InvalidModel", "Git LFS"),
    ("weights above the folder", _moved("../secret"), "UnsafeModel", "outside"),
    ("weights at an absolute path", _moved("/etc/hostname"), "UnsafeModel", "outside"),
    (
        "weights at the folder's own absolute path",
        _moved("FOLDER/inner/weights.bin"),
        "UnsafeModel",
        "outside",
    ),
    ("weights that climb and come back", _moved("inner/../../secret"), "UnsafeModel", "outside"),
    ("weights without a place", _moved(""), "UnsafeModel", "outside"),
    ("weights behind a link that leaves", _linked, "UnsafeModel", "outside"),
    ("weights outside, named in a branch", _in_a_branch, "UnsafeModel", "outside"),
    ("weights that are missing", _moved("gone.bin"), "InvalidModel", "not there"),
    ("weights that are cut short", _short_weights, "InvalidModel", "cut short"),
]


@pytest.mark.parametrize(
    ("write", "reason", "words"), [row[1:] for row in UNREADABLE], ids=[row[0] for row in UNREADABLE]
)
def test_what_cannot_be_trusted_is_refused(
    write: Callable[[Path], None], reason: str, words: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    write(folder)
    with pytest.raises(Refused) as caught:
        graphs.load(Graph(folder))
    assert caught.value.reason == reason
    assert words in caught.value.message


def test_a_session_reads_no_weights_outside_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    _moved("../secret")(folder)
    with pytest.raises(Refused, match="UnsafeModel"):
        graphs.session(Graph(folder))


def test_large_weights_go_into_a_file_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "INLINE_BYTES", 10_000)
    before = made.cnn()
    total = graphs.weight_bytes(before)
    graph = graphs.save(before, tmp_path / "large")
    assert sorted(file.name for file in graph.folder.iterdir()) == ["model.onnx", graphs.WEIGHTS_FILE]
    assert graph.path.stat().st_size < 10_000
    assert graphs.weight_bytes(graphs.load(graph, weights=False)) == total
    assert _answer(graph) == pytest.approx(_answer(graphs.save(made.cnn(), tmp_path / "again")))


def test_a_copy_takes_the_weights_along_and_nothing_else(tmp_path: Path) -> None:
    graph = made.external(made.cnn(), tmp_path / "from", "weights.bin")
    (graph.folder / "private.txt").write_text("not part of the model")
    copied = graphs.copy(graph.path, tmp_path / "to")
    assert sorted(file.name for file in copied.folder.iterdir()) == ["model.onnx", "weights.bin"]
    assert _answer(copied) == pytest.approx(_answer(graph))


def test_a_change_of_structure_leaves_large_weights_unread(tmp_path: Path) -> None:
    graph = made.external(made.cnn(), tmp_path / "from")
    model = graphs.load(graph, weights=False)
    model.graph.doc_string = "changed"
    changed = graphs.save_structure(model, graph, tmp_path / "to")
    assert (changed.folder / "weights.bin").read_bytes() == (graph.folder / "weights.bin").read_bytes()
    assert _answer(changed) == pytest.approx(_answer(graph))


def _answer(graph: Graph) -> list[float]:
    image = np.linspace(0, 1, 128, dtype=np.float32).reshape(2, 1, 8, 8)
    values: list[float] = graphs.run(graphs.session(graph), {"image": image})[0].ravel().tolist()
    return values


SIGNATURES = [
    ("images in batches", made.cnn, ((None, 1, 8, 8), (None, 4), True)),
    ("images one by one", lambda: made.cnn(batch=1), ((1, 1, 8, 8), (1, 4), False)),
    ("tokens of any length", made.tokens, ((None, None), (None, 64), True)),
]


@pytest.mark.parametrize(("build", "expected"), [r[1:] for r in SIGNATURES], ids=[r[0] for r in SIGNATURES])
def test_a_signature_tells_shapes_and_batches(
    build: Callable[[], Any], expected: tuple[Any, ...], tmp_path: Path
) -> None:
    read = graphs.signature(graphs.save(build(), tmp_path / "m"))
    assert (read.inputs[0].shape, read.outputs[0].shape, read.batched) == expected


def test_an_initialiser_that_is_listed_as_input_is_no_input(tmp_path: Path) -> None:
    model = made.cnn()
    model.graph.input.append(made.value("w3", [64, 256]))
    read = graphs.signature(graphs.save(model, tmp_path / "m"))
    assert [spec.name for spec in read.inputs] == ["image"]


def test_strings_and_whole_numbers_keep_their_types() -> None:
    model = made.model(
        [helper.make_node("Identity", ["a"], ["x"]), helper.make_node("Identity", ["b"], ["y"])],
        [made.value("a", ["n", 1], TensorProto.STRING), made.value("b", ["n"], TensorProto.INT64)],
        [made.value("x", ["n", 1], TensorProto.STRING), made.value("y", ["n"], TensorProto.INT64)],
    )
    assert [spec.dtype for spec in graphs.signature_of(model).inputs] == ["object", "int64"]


@pytest.mark.parametrize("kind", ["sequence", "no shape"])
def test_inputs_that_no_server_takes_are_refused(kind: str) -> None:
    model = made.cnn()
    entry = model.graph.input[0]
    if kind == "sequence":
        entry.type.CopyFrom(helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [1])))
    else:
        entry.type.tensor_type.ClearField("shape")
    with pytest.raises(Refused, match="input image"):
        graphs.signature_of(model)


def test_notes_travel_with_the_model(tmp_path: Path) -> None:
    model = made.cnn()
    graphs.add_notes(model, ("one thing", "another"))
    assert graphs.notes(graphs.save(model, tmp_path / "m")) == ("one thing", "another")
    assert graphs.notes(graphs.save(made.cnn(), tmp_path / "n")) == ()

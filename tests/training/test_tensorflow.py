"""SavedModels and TFLite files, made here by TensorFlow itself, become ONNX with the same answers."""

from __future__ import annotations

import subprocess
import textwrap
from pathlib import Path

import numpy as np
import pytest

from seawall.optimize import graph as graphs
from seawall.optimize.convert import tensorflow, tflite
from seawall.optimize.types import Fetched, Refused

MAKE = """
    import sys
    import numpy as np
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter
    tf.keras.utils.set_random_seed(1)
    out = sys.argv[1]
    layers = tf.keras.layers
    model = tf.keras.Sequential([
        layers.Input((8, 8, 1), name="image"), layers.Conv2D(8, 3, activation="relu", padding="same"),
        layers.MaxPooling2D(), layers.Flatten(), layers.Dense(10, bias_initializer="random_normal")])
    model.export(out + "/saved")
    images = np.random.default_rng(0).standard_normal((5, 8, 8, 1)).astype(np.float32)
    convert = lambda: tf.lite.TFLiteConverter.from_saved_model(out + "/saved")
    open(out + "/plain.tflite", "wb").write(convert().convert())
    quantised = convert()
    quantised.optimizations = [tf.lite.Optimize.DEFAULT]
    quantised.representative_dataset = lambda: ([image[None]] for image in images)
    open(out + "/quantised.tflite", "wb").write(quantised.convert())
    answers = {"saved": model(images).numpy()}
    for name in ("plain", "quantised"):
        running = Interpreter(f"{out}/{name}.tflite").get_signature_runner()
        answers[name] = np.concatenate([running(image=image[None])["output_0"] for image in images])
    np.savez(out + "/answers.npz", images=images, **answers)

    class Reads(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def __call__(self, x):
            return {"y": x + tf.cast(tf.strings.length(tf.io.read_file("/etc/passwd")), tf.float32)}
    reads = Reads()
    tf.saved_model.save(reads, out + "/reads", signatures={"serving_default": reads.__call__})
"""


@pytest.fixture(scope="session")
def made(tensorflow_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tensorflow")
    subprocess.run(
        [tensorflow_python, "-c", textwrap.dedent(MAKE), str(folder)],
        check=True,
        capture_output=True,
        env={"PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "3", "HOME": str(folder)},
    )
    return folder


@pytest.fixture(autouse=True)
def interpreter(tensorflow_python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tensorflow.PYTHON_VARIABLE, tensorflow_python)


def fetched(path: Path, form: str) -> Fetched:
    return Fetched(path, form, "0" * 64, 1)


MODELS = {
    "a SavedModel": ("saved", "tensorflow", 1e-4),
    "a TFLite model": ("plain.tflite", "tflite", 1e-4),
    "a quantised TFLite model": ("quantised.tflite", "tflite", 0.05),
}


@pytest.mark.parametrize(("name", "form", "tolerance"), MODELS.values(), ids=MODELS.keys())
def test_the_graph_answers_as_the_model_does(
    made: Path, tmp_path: Path, name: str, form: str, tolerance: float
) -> None:
    convert = tensorflow.convert if form == "tensorflow" else tflite.convert
    graph = convert(fetched(made / name, form), tmp_path / "graph")
    signature = graphs.signature(graph)
    assert [spec.name for spec in signature.inputs] == ["image"]
    assert signature.batched
    with np.load(made / "answers.npz") as stored:
        wanted = stored[name.partition(".")[0]]
        found = graphs.run(graphs.session(graph), {"image": stored["images"]})[0]
    assert np.linalg.norm(found - wanted) <= tolerance * np.linalg.norm(wanted)


def test_a_savedmodel_that_reads_files_is_refused_before_it_is_loaded(made: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="ReadFile") as caught:
        tensorflow.convert(fetched(made / "reads", "tensorflow"), tmp_path / "graph")
    assert caught.value.reason == "UnsafeModel"


def test_a_damaged_file_ends_in_a_sentence(made: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes((made / "plain.tflite").read_bytes()[:300])
    with pytest.raises(Refused, match="the converter failed") as caught:
        tflite.convert(fetched(broken, "tflite"), tmp_path / "graph")
    assert caught.value.reason == "ConversionFailed"

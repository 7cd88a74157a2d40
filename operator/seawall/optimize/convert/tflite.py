"""TFLite models, through TensorFlow's converter; the answers are those of the LiteRT interpreter."""

from __future__ import annotations

from pathlib import Path

from seawall.optimize.convert.tensorflow import converted
from seawall.optimize.types import Fetched, Graph, Refused

IDENTIFIER = b"TFL3"
"""bytes 4 to 8 of every file: the flatbuffer's own name for its schema"""


def convert(fetched: Fetched, folder: Path) -> Graph:
    """Raises Refused: InvalidModel, or ConversionFailed with what the converter said."""
    files = [fetched.path] if fetched.path.is_file() else sorted(f for f in fetched.path.rglob("*.tflite"))
    if len(files) != 1:
        raise Refused("InvalidModel", f"{len(files)} .tflite files were found, one is needed")
    with files[0].open("rb") as source:
        if source.read(8)[4:] != IDENTIFIER:
            raise Refused("InvalidModel", f"{files[0].name} is no TFLite model: its identifier is not TFL3")
    return converted("tflite", files[0], folder)

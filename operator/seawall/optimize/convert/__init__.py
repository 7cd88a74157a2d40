"""Every format a model may come in, made into one: an ONNX folder with a batch dimension that varies.

The formats other than ONNX need libraries of gigabytes, so each is imported where it is met.
"""

from __future__ import annotations

from pathlib import Path

from seawall.optimize import graph as graphs
from seawall.optimize.types import BuildOrder, Fetched, Graph, Refused, Say

FORMATS = ("onnx", "torch", "tensorflow", "tflite")


def convert(fetched: Fetched, order: BuildOrder, folder: Path, say: Say) -> Graph:
    """Writes model.onnx into `folder`. What was left as it came is said and kept: see graph.notes."""
    say("convert", None, f"reading the {fetched.format} model")
    graph = _converted(fetched, order, folder)
    for note in graphs.notes(graph):
        say("convert", None, note)
    return graph


def _converted(fetched: Fetched, order: BuildOrder, folder: Path) -> Graph:
    match fetched.format:
        case "onnx":
            from seawall.optimize.convert import onnx_model  # noqa: PLC0415

            return onnx_model.convert(fetched, folder)
        case "torch":
            from seawall.optimize.convert.torch_program import convert as from_torch  # noqa: PLC0415

            return from_torch(fetched, folder)
        case "tensorflow":
            from seawall.optimize.convert.tensorflow import convert as from_tensorflow  # noqa: PLC0415

            return from_tensorflow(fetched, folder)
        case "tflite":
            from seawall.optimize.convert.tflite import convert as from_tflite  # noqa: PLC0415

            return from_tflite(fetched, folder)
    raise Refused(
        "FormatUnknown",
        f"{order.model}: no build starts from {fetched.format!r}, but from {', '.join(FORMATS)}",
    )

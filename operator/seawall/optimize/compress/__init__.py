"""Making a model smaller and faster: one compressor per preset and kind of target.

The CPU's own are here. GPU, TPU and training bring libraries of gigabytes, so each is imported where its
preset is asked for.
"""

from __future__ import annotations

from pathlib import Path

from seawall.optimize import presets
from seawall.optimize.types import Compressed, Context, Graph, Refused


def compress(step: str, graph: Graph, context: Context, folder: Path) -> Compressed:
    """One step of a chain (see presets.steps), written to `folder`. Raises Refused."""
    target = context.order.target
    if problem := presets.refusal(step, target):
        raise problem
    if step == "none":
        return Compressed(graph, "as converted")
    if step in presets.TRAINING:
        from seawall.optimize.train import compress as trained  # noqa: PLC0415

        return trained(step, graph, context, folder)
    if target.type == "gpu":
        from seawall.optimize.gpu.quantize import compress as for_gpu  # noqa: PLC0415

        return for_gpu(step, graph, context, folder)
    if target.type == "tpu":
        from seawall.optimize.tpu import compress as for_tpu  # noqa: PLC0415

        return for_tpu(step, graph, context, folder)
    return _for_cpu(step, graph, context, folder)


def _for_cpu(step: str, graph: Graph, context: Context, folder: Path) -> Compressed:
    match step:
        case "int8":
            from seawall.optimize.compress.int8_cpu import compress as to_int8  # noqa: PLC0415

            return to_int8(graph, context, folder)
        case "int4":
            from seawall.optimize.compress.int4_cpu import compress as to_int4  # noqa: PLC0415

            return to_int4(graph, context, folder)
    raise Refused("PresetUnsupported", f"{step} is no step that a CPU build takes by itself")

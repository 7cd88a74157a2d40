"""Tables that are looked up, such as those of words, in the type that their rows are cast to.

The caster leaves a lookup in float and casts what comes out of it, so that the largest tensor of a language
model would stay at its full size. Casting the table first gives the same values.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

SMALL = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def cast_tables(model: onnx.ModelProto) -> int:
    """In place; returns how many tables were cast."""
    graph = model.graph
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {end.name for end in graph.output}
    gone: dict[str, str] = {}
    count = 0
    for table in graph.initializer:
        casts = _casts(table, readers, outputs)
        kinds = {cast.attribute[0].i for cast in casts}
        if len(kinds) == 1 and kinds <= set(SMALL):
            round_to(table, kinds.pop())
            gone |= {cast.output[0]: cast.input[0] for cast in casts}
            count += 1
    kept = [node for node in graph.node if not gone.keys() & set(node.output)]
    for node in kept:
        for index, name in enumerate(node.input):
            node.input[index] = gone.get(name, name)
    del graph.node[:]
    graph.node.extend(kept)
    if count:
        del graph.value_info[:]
    return count


def _casts(table: TensorProto, readers: dict[str, list[NodeProto]], outputs: set[str]) -> list[NodeProto]:
    """The casts behind the lookups in a float table; none where anything else reads the table or its rows."""
    lookups = readers.get(table.name, [])
    if table.data_type != TensorProto.FLOAT or not lookups:
        return []
    if any(node.op_type != "Gather" or node.input[0] != table.name for node in lookups):
        return []
    rows = [node.output[0] for node in lookups]
    casts = [reader for row in rows for reader in readers.get(row, [])]
    free = outputs.isdisjoint(rows) and outputs.isdisjoint(cast.output[0] for cast in casts)
    return casts if free and all(cast.op_type == "Cast" for cast in casts) else []


def round_to(tensor: TensorProto, kind: int) -> None:
    """To fp16 or bf16, to nearest, ties to even, as the casts of a device do."""
    values = np.ascontiguousarray(numpy_helper.to_array(tensor), np.float32)
    if kind == TensorProto.FLOAT16:
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))
        return
    bits = values.view(np.uint32).astype(np.uint64)
    kept = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    tensor.CopyFrom(helper.make_tensor(tensor.name, kind, tensor.dims, kept.tobytes(), raw=True))

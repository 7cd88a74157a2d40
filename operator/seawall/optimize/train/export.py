"""Back to ONNX: the trained network exported, and held against itself before anyone else may use it."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seawall.optimize import graph as graphs
from seawall.optimize.train.network import Network
from seawall.optimize.types import MODEL_FILE, Graph, Refused, Signature

OPSET = 18
TOLERANCE = 1e-4
"""largest difference between PyTorch and ONNX Runtime, relative to the largest score"""


def exported(network: Network, signature: Signature, example: tuple[Any, ...], folder: Path) -> Graph:
    """The network as an ONNX model with the signature's names. Raises Refused where it answers otherwise."""
    raw = folder.with_name(folder.name + ".raw")
    raw.mkdir(parents=True)
    network.eval()
    batch = torch.export.Dim("batch")
    shapes = tuple({0: batch} if signature.batched else None for _ in example)
    # The exporter looks for torchvision, which these networks do not use, and says so once an operator.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            example,
            input_names=[spec.name for spec in signature.inputs],
            output_names=[spec.name for spec in signature.outputs],
            # forward takes them all as one starred argument
            dynamic_shapes=(shapes,),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    weights = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    program.save(str(raw / MODEL_FILE), external_data=weights > graphs.INLINE_BYTES)
    graph = _without_notes(Graph(raw), folder)
    _require_equal(network, graph, signature, example)
    return graph


def _without_notes(graph: Graph, folder: Path) -> Graph:
    """Stack traces and module names of every node: a tenth of a small model, and paths of this machine."""
    model = graphs.load(graph, weights=False)
    for item in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    model.graph.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    return graphs.save_structure(model, graph, folder)


def _require_equal(network: Network, graph: Graph, signature: Signature, example: tuple[Any, ...]) -> None:
    session = graphs.session(graph)
    for size in (len(example[0]), 1) if signature.batched else (len(example[0]),):
        inputs = [value[:size] for value in example]
        with torch.no_grad():
            wanted = network(*inputs).numpy()
        names = [spec.name for spec in signature.inputs]
        found = graphs.run(session, dict(zip(names, (v.numpy() for v in inputs), strict=True)))[0]
        far = float(np.abs(found - wanted).max() / max(float(np.abs(wanted).max()), 1e-12))
        if not far <= TOLERANCE:
            raise Refused(
                "TrainingFailed",
                f"the exported model answers otherwise than the trained one: largest difference {far:.2e}",
            )

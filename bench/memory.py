"""Peak memory of a build against its bar: 3 times the model plus 1.5 GB, from fetch to publish.

Makes a model of random weights, kept outside the graph as every large model has them, and builds it with
`seawall optimize` in a process of its own, whose peak is then asked of the kernel.

    python bench/memory.py                        1.34 GB, preset int8
    python bench/memory.py --layers 10 --preset int4
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

WIDTH = 8192
LAYER_BYTES = WIDTH * WIDTH * 4
TIMES, BESIDE = 3, 1_500_000_000


def model(folder: Path, layers: int) -> Path:
    """Matrix after matrix, written piece by piece: making it needs little memory."""
    weights = folder / "model.onnx.data"
    random = np.random.default_rng(0)
    tensors, nodes = [], []
    with weights.open("wb") as out:
        for layer in range(layers):
            tensor = TensorProto(name=f"w{layer}", data_type=TensorProto.FLOAT, dims=[WIDTH, WIDTH])
            tensor.data_location = TensorProto.EXTERNAL
            where = {"location": weights.name, "offset": layer * LAYER_BYTES, "length": LAYER_BYTES}
            for key, value in where.items():
                tensor.external_data.add(key=key, value=str(value))
            tensors.append(tensor)
            for _ in range(WIDTH // 256):
                rows = random.standard_normal((256, WIDTH), np.float32) / np.sqrt(np.float32(WIDTH))
                out.write(rows.tobytes())
            nodes.append(helper.make_node("MatMul", [f"x{layer}", f"w{layer}"], [f"y{layer}"], f"m{layer}"))
            nodes.append(helper.make_node("Tanh", [f"y{layer}"], [f"x{layer + 1}"], f"t{layer}"))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", WIDTH])
        for name in ("x0", f"x{layers}")
    ]
    graph = helper.make_graph(nodes, "large", ends[:1], ends[1:], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    np.savez(folder / "data.npz", x0=random.standard_normal((64, WIDTH), np.float32))
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=5, help="of 268 MB each (default: 5)")
    parser.add_argument("--preset", default="int8")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="seawall-memory-") as place:
        source = Path(place, "source")
        source.mkdir()
        command = [
            sys.executable, "-m", "seawall", "optimize", "--model", str(model(source, args.layers)),
            "--format", "onnx", "--preset", args.preset, "--target", "cpu", "--out", str(Path(place, "out")),
            "--evaluation", str(source / "data.npz"), "--max-batch", "8",
        ]  # fmt: skip
        ended = subprocess.run(command, check=False)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    size = args.layers * LAYER_BYTES
    bar = TIMES * size + BESIDE
    print(f"model {size / 1e9:.2f} GB, peak {peak / 1e9:.2f} GB, bar {bar / 1e9:.2f} GB")
    return ended.returncode or int(peak > bar)


if __name__ == "__main__":
    sys.exit(main())

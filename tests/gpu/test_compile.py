"""compile.sh run by a real shell with a stand-in for trtexec, and what its files are read as.

The stand-in answers in the formats of TensorRT's own sources (samples/common/sampleReporting.cpp: exportJSONOutput,
exportJSONTrace); its logs are lines as trtexec prints them. Nothing here ran on a GPU.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seawall.optimize.gpu.compile import (
    EngineOptions,
    batch_sizes,
    compile_script,
    prepare,
    quoted,
    slug,
    spelled,
)  # fmt: skip
from seawall.optimize.gpu.engine import Engine, decisive, outputs, read, timing
from seawall.optimize.gpu.profile import profiles
from seawall.optimize.graph import run, session
from seawall.optimize.types import Array, Refused, Samples, Signature, Target, TensorSpec
from support.gpugraphs import SIGNATURE, cnn, images

GOLDEN = Path(__file__).parent / "golden"
L4 = Target("nvidia-l4", "gpu", compute_capability="8.9", product="NVIDIA-L4")
TEXT = Signature(
    (
        TensorSpec("ids", "int64", (None, None)),
        TensorSpec("type:0", "int64", (None, 1)),
        TensorSpec("table", "float32", (4, 4)),
    ),
    (TensorSpec("y", "float32", (None, 3)),),
    True,
)
SENTENCES = Samples({
    "ids": np.ones((4, 24), np.int64), "type:0": np.ones((4, 1), np.int64),
    "table": np.ones((4, 4, 4), np.float32),
})  # fmt: skip
FAKE = """\
#!/usr/bin/env python3
import json, os, re, sys
arguments = sys.argv[1:]
options = dict(a[2:].split("=", 1) if "=" in a else (a[2:], "") for a in arguments)
print("&&&& RUNNING TensorRT.trtexec [TensorRT v%s] [b18] # trtexec" % os.environ["FAKE_BANNER"])
if "version" in options:
    sys.exit(1)
with open("calls", "a") as out:
    out.write(json.dumps(arguments) + "\\n")
if os.environ.get("FAKE_FAILS") == ("build" if "onnx" in options else "run"):
    print(open(os.environ["FAKE_LOG"]).read())
    sys.exit(1)
if "onnx" in options:
    assert os.path.isfile(options["onnx"])
    open(options["saveEngine"], "w").write("engine")
    print("[11/21/2026-10:00:00] [I] Engine built in 3.25 sec.")
    print("[11/21/2026-10:00:00] [I] Created engine with size: 0.5 MiB")
else:
    size = re.search(r"output-(\\d+)", options["exportOutput"])[1]
    for pair in options["loadInputs"].split(","):
        assert os.path.getsize(pair.rsplit(":", 1)[1])
    open(options["exportOutput"], "w").write(open("fake-output-%s.json" % size).read())
    open(options["exportTimes"], "w").write(os.environ["FAKE_TIMES"])
"""
TIMES = """[
  { "startEnqMs" : 0.1, "endEnqMs" : 0.2, "startH2dMs" : 0.1, "endH2dMs" : 0.2, "startComputeMs" : 0.2, \
"endComputeMs" : 1.2, "startD2hMs" : 1.2, "endD2hMs" : 1.3, "h2dMs" : 0.1, "computeMs" : 1, "d2hMs" : 0.1, \
"latencyMs" : 1.2 }
, { "startEnqMs" : 2.1, "endEnqMs" : 2.2, "startH2dMs" : 2.1, "endH2dMs" : 2.2, "startComputeMs" : 2.2, \
"endComputeMs" : 3.4, "startD2hMs" : 3.4, "endD2hMs" : 3.5, "h2dMs" : 0.1, "computeMs" : 1.2, "d2hMs" : 0.1, \
"latencyMs" : 1.4 }
]
"""
UNPARSED = """\
[05/01/2026-23:03:56] [I] [TRT] ----------------------------------------------------------------
[05/01/2026-23:03:56] [E] [TRT] ModelImporter.cpp:961: While parsing node number 672 [Squeeze -> "s_output_0"]:
[05/01/2026-23:03:56] [E] [TRT] ModelImporter.cpp:964: --- End node ---
[05/01/2026-23:03:56] [E] [TRT] ModelImporter.cpp:967: ERROR: onnxOpImporters.cpp:5889 In function importSqueeze:
[12] Assertion failed: !isDynamic(shape): Cannot infer squeeze dimensions from a dynamic shape!
[05/01/2026-23:03:56] [E] Failed to parse onnx file
[05/01/2026-23:03:56] [E] Parsing model failed
[05/01/2026-23:03:56] [E] Engine set up failed
&&&& FAILED TensorRT.trtexec [TensorRT v101601] [b11] # trtexec
"""
TACTICS = """\
[05/01/2026-23:03:56] [E] Error[10]: IBuilder::buildSerializedNetwork: Error Code 10: Internal Error (Could not find \
any implementation for node conv1.)
[05/01/2026-23:03:56] [E] Engine could not be created from network
[05/01/2026-23:03:56] [E] Building engine failed
"""
FULL = """\
[05/01/2026-23:03:56] [E] [TRT] [defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)
[05/01/2026-23:03:56] [E] Engine could not be created from network
"""
NO_DRIVER = """\
[01/23/2026-08:08:56] [E] [TRT] createInferBuilder: Error Code 6: API Usage Error (CUDA initialization failure \
with error: 35. Please check your CUDA installation)
[01/23/2026-08:08:56] [E] Building engine failed
"""


def test_the_script_is_the_golden_one() -> None:
    shapes = profiles(TEXT, SENTENCES, 8)
    runs = {size: {"ids": (size, 24), "type:0": (size, 1)} for size in batch_sizes(8)}
    options = EngineOptions(sparsity=True, hardware="sameComputeCapability")
    text = compile_script(shapes, runs, "A100-SXM4-40GB MIG 1g.5gb", options)
    assert text == (GOLDEN / "compile.sh").read_text(), "the script changed: read the difference"


def test_the_profile_spans_batch_and_length() -> None:
    assert profiles(TEXT, SENTENCES, 8) == {
        "ids": ((1, 1), (8, 24), (8, 24)),
        "type:0": ((1, 1), (8, 1), (8, 1)),
    }
    assert profiles(SIGNATURE, images(), 8, usual=4) == {"image": ((1, 1, 8, 8), (4, 1, 8, 8), (8, 1, 8, 8))}
    fixed = Signature((TensorSpec("x", "float32", (1, 3)),), (), False)
    assert profiles(fixed, Samples({"x": np.ones((2, 1, 3), np.float32)}), 1) == {}


@pytest.mark.parametrize(
    ("signature", "samples", "batch", "reason"),
    [
        (SIGNATURE, images(), 0, "CompileFailed"),
        (SIGNATURE, Samples({"other": np.ones((1, 2))}), 8, "CompileFailed"),
        (SIGNATURE, Samples({"image": np.ones((1, 2))}), 8, "InvalidData"),
    ],
    ids=["no batch at all", "no sample of the input", "samples of another rank"],
)
def test_a_profile_that_cannot_be_known_is_refused(
    signature: Signature, samples: Samples, batch: int, reason: str
) -> None:
    with pytest.raises(Refused) as refused:
        profiles(signature, samples, batch)
    assert refused.value.reason == reason


@pytest.mark.parametrize("options", [{"hardware": "volta+"}, {"level": 6}])
def test_options_that_trtexec_does_not_have_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="hardware compatibility"):
        EngineOptions(**options)


def test_names_and_products_are_spelled_as_trtexec_and_files_take_them() -> None:
    assert spelled({"x": (1, 2), "a:0": (3,)}) == "x:1x2,'a:0':3"
    assert quoted("a,b") == "'a,b'"
    assert slug("NVIDIA A100-SXM4-40GB/MIG 1g.5gb") == "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"
    assert batch_sizes(12) == (1, 2, 4, 8, 12)


class Built:
    """One folder that compile.sh ran in."""

    def __init__(self, tmp_path: Path, product: str | None = "NVIDIA-L4") -> None:
        tmp_path.mkdir(exist_ok=True)
        self.folder = tmp_path / "compile"
        graph = cnn(tmp_path / "graph")
        running = session(graph)

        def answer(batch: Mapping[str, Array]) -> Mapping[str, Array]:
            return {"scores": run(running, dict(batch))[0]}

        target = Target("nvidia-l4", "gpu", product=product)
        prepare(graph, SIGNATURE, images(), target, self.folder, max_batch=4, answer=answer)
        for size in (1, 2, 4):
            self.answers(size, np.load(self.folder / f"expected-{size}.npz")["arr_0"])
        tool = tmp_path / "trtexec"
        tool.write_text(FAKE)
        tool.chmod(0o755)
        smi = tmp_path / "bin" / "nvidia-smi"
        smi.parent.mkdir()
        smi.write_text("#!/bin/sh\necho 'NVIDIA L4, 550.54, 8.9'\n")
        smi.chmod(0o755)
        path = f"{smi.parent}:{os.environ['PATH']}"
        self.environ = {"PATH": path, "TRTEXEC": str(tool), "FAKE_TIMES": TIMES, "FAKE_BANNER": "101303"}

    def answers(self, size: int, values: Array, name: str = "scores") -> None:
        """As trtexec prints them: six digits, and names of not finite values bare."""
        told = " , ".join(f"{value:.6g}" for value in values.ravel())
        shape = "x".join(map(str, values.shape))
        text = (
            f'[\n  {{ "name" : "{name}"\n  , "dimensions" : "{shape}"\n  , "values" : [ {told} ]\n  }}\n]\n'
        )
        (self.folder / f"fake-output-{size}.json").write_text(text)

    def run(self, **environ: str) -> None:
        subprocess.run(["sh", self.folder / "compile.sh"], env={**self.environ, **environ}, check=True)

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]

    def read(self, precision: str = "fp16") -> Engine:
        return read(self.folder, precision)


def test_an_engine_is_built_timed_and_compared(tmp_path: Path) -> None:
    built = Built(tmp_path)
    built.run()
    engine = built.read()
    assert engine.bytes == len("engine")
    assert (engine.tensorrt, engine.gpu, engine.build_seconds) == ("10.13.3", "NVIDIA L4, 550.54, 8.9", 3.25)
    assert engine.relative_error < 1e-4
    assert [t.size for t in engine.times] == [1, 2, 4]
    assert engine.times[0].p50_ms == pytest.approx(1.3)
    build = built.calls[0]
    assert "--minShapes=image:1x1x8x8" in build
    assert "--maxShapes=image:4x1x8x8" in build
    assert "--timingCacheFile=cache/NVIDIA-L4-10.13.3.tc" in build
    assert "--loadInputs=image:inputs/4/0.bin" in built.calls[3]


@pytest.mark.parametrize(
    ("environ", "version", "strongly"),
    [
        ({"TRT_VERSION": "10.11.0.33+cuda12.9"}, "10.11.0.33", True),
        ({"TRT_VERSION": "11.0.0.114"}, "11.0.0.114", False),
        ({"FAKE_BANNER": "100700"}, "10.7.0", True),
        ({"FAKE_BANNER": "110100"}, "11.1.0", False),
    ],
    ids=["the image tells 10", "the image tells 11", "the banner tells 10", "the banner tells 11"],
)
def test_strong_typing_is_asked_for_where_the_option_exists(
    environ: dict[str, str], version: str, strongly: bool, tmp_path: Path
) -> None:
    built = Built(tmp_path)
    built.run(**environ)
    assert built.read().tensorrt == version
    assert ("--stronglyTyped" in built.calls[0]) == strongly
    old = {"--fp16", "--int8", "--bf16", "--fp8", "--int4", "--best", "--calib"}
    assert not old & {flag for call in built.calls for flag in call}


def test_tactics_are_kept_apart_by_product_and_version(tmp_path: Path) -> None:
    """The last product is not known to the class: nvidia-smi tells it."""
    names = []
    for number, (product, banner) in enumerate(
        [("NVIDIA-L4", "101303"), ("NVIDIA-L4", "110100"), ("A100-MIG-1g.5gb", "101303"), (None, "101400")]
    ):
        built = Built(tmp_path / str(number), product)
        built.run(FAKE_BANNER=banner)
        names += [flag for flag in built.calls[0] if flag.startswith("--timingCacheFile")]
    assert names == [
        "--timingCacheFile=cache/NVIDIA-L4-10.13.3.tc",
        "--timingCacheFile=cache/NVIDIA-L4-11.1.0.tc",
        "--timingCacheFile=cache/A100-MIG-1g.5gb-10.13.3.tc",
        "--timingCacheFile=cache/NVIDIA-L4-10.14.0.tc",
    ]


@pytest.mark.parametrize(
    ("environ", "log", "reason", "said"),
    [
        ({"FAKE_FAILS": "build"}, UNPARSED, "CompileFailed", "Cannot infer squeeze dimensions"),
        ({"FAKE_FAILS": "build"}, TACTICS, "CompileFailed", "any implementation for node conv1"),
        ({"FAKE_FAILS": "build"}, FULL, "OutOfMemory", "out of memory"),
        ({"FAKE_FAILS": "build"}, NO_DRIVER, "CompileFailed", "CUDA initialization failure with error: 35"),
        ({"FAKE_FAILS": "run"}, "[05/01/2026-23:03:56] [E] Error[1]: bad engine", "CompileFailed", "could not run the engine: Error"),
        ({"TRT_VERSION": "8.6.1"}, "", "CompileFailed", "explicit precision need 10"),
        ({"FAKE_BANNER": "8601"}, "", "CompileFailed", "TensorRT 8.6.1"),
        ({"FAKE_BANNER": ""}, "", "CompileFailed", "tells no TensorRT version"),
        ({"TRTEXEC": "/nowhere"}, "", "CompileFailed", "no trtexec"),
    ],
    ids=[
        "a node that the parser refuses", "no tactic", "no memory", "a driver that is too old", "an engine that will not run",
        "TensorRT 8 by the image", "TensorRT 8 by the banner", "no version at all", "an image without trtexec",
    ],
)  # fmt: skip
def test_a_failure_ends_in_the_line_that_decided(
    environ: dict[str, str], log: str, reason: str, said: str, tmp_path: Path
) -> None:
    built = Built(tmp_path)
    (tmp_path / "log").write_text(log)
    built.run(FAKE_LOG=str(tmp_path / "log"), **environ)
    with pytest.raises(Refused, match=said) as refused:
        built.read()
    assert refused.value.reason == reason


def test_a_parser_error_names_its_node() -> None:
    assert decisive(UNPARSED).endswith('(node Squeeze -> "s_output_0")')


@pytest.mark.parametrize(
    ("change", "precision", "said"),
    [
        (lambda y: y * 1.05, "fp16", "answers otherwise"),
        (lambda y: np.where(y == y.max(), np.nan, y), "fp16", "not finite"),
        (lambda y: -np.inf * np.ones_like(y), "int8", "not finite"),
        (lambda y: y[:, :5], "fp16", "5 values"),
    ],
    ids=["values that are off", "a value that is no number", "endless values", "values that are missing"],
)
def test_an_engine_that_answers_otherwise_does_not_count(
    change: Any, precision: str, said: str, tmp_path: Path
) -> None:
    built = Built(tmp_path)
    built.answers(1, change(np.load(built.folder / "expected-1.npz")["arr_0"]))
    built.run()
    with pytest.raises(Refused, match=said) as refused:
        built.read(precision)
    assert refused.value.reason == "CompileFailed"


def test_an_output_of_another_name_does_not_count(tmp_path: Path) -> None:
    built = Built(tmp_path)
    built.answers(2, np.load(built.folder / "expected-2.npz")["arr_0"], name="logits")
    built.run()
    with pytest.raises(Refused, match="no output scores"):
        built.read()


def test_what_rounds_in_eight_bits_passes_for_int8_and_not_for_float(tmp_path: Path) -> None:
    built = Built(tmp_path)
    built.answers(1, np.load(built.folder / "expected-1.npz")["arr_0"] * 1.05)
    built.run()
    assert built.read("pruned+int8").relative_error == pytest.approx(0.05, rel=1e-3)
    with pytest.raises(Refused):
        built.read("none")


def test_a_build_that_was_ended_from_outside_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="ended from outside"):
        Built(tmp_path).read()


@pytest.mark.parametrize("text", ["", "[", '{"latencyMs": 1}', "[]"])
def test_times_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        timing(1, text)
    assert refused.value.reason == "CompileFailed"


def test_several_outputs_are_read_with_their_shapes() -> None:
    text = '[ { "name" : "a" , "dimensions" : "2x2" , "values" : [ 1, 2, 3, 4 ] }, ' \
           '{ "name" : "info" , "dimensions" : "1" , "values" : [ -7 ] } ]'  # fmt: skip
    found = outputs(text)
    assert found["a"].tolist() == [[1, 2], [3, 4]]
    assert found["info"].tolist() == [-7]

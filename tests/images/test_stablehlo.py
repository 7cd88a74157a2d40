"""A StableHLO artefact in the real Triton: exported, laid out as the fetcher lays it out, asked over HTTP.

The image has no jax, as NVIDIA's has none; here it is put into the unpacked one, as an image for TPUs brings it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import http

from seawall.fetch.layout import CONFIG, Identity, readable
from seawall.fetch.modelconfig import as_text, layered
from seawall.fetch.order import Order
from seawall.fetch.stablehlo import lay_out_stablehlo
from seawall.optimize.graph import run, session
from seawall.optimize.tpu.stablehlo import translate
from seawall.optimize.types import Graph
from support.gpugraphs import answers, cnn, images

pytestmark = pytest.mark.node
ROOT = Path(__file__).resolve().parents[2]
OF_JAX = ("jax", "jaxlib", "ml_dtypes", "opt_einsum", "scipy", "scipy.libs")
SITE = "opt/python/lib/python3.11/site-packages"


@pytest.fixture(scope="module")
def python() -> Path:
    found = subprocess.run(
        [ROOT / "tools" / "venv", "--check", "tpu"], capture_output=True, text=True, check=False
    )
    if found.returncode:
        pytest.skip("the environment with jax is not there; `tools/venv tpu` makes it")
    return Path(found.stdout.strip())


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return cnn(tmp_path_factory.mktemp("graph"))


@pytest.fixture(scope="module")
def server(
    start: Any, image: Any, python: Path, graph: Graph, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    packages = python.parents[1] / "lib" / "python3.11" / "site-packages"
    beside = image.root / SITE
    subprocess.run(["cp", "-r", *(packages / name for name in OF_JAX), beside], check=True)
    folder = tmp_path_factory.mktemp("artefact")
    running = session(graph)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEAWALL_TPU_PYTHON", str(python))
        made = translate(
            graph, images(), folder, max_batch=8, server="0.7.1",
            reference=lambda batch: {"scores": run(running, dict(batch))[0]},
        )  # fmt: skip
    models = tmp_path_factory.mktemp("models")
    (models / "digits").mkdir()
    batching = {"dynamic_batching": {"max_queue_delay_microseconds": 20000}}
    order = Order("digits", "pvc://claim/key", "stablehlo", "2.51.0", batching)
    config = lay_out_stablehlo(order, folder, models, made.layout())
    final = layered(config, {"name": "digits", "metric_tags": Identity("ns", "r1").tags("digits")})
    (models / "digits" / CONFIG).write_text(as_text(final, order.triton_version))
    readable(models)
    models.chmod(0o755)  # a folder of pytest's, closed to the server's uid
    environ = {"HOME": "/tmp", "JAX_PLATFORMS": "cpu"}  # noqa: S108
    with start(
        models, "--disable-auto-complete-config", "--log-info=false", environ=environ
    ) as running_server:
        running_server.wait(lambda: running_server.answers("/v2/health/ready"), seconds=120)
        yield running_server


def ask(server: Any, image: Any) -> Any:
    with http.InferenceServerClient(server.http) as client:
        given = http.InferInput("image", list(image.shape), "FP32")
        given.set_data_from_numpy(image)
        return client.infer("digits", [given]).as_numpy("scores")


@pytest.mark.parametrize("size", [1, 3, 8])
def test_a_batch_of_any_size_is_answered_as_the_original_answers(
    server: Any, graph: Graph, size: int
) -> None:
    found = ask(server, images().inputs["image"][:size])
    np.testing.assert_allclose(found, answers(graph, images())[:size], rtol=1e-3, atol=1e-4)


def test_requests_of_many_clients_come_back_to_their_senders(server: Any, graph: Graph) -> None:
    data = images().inputs["image"]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda i: ask(server, data[i : i + 1])[0], range(len(data))))
    np.testing.assert_allclose(found, answers(graph, images()), rtol=1e-3, atol=1e-4)
    assert server.metric("nv_inference_exec_count", model="digits") < len(data)

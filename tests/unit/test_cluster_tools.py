"""The parts of tools/cluster that decide without touching the machine."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from seawall_cluster import (
    binaries,
    building,
    cgroups,
    cli,
    external,
    images,
    network,
    node,
    pki,
    state,
)
from seawall_cluster.errors import CannotRunHereError, ClusterError
from seawall_cluster.state import Layout

DEV = Layout("dev", Path("/state/clusters/dev"), 3)


@pytest.mark.parametrize(
    ("taken", "index"),
    [
        pytest.param(set(), 1, id="the first cluster"),
        pytest.param({1, 2, 4}, 3, id="the lowest gap is filled"),
        pytest.param({2}, 1, id="a removed first cluster leaves its place"),
    ],
)
def test_a_new_cluster_takes_the_lowest_free_index(taken: set[int], index: int) -> None:
    assert state.free_index(taken) == index


def test_a_machine_full_of_clusters_says_so() -> None:
    with pytest.raises(ClusterError, match="254 clusters"):
        state.free_index(set(range(1, 255)))


def test_clusters_side_by_side_share_no_address_and_no_control_group() -> None:
    layouts = [Layout("dev", Path(f"/state{index}/clusters/dev"), index) for index in range(1, 255)]
    for of in ("address", "pod_range", "cgroup"):
        assert len({getattr(layout, of) for layout in layouts}) == len(layouts)


@pytest.mark.parametrize("name", ["", "Dev", "-dev", "dev-", "a/b", "..", "a" * 33])
def test_a_name_that_could_leave_the_state_directory_is_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="no name for a cluster"):
        state.directory_of(name)


@pytest.mark.parametrize(
    ("root", "error", "message"),
    [
        pytest.param("/var/lib/seawall", CannotRunHereError, "hidden", id="covered inside the cluster"),
        pytest.param("/" + "x" * 80, ClusterError, "too long", id="too long for a unix socket"),
    ],
)
def test_a_state_directory_that_cannot_work_is_refused(
    monkeypatch: pytest.MonkeyPatch, root: str, error: type[ClusterError], message: str
) -> None:
    monkeypatch.setenv("SEAWALL_STATE", root)
    with pytest.raises(error, match=message):
        state.directory_of("dev")


@pytest.mark.parametrize(
    ("text", "version", "same"),
    [
        ("Kubernetes v1.36.2", "1.36.2", True),
        ("Kubernetes v1.36.20", "1.36.2", False),
        ("Kubernetes v11.36.2", "1.36.2", False),
        ("Kubernetes v1.36.2-rc.1", "1.36.2", False),
        ("containerd github.com/containerd/containerd/v2 2.3.5+unknown", "2.3.5", True),
        ("CoreDNS-1.15.0", "1.15.0", True),
        ('version.BuildInfo{Version:"v4.3.1"}', "4.3.1", True),
        ("", "4.3.1", False),
    ],
)
def test_only_the_exact_version_on_path_will_do(text: str, version: str, same: bool) -> None:
    assert binaries.says_version(text, version) is same


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("go version go1.26.8 linux/amd64", (1, 26)),
        ("go version go1.19 linux/arm64", (1, 19)),
        ("go version devel +abc linux/amd64", None),
        ("", None),
    ],
)
def test_the_version_of_go_is_read(said: str, version: tuple[int, int] | None) -> None:
    assert building.go_version(said) == version


def test_a_program_in_the_assets_directory_comes_before_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\n")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    assert binaries.find("kubectl") != program
    program.chmod(0o755)
    assert binaries.find("kubectl") == program


VERSION_1 = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
VERSION_2 = (
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
)


def test_the_control_groups_of_the_machine_are_read() -> None:
    assert [(str(found.path), found.version, found.options) for found in cgroups.hierarchies(VERSION_1)] == [
        ("/sys/fs/cgroup/memory", 1, "memory"),
        ("/sys/fs/cgroup/cpu,cpuacct", 1, "cpu,cpuacct"),
        ("/sys/fs/cgroup/systemd", 1, "none,name=systemd"),
        ("/sys/fs/cgroup/unified", 2, ""),
    ]
    assert [(str(found.path), found.version) for found in cgroups.hierarchies(VERSION_2)] == [
        ("/sys/fs/cgroup", 2)
    ]


def test_the_node_is_configured_for_its_own_directory_and_addresses() -> None:
    plane = DEV.plane({"runc": Path("/usr/sbin/runc")})
    kubelet = node.kubelet_config(DEV, plane)
    assert kubelet["address"] == "10.200.3.1"
    assert kubelet["containerRuntimeEndpoint"] == "unix:///state/clusters/dev/ctd/run/containerd.sock"
    assert node.network_config(DEV)["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "10.244.3.0/24"}]]
    assert network.proxy_config(DEV)["clusterCIDR"] == "10.244.3.0/24"
    runtime = node.containerd_config(DEV, Path("/usr/sbin/runc"), "/usr/lib/cni")
    assert 'BinaryName = "/usr/sbin/runc"' in runtime
    assert f'sandbox = "{node.PAUSE_IMAGE}"' in runtime


def test_names_outside_the_cluster_are_answered_here_and_never_forwarded() -> None:
    text = network.corefile(DEV)
    assert "rcode NXDOMAIN" in text
    assert "forward" not in text


@pytest.mark.parametrize(
    ("reply", "answered"),
    [
        pytest.param(b"\x5e\xa1\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00", True, id="one record"),
        pytest.param(b"\x5e\xa1\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00", False, id="no record"),
        pytest.param(b"\x5e\xa1\x81\x83\x00\x01\x00\x00\x00\x00\x00\x00", False, id="no such name"),
        pytest.param(b"\x5e\xa1", False, id="cut short"),
    ],
)
def test_a_dns_reply_is_read(reply: bytes, answered: bool) -> None:
    assert network.answers(reply) is answered


def test_a_dns_question_is_written() -> None:
    assert network.question("a.bc").endswith(b"\x01a\x02bc\x00\x00\x01\x00\x01")


def test_the_groups_of_a_user_are_separate_entries_of_its_certificate() -> None:
    text = pki.request_config("jane", ("one", "two:three"), "keyUsage=digitalSignature")
    assert "0.O=one\n1.O=two:three\nCN=jane\n" in text


def test_every_blob_of_the_busybox_archive_has_the_digest_that_names_it() -> None:
    with tarfile.open(fileobj=io.BytesIO(images.archive(b"program"))) as archive:
        members = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
        contents = {name: content.read() for name, content in members.items() if content}
    index = json.loads(contents["index.json"])
    assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == node.PAUSE_IMAGE
    manifest = json.loads(contents["blobs/" + index["manifests"][0]["digest"].replace(":", "/")])
    for entry in [manifest["config"], *manifest["layers"]]:
        blob = contents["blobs/" + entry["digest"].replace(":", "/")]
        assert len(blob) == entry["size"]
        assert images._digest(blob) == entry["digest"]


@pytest.mark.parametrize(
    ("file", "document", "names"),
    [
        pytest.param(
            "index.json",
            {"manifests": [{"annotations": {"org.opencontainers.image.ref.name": "a/b:1"}}]},
            ["a/b:1"],
            id="OCI",
        ),
        pytest.param("manifest.json", [{"RepoTags": ["a/b:1", "a/b:2"]}], ["a/b:1", "a/b:2"], id="Docker"),
    ],
)
def test_the_names_in_an_archive_are_read(
    tmp_path: Path, file: str, document: object, names: list[str]
) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(images._tar({file: (json.dumps(document).encode(), 0o644)}))
    assert images.names_in(path) == names


def test_an_archive_without_a_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(images._tar({"index.json": (b'{"manifests": [{}]}', 0o644)}))
    with pytest.raises(ClusterError, match="names no image"):
        images.load(DEV, Path("/bin/false"), path)


def test_a_kubeconfig_of_kind_is_turned_to_the_address_inside() -> None:
    text = "clusters:\n- cluster:\n    server: https://127.0.0.1:40123\n  name: kind\n"
    assert "    server: https://172.18.0.2:6443\n" in external.inside_kubeconfig(text, "172.18.0.2")


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        pytest.param(["exec"], "", "exec needs a command", id="nothing to run"),
        pytest.param(["up"], "minikube", "CLUSTER=minikube is unknown", id="an unknown kind of cluster"),
        pytest.param(
            ["load", "x.tar"], "current", "push it to a registry", id="no images into a foreign cluster"
        ),
        pytest.param(["kubeconfig", "--name", "none"], "", "cluster none is not running", id="not running"),
        pytest.param(["up", "--with", "grafana"], "", "--with grafana is unknown", id="an unknown part"),
        pytest.param(["up", "--with", "keda"], "current", "takes no --with", id="no parts elsewhere"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: list[str],
    kind: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SEAWALL_STATE", "/nowhere")
    monkeypatch.setenv("CLUSTER", kind)
    assert cli.main(arguments) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_without_root_one_line_names_the_other_ways(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CLUSTER", raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert cli.main(["up"]) == 2
    assert "CLUSTER=kind" in capsys.readouterr().err

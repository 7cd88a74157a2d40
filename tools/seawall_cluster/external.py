"""The same commands on a cluster that is not ours: one made by kind, or the one that kubectl talks to now."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from . import namespaces, state
from .errors import CannotRunHereError, ClusterError
from .furnish import RESOLV_CONF

KINDS = ("kind", "current")


def dispatch(kind: str, args: argparse.Namespace) -> int:
    match kind, args.command:
        case "kind", "up":
            _kind_up(args.name)
        case "kind", "down":
            _run("kind", "delete", "cluster", "--name", _kind_name(args.name))
            shutil.rmtree(_kind_directory(args.name), ignore_errors=True)
        case "kind", "load":
            for archive in args.archives:
                _run("kind", "load", "image-archive", str(archive), "--name", _kind_name(args.name))
        case "kind", "exec":
            _kind_execute(args.name, args.argv)
        case "kind", "kubeconfig":
            print(_kind_directory(args.name) / "kubeconfig")
        case "current", "up":
            _run("kubectl", "version")
        case "current", "down":
            print("CLUSTER=current: the cluster is not ours and stays as it is")
        case "current", "exec":
            os.execvp(args.argv[0], args.argv)  # noqa: S606
        case "current", "load":
            raise ClusterError(
                "CLUSTER=current takes no image archives: push it to a registry that the cluster pulls from"
            )
        case _, "status":
            _run("kubectl", *_kubeconfig(kind, args.name), "get", "nodes")
        case _:
            raise ClusterError(f"CLUSTER={kind} has no {args.command}")
    return 0


def _kind_name(name: str) -> str:
    return f"seawall-{name}"


def _kind_directory(name: str) -> Path:
    # Beside the built-in clusters, never among them.
    return state.clusters_directory().parent / "kind" / name


def _kubeconfig(kind: str, name: str) -> list[str]:
    return [f"--kubeconfig={_kind_directory(name) / 'kubeconfig'}"] if kind == "kind" else []


def _kind_up(name: str) -> None:
    if not shutil.which("kind"):
        raise CannotRunHereError("CLUSTER=kind needs kind (https://kind.sigs.k8s.io) and Docker or Podman")
    directory = _kind_directory(name)
    directory.mkdir(parents=True, exist_ok=True)
    asked = subprocess.run(["kind", "get", "clusters"], capture_output=True, text=True, check=False)
    kubeconfig = str(directory / "kubeconfig")
    if _kind_name(name) in asked.stdout.split():
        _run("kind", "export", "kubeconfig", "--name", _kind_name(name), "--kubeconfig", kubeconfig)
    else:
        _run(
            "kind",
            "create",
            "cluster",
            "--name",
            _kind_name(name),
            "--wait",
            "180s",
            "--kubeconfig",
            kubeconfig,
        )


def _kind_execute(name: str, command: Sequence[str]) -> NoReturn:
    """In the network of kind's node, where Services and pods can be reached; this takes root."""
    engine = next((found for found in ("docker", "podman") if shutil.which(found)), None)
    if engine is None or os.geteuid() != 0:
        raise CannotRunHereError(
            "CLUSTER=kind: exec enters the node's network, which needs root and docker or podman"
        )
    node = f"{_kind_name(name)}-control-plane"
    asked = subprocess.run([engine, "inspect", node], capture_output=True, text=True, check=False)
    if asked.returncode:
        raise ClusterError(f"cluster {name} is not running: CLUSTER=kind tools/cluster up --name {name}")
    found = json.loads(asked.stdout)[0]
    address = next(iter(found["NetworkSettings"]["Networks"].values()))["IPAddress"]
    files = _kind_directory(name)
    kubeconfig = files / "inside.kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(inside_kubeconfig((files / "kubeconfig").read_text(), address))
    (files / "resolv.conf").write_text(RESOLV_CONF)
    entered = namespaces.enter_command(int(found["State"]["Pid"]), files / "resolv.conf", command)
    os.execvpe(entered[0], entered, {**os.environ, "KUBECONFIG": str(kubeconfig)})  # noqa: S606


def inside_kubeconfig(text: str, address: str) -> str:
    """kind publishes the API on a port of the host; in the node's own network it is at 6443."""
    return re.sub(r"(?m)^(\s*server: https://)\S+$", rf"\g<1>{address}:6443", text)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, check=False)
    except FileNotFoundError:
        raise CannotRunHereError(f"{command[0]} is not installed") from None
    if done.returncode:
        raise ClusterError(f"{' '.join(command)} failed")

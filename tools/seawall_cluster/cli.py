"""`tools/cluster`: arguments in, one line per step out.

`CLUSTER` chooses what stands behind the commands: unset or `builtin` for the cluster of this package, `kind`
for kind under Docker or Podman, `current` for the context that kubectl uses now.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path

from . import external, lifecycle, parts, state
from .errors import ClusterError
from .fasttier import ApiServer
from .state import SUPERVISE
from .supervisor import supervise


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(
        prog="tools/cluster", description="A real Kubernetes cluster on this machine."
    )
    commands = root.add_subparsers(dest="command", required=True)
    add = commands.add_parser
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", default=os.environ.get("SEAWALL_CLUSTER", "dev"), help="which cluster (dev)")
    up = add("up", parents=[named], help="make the cluster, or find it running")
    up.add_argument("--with", dest="parts", default="", metavar="PART,…", help=", ".join(parts.PROGRAMS))
    up.add_argument(
        "--scrape-seconds", type=int, default=parts.SCRAPE_SECONDS, help="how often Prometheus asks (5)"
    )
    up.add_argument(
        "--latency-edges", default="", metavar="MS,…", help="more edges for the gateway's latency histograms"
    )
    add("down", parents=[named], help="remove the cluster and everything of it; also after a crash")
    status = add("status", parents=[named], help="what runs, and how much memory it takes")
    status.add_argument("--json", action="store_true", help="for programs")
    run = add("exec", parents=[named], help="run a command in the cluster's network, with its names")
    run.add_argument(
        "argv", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="the command and its arguments"
    )
    load = add("load", parents=[named], help="import OCI or Docker archives as images of the node")
    load.add_argument("archives", nargs="+", type=Path, metavar="FILE.tar")
    add("kubeconfig", parents=[named], help="print the path of the administrator's kubeconfig")
    restart = add(
        "restart", parents=[named], help="kill one program of the cluster; it starts again by itself"
    )
    restart.add_argument("component", help="for example kube-apiserver")
    add("list", help="names of the clusters that exist")
    fast = add("apiserver", help="etcd and kube-apiserver alone on loopback, until interrupted")
    fast.add_argument("--controllers", action="store_true", help="with the controller manager")
    return root


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == [SUPERVISE]:
        return supervise(arguments[1])
    args = parser().parse_args(arguments)
    # A terminated `up` must clean up like an interrupted one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return dispatch(args)
    except ClusterError as problem:
        print(f"tools/cluster: {problem}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        return 130


def dispatch(args: argparse.Namespace) -> int:
    if args.command == "apiserver":
        return _apiserver(args.controllers)
    if args.command == "exec":
        args.argv = args.argv[1:] if args.argv[:1] == ["--"] else args.argv
        if not args.argv:
            raise ClusterError("exec needs a command: tools/cluster exec -- kubectl get nodes")
    kind = os.environ.get("CLUSTER", "builtin") or "builtin"
    if args.command == "up":
        args.parts = parts.chosen(args.parts, args.scrape_seconds, args.latency_edges)
        if args.parts.names and kind != "builtin":
            raise ClusterError(f"CLUSTER={kind} takes no --with: its parts are not ours to run")
    if kind == "builtin":
        return _builtin(args)
    if kind in external.KINDS:
        return external.dispatch(kind, args)
    raise ClusterError(f"CLUSTER={kind} is unknown: builtin, {', '.join(external.KINDS)}")


def _builtin(args: argparse.Namespace) -> int:
    match args.command:
        case "up":
            lifecycle.up(args.name, args.parts, say)
        case "down":
            lifecycle.down(args.name, say)
        case "status":
            return _status(args.name, as_json=args.json)
        case "exec":
            lifecycle.execute(args.name, args.argv)
        case "load":
            lifecycle.load(args.name, args.archives, say)
        case "restart":
            lifecycle.restart(args.name, args.component, say)
        case "kubeconfig":
            print(lifecycle.need_running(args.name)[0].kubeconfig)
        case "list":
            print("\n".join(layout.name for layout in state.existing()))
    return 0


def _status(name: str, *, as_json: bool) -> int:
    found = lifecycle.status(name)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        print(f"cluster {name}: {found['state']}")
        for part in found.get("components", []):
            print(f"  {part['name']:24} pid {part['pid']:<8} {part['rssBytes'] // 1_000_000:5} MB")
        for part, address in found.get("parts", {}).items():
            print(f"  {part:24} {address}")
    return 0 if found["state"] == "running" else 1


def _apiserver(controllers: bool) -> int:
    server = ApiServer(controllers=controllers)
    try:
        print(
            f"export KUBECONFIG={server.kubeconfig}\n# audit log: {server.audit_log}\n# Ctrl-C ends it",
            flush=True,
        )
        signal.pause()
    finally:
        server.close()
    return 0


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

"""A real kube-apiserver with etcd for tests, without a node: ready in about three seconds.

    with api_server() as server:
        server.kubeconfig                          # of the administrator
        server.kubeconfig_for("operator-a")        # another user; RBAC decides what it may do
        server.audit_events("operator-a")          # what that user asked for, in order
        server.stop(); server.start()              # SIGKILL; same port, same data

`api_server(controllers=True)` adds the controller manager: Deployments make ReplicaSets and Pods, the
garbage collector works, and nothing runs the Pods.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from seawall_cluster.errors import ClusterError
from seawall_cluster.fasttier import ApiServer

__all__ = ["ApiServer", "ClusterError", "api_server"]


@contextmanager
def api_server(*, controllers: bool = False) -> Iterator[ApiServer]:
    server = ApiServer(controllers=controllers)
    try:
        yield server
    finally:
        server.close()

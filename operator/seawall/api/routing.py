"""spec.routing: how clients outside the cluster reach the model, through gateways of the Gateway API."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from seawall.api.fields import Hostname, Model, NamespaceName, ObjectName, checked, rule


class GatewayRef(Model):
    """A Gateway to be reachable through."""

    name: ObjectName = Field(description="Name of the Gateway.")
    namespace: NamespaceName | None = Field(None, description="The service's own namespace if absent.")


class RoutingSpec(Model):
    """How clients outside the cluster reach the model; absent: ClusterIP Services only."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                "!has(self.grpcHostnames) || (has(self.hostnames) && size(self.hostnames) > 0)",
                "grpcHostnames needs hostnames beside it: without any, HTTP takes every name of the Gateway",
                ".hostnames",
            ),
            rule(
                "!has(self.grpcHostnames) || !has(self.hostnames) || "
                "!self.grpcHostnames.exists(g, g in self.hostnames)",
                "a Gateway gives a host name to HTTP or to gRPC, not to both",
                ".grpcHostnames",
            ),
        )
    )
    gateways: list[GatewayRef] = Field(
        min_length=1,
        max_length=16,
        description="Gateways to attach to.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    hostnames: list[Hostname] | None = Field(
        None,
        max_length=16,
        description="Host names to answer HTTP on; all of the Gateway if absent.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    grpc_hostnames: list[Hostname] | None = Field(
        None,
        min_length=1,
        max_length=16,
        description="Host names to answer gRPC on, by a GRPCRoute; none if absent.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )


__all__ = ["GatewayRef", "RoutingSpec"]

"""What NetworkPolicies let through, worked out as networking.k8s.io/v1 documents it. No network plugin is asked.

    town = Town(namespaces={"a": {"team": "x"}}, policies=[…])
    town.reaches(Pod("a", {"app": "web"}), Pod("b", {"app": "db"}), 5432)

Policies only ever allow. A pod that none selects, for a direction, may do everything in it; one that some
select may do what any of them allows. A connection needs the source's egress and the target's ingress.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

NAME_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True, eq=False)
class Pod:
    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = "10.244.0.9"
    ports: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """of its containers, by name: number and protocol"""


@dataclass(frozen=True, eq=False)
class Outside:
    """An address that is no pod's."""

    address: str


class Node:
    """The node that the pod runs on: never kept from its own pods, nor they from it."""


End = Pod | Outside | Node


@dataclass
class Town:
    namespaces: Mapping[str, Mapping[str, str]]
    policies: Sequence[Mapping[str, Any]]

    def reaches(self, source: End, target: End, port: int, protocol: str = "TCP") -> bool:
        if isinstance(source, Node) or isinstance(target, Node) or source == target:
            return True
        leaves = not isinstance(source, Pod) or self._allowed(
            "Egress", source, target, target, port, protocol
        )
        enters = not isinstance(target, Pod) or self._allowed(
            "Ingress", target, source, target, port, protocol
        )
        return leaves and enters

    def _allowed(
        self, direction: str, subject: Pod, other: End, target: End, port: int, protocol: str
    ) -> bool:
        selecting = [p for p in self.policies if self._selects(p, direction, subject)]
        peers = "from" if direction == "Ingress" else "to"
        return not selecting or any(
            self._fits(rule.get(peers), policy, other)
            and _port_fits(rule.get("ports"), target, port, protocol)
            for policy in selecting
            for rule in policy["spec"].get(direction.lower()) or ()
        )

    def _selects(self, policy: Mapping[str, Any], direction: str, pod: Pod) -> bool:
        spec = policy["spec"]
        # Without policyTypes: Ingress always, Egress where there are egress rules.
        types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
        return (
            direction in types
            and policy["metadata"]["namespace"] == pod.namespace
            and matches(spec.get("podSelector") or {}, pod.labels)
        )

    def _fits(self, peers: Sequence[Mapping[str, Any]] | None, policy: Mapping[str, Any], other: End) -> bool:
        """No peers, or an empty list of them: everybody."""
        return not peers or any(self._is(peer, policy, other) for peer in peers)

    def _is(self, peer: Mapping[str, Any], policy: Mapping[str, Any], other: End) -> bool:
        if "ipBlock" in peer:
            return not isinstance(other, Node) and _inside(peer["ipBlock"], other.address)
        if not isinstance(other, Pod):
            return False
        if "namespaceSelector" in peer:
            own = {NAME_LABEL: other.namespace, **self.namespaces.get(other.namespace, {})}
            if not matches(peer["namespaceSelector"], own):
                return False
        elif other.namespace != policy["metadata"]["namespace"]:
            return False
        return matches(peer.get("podSelector") or {}, other.labels)


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """An empty selector selects all."""
    wanted = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or ()
    return wanted.items() <= labels.items() and all(_holds(each, labels) for each in expressions)


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values  # one that is not there is not in
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    raise ValueError(f"no operator of a label selector: {expression['operator']}")


def _inside(block: Mapping[str, Any], address: str) -> bool:
    found = ip_address(address)
    kept = any(found in ip_network(cidr) for cidr in block.get("except") or ())
    return found in ip_network(block["cidr"]) and not kept


def _port_fits(ports: Sequence[Mapping[str, Any]] | None, target: End, port: int, protocol: str) -> bool:
    """No ports, or an empty list of them: all. A name is that of the target's container."""
    return not ports or any(_is_port(each, target, port, protocol) for each in ports)


def _is_port(allowed: Mapping[str, Any], target: End, port: int, protocol: str) -> bool:
    if allowed.get("protocol", "TCP") != protocol:
        return False
    first = allowed.get("port")
    if first is None:
        return True
    if isinstance(first, str):
        named = target.ports if isinstance(target, Pod) else {}
        return named.get(first) == (port, protocol)
    return bool(first <= port <= allowed.get("endPort", first))

"""The questions to Prometheus, and its answers as samples.

Series keep the labels of the target that they were scraped from; everything that differs there is another
scrape of the same server, and a server that is scraped twice is not added up but reported.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seawall.adapters import metrics_text as triton
from seawall.adapters.metrics_text import number, pod_sample
from seawall.measure.types import GatewaySample, Histogram, PodSample
from seawall.ports import Target

TIME = "seawall_sample_time"
"""A label of ours, on the series whose value is the time of a scrape."""
TRITON_LABELS = frozenset({"__name__", "model", "version", "reason", "le", "quantile", "gpu_uuid", TIME})
ENVOY_LABELS = frozenset({"__name__", "envoy_cluster_name", "envoy_response_code", "le", TIME})
ENVOY_BUCKET = "envoy_cluster_upstream_rq_time_bucket"
ENVOY_CODES = "envoy_cluster_upstream_rq"
ENVOY_GRPC_FAILURE = "envoy_cluster_grpc_failure"
"""gRPC's failures are HTTP 200."""

Key = tuple[str, str]
Identity = tuple[tuple[str, str], ...]


class Garbled(Exception):
    """This is no answer to an instant query."""


@dataclass(frozen=True, slots=True)
class Series:
    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(slots=True)
class _Scraped:
    """What one scrape of one server says about one pod or backend."""

    at: float = math.nan
    series: list[Series] = field(default_factory=list)


def read_result(result: object) -> list[Series]:
    """Raises Garbled for whatever is not a vector."""
    try:
        if not isinstance(result, list):
            raise Garbled("the result is no vector")
        return [_series(entry) for entry in result]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Garbled(f"a series cannot be read ({type(error).__name__})") from None


def _series(entry: Any) -> Series:
    labels = entry["metric"]
    _, value = entry["value"]
    if not all(isinstance(text, str) for pair in labels.items() for text in pair) or not isinstance(
        value, str
    ):
        raise TypeError(entry)
    return Series(labels.get("__name__", ""), labels, float(value))


class NotOne(Exception):
    """Something else than one number, as a sentence."""


def one_number(series: Sequence[Series]) -> float:
    """What a counter's query says. Raises NotOne."""
    if not series:
        raise NotOne(
            "the query returns no series; where one appears with the first event only, append `or vector(0)`"
        )
    if len(series) > 1:
        raise NotOne(f"the query returns {len(series)} series; sum them")
    value = series[0].value
    if not math.isfinite(value) or value < 0:
        raise NotOne(f"the query returns {value:g}, which is no count")
    return value


def pod_query(targets: Iterable[Target]) -> str:
    keys = [(target.namespace, pod) for target in targets for pod in target.pods]
    where = f"namespace=~{_any_of(k[0] for k in keys)},pod=~{_any_of(k[1] for k in keys)}"
    families = json.dumps("|".join(triton.FAMILIES))
    wanted = f'{{__name__=~{families},quantile=~"|{triton.QUANTILE}",{where}}}'
    return f"{wanted} or {_time_of(triton.SUCCESS, where)}"


def gateway_query(targets: Iterable[Target]) -> str:
    names = (f"{target.namespace}_{service}" for target in targets for service in target.backends)
    where = f"envoy_cluster_name=~{_any_of(names, '_[0-9]+')}"
    families = f"{ENVOY_BUCKET}|{ENVOY_CODES}|{ENVOY_GRPC_FAILURE}"
    return f'{{__name__=~"{families}",{where}}} or {_time_of(ENVOY_CODES, where)}'


def _time_of(family: str, where: str) -> str:
    """An instant query answers with its own time; only timestamp() tells when a sample was taken."""
    return f'label_replace(timestamp({family}{{{where}}}),"{TIME}","at","","")'


def _any_of(names: Iterable[str], ending: str = "") -> str:
    """A matcher of whole values; names of Kubernetes hold nothing to escape but dots."""
    return json.dumps(f"({'|'.join(sorted({name.replace('.', '[.]') for name in names}))}){ending}")


def pod_samples(series: Iterable[Series], targets: Sequence[Target]) -> dict[Key, list[PodSample]]:
    """By namespace and pod; several of one pod where it is scraped several times."""
    models = {(t.namespace, pod): (t.model, t.started.get(pod)) for t in targets for pod in t.pods}
    found: dict[Key, dict[Identity, _Scraped]] = {}
    for one in series:
        key = (one.labels.get("namespace", ""), one.labels.get("pod", ""))
        if key in models:
            _put(found.setdefault(key, {}), one, TRITON_LABELS)
    return {key: [_pod(key, *models[key], s) for s in scraped.values()] for key, scraped in found.items()}


def _pod(key: Key, model: str, started: float | None, scraped: _Scraped) -> PodSample:
    told = (
        (s.name, {k: v for k, v in s.labels.items() if k in TRITON_LABELS}, s.value) for s in scraped.series
    )
    return pod_sample(key[1], scraped.at, model, told, started)


def gateway_samples(series: Iterable[Series]) -> dict[Key, GatewaySample]:
    """By namespace and name of the Kubernetes Service: all ports of it together."""
    found: dict[Key, dict[Identity, _Scraped]] = {}
    for one in series:
        parts = one.labels.get("envoy_cluster_name", "").split("_")
        if len(parts) == 3:
            _put(found.setdefault((parts[0], parts[1]), {}), one, ENVOY_LABELS)
    samples = {}
    for key, instances in found.items():
        told = tuple(_instance(dict(identity), scraped) for identity, scraped in instances.items())
        samples[key] = GatewaySample(max(part.at for part in told), Histogram((), ()), 0.0, parts=told)
    return samples


def joined(gateways: Sequence[GatewaySample]) -> GatewaySample | None:
    """The samples of several Services, where one revision is known by several names."""
    if len(gateways) <= 1:
        return gateways[0] if gateways else None
    parts = tuple(part for gateway in gateways for part in gateway.parts)
    return GatewaySample(max(part.at for part in parts), Histogram((), ()), 0.0, parts=parts)


def _instance(labels: Mapping[str, str], scraped: _Scraped) -> GatewaySample:
    """One gateway process and one Service. Its histogram appears with the first flush after the first answer
    of a server; until then only what failed is known for certain."""
    buckets: dict[str, dict[float, float]] = {}
    failures: dict[tuple[str, str], float] = {}
    ended = refused = 0.0
    codes = False
    for one in scraped.series:
        cluster = one.labels["envoy_cluster_name"]
        if one.name == ENVOY_BUCKET:
            buckets.setdefault(cluster, {})[number(one.labels.get("le", ""))] = one.value
        elif one.name == ENVOY_GRPC_FAILURE:
            failures[cluster, one.name] = one.value
        elif one.name == ENVOY_CODES:
            codes = True
            ended += one.value
            code = number(one.labels.get("envoy_response_code", ""))
            refused += one.value if 400 <= code < 500 and code != 429 else 0.0
            if code >= 500 or code == 429:
                failures[cluster, one.name] = failures.get((cluster, one.name), 0.0) + one.value
    # A gRPC call that found no server is in both.
    clusters = {cluster for cluster, _ in failures}
    failed = sum(max(n for (of, _), n in failures.items() if of == cluster) for cluster in clusters)
    if not buckets:
        ended = failed + refused
    shared = sorted(set.intersection(*(set(edges) for edges in buckets.values()))) if buckets else []
    counts = tuple(sum(edges[edge] for edges in buckets.values()) for edge in shared)
    name = labels.get("pod") or labels.get("instance", "")
    return GatewaySample(
        scraped.at, Histogram(tuple(shared), counts), failed, ended if codes else None, refused, name
    )


def _put(scrapes: dict[Identity, _Scraped], one: Series, of_the_metric: frozenset[str]) -> None:
    # Triton marks the tags of a model's own configuration with an underscore.
    identity = tuple(
        sorted((k, v) for k, v in one.labels.items() if k not in of_the_metric and not k.startswith("_"))
    )
    scraped = scrapes.setdefault(identity, _Scraped())
    if one.labels.get(TIME) == "at":
        scraped.at = one.value if math.isnan(scraped.at) else max(scraped.at, one.value)
    else:
        scraped.series.append(one)

"""`seawall operator`: runs the controller, in a cluster or against the current kubeconfig."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seawall.adapters.kube import KubeCluster
    from seawall.adapters.prometheus import PrometheusMetrics
    from seawall.adapters.scrape import PodMetrics
    from seawall.metricsapi.scrapes import Scrapes
    from seawall.metricsapi.server import MetricsApi
    from seawall.ports import Cluster
    from seawall.settings import Settings

EPILOG = """\
example:
  seawall operator --log-level DEBUG

Everything else is set by environment variables named SEAWALL_..., see docs/operator.md.
exit codes: 0 stopped by SIGTERM or SIGINT, 1 lost its lease or its watch, 2 cannot start
"""


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "operator",
        help="run the controller",
        description="Turns InferenceServices into Triton pods, until it is stopped.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--log-level", choices=["DEBUG", "INFO", "WARNING", "ERROR"], default=None)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    from pydantic import ValidationError  # noqa: PLC0415

    from seawall.runtime.telemetry import configure_logging  # noqa: PLC0415
    from seawall.settings import Settings  # noqa: PLC0415

    given = {"log_level": args.log_level} if args.log_level else {}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            place = "_".join(str(part) for part in problem["loc"]).upper()
            print(f"seawall operator: SEAWALL_{place}: {problem['msg']}", file=sys.stderr)
        return 2
    configure_logging(settings.log_level)
    code = asyncio.run(_run(settings))
    if code == 1:
        # The lease may be somebody else's by now: nothing that still hangs about here may go on.
        logging.shutdown()
        sys.stderr.flush()
        os._exit(code)
    return code


async def _run(settings: Settings) -> int:
    from kubernetes.aio.client.api_client import ApiClient  # noqa: PLC0415

    from seawall.adapters.builds import BuildPods  # noqa: PLC0415
    from seawall.adapters.connection import NoCluster, configuration, watch_session  # noqa: PLC0415
    from seawall.adapters.discovery import discover  # noqa: PLC0415
    from seawall.adapters.kube import KubeCluster  # noqa: PLC0415
    from seawall.adapters.lease import KubeLease  # noqa: PLC0415
    from seawall.adapters.modelconfig import TritonModelConfigSchema  # noqa: PLC0415
    from seawall.adapters.triton import TritonInference  # noqa: PLC0415
    from seawall.runtime.definitions import CannotStart  # noqa: PLC0415
    from seawall.runtime.health import Health  # noqa: PLC0415
    from seawall.runtime.operator import Operator  # noqa: PLC0415
    from seawall.runtime.outside import World  # noqa: PLC0415
    from seawall.runtime.telemetry import Telemetry  # noqa: PLC0415

    loop = asyncio.get_running_loop()
    telemetry = Telemetry()
    health = Health(loop.time, lambda: 0.0, lambda: 0.0, lambda: False)
    try:
        config = await configuration(pool=settings.workers + 8)
    except NoCluster as none:
        print(f"seawall operator: {none}", file=sys.stderr)
        return 2
    client = ApiClient(config)
    cluster = KubeCluster(
        client,
        counted=telemetry.call,
        answered=health.answered,
        writes_per_second=settings.writes_per_second,
        write_burst=settings.write_burst,
        read_timeout=settings.read_timeout_seconds,
        write_timeout=settings.write_timeout_seconds,
        instance=settings.identity,
    )

    async def open_session(middleware: Any) -> tuple[str, Any]:
        fresh = await configuration()
        return fresh.host, await watch_session(fresh, middleware)

    metrics = _metrics(settings)
    world = World(
        cluster=cluster,
        lease=KubeLease(cluster, settings.namespace, settings.lease_name),
        inference=TritonInference(),
        builds=BuildPods(),
        schema=TritonModelConfigSchema(),
        open_session=open_session,
        metrics=metrics,
        discover=partial(discover, client),
        metrics_api=_metrics_api(settings, cluster),
        scrapes=_scrapes(settings, cluster),
    )
    operator = Operator(settings, world, telemetry, health)
    operator.on_signals = _on_signals
    _on_signals(operator.stop)
    try:
        return await operator.run()
    except CannotStart as problem:
        logging.getLogger("seawall").critical("cannot start: %s", problem)
        print(f"seawall operator: {problem}", file=sys.stderr)
        return 2
    finally:
        await metrics.close()
        await cluster.close()


def _metrics(settings: Settings) -> PodMetrics | PrometheusMetrics:
    """One or the other, never one for the other: their windows would not fit together."""
    if settings.prometheus_url:
        from seawall.adapters.prometheus import PrometheusMetrics  # noqa: PLC0415

        return PrometheusMetrics(settings.prometheus_url)
    from seawall.adapters.scrape import PodMetrics  # noqa: PLC0415

    return PodMetrics()


def _metrics_api(settings: Settings, cluster: Cluster) -> MetricsApi | None:
    if not settings.metrics_api_port:
        return None
    from seawall.metricsapi.server import MetricsApi  # noqa: PLC0415

    return MetricsApi(
        cluster,
        settings.namespace,
        settings.metrics_api_service,
        settings.listen_host,
        settings.metrics_api_port,
    )


def _scrapes(settings: Settings, cluster: KubeCluster) -> Scrapes | None:
    if not settings.metrics_auth:
        return None
    from seawall.adapters.access import KubeAccess  # noqa: PLC0415
    from seawall.metricsapi.door import Door  # noqa: PLC0415
    from seawall.metricsapi.scrapes import Scrapes  # noqa: PLC0415

    return Scrapes(
        cluster,
        Door(KubeAccess(cluster), asyncio.get_running_loop().time),
        settings.namespace,
        settings.metrics_secret,
        settings.listen_host,
        settings.metrics_port,
    )


def _on_signals(stop: Callable[[], None]) -> None:
    """Installed again after kopf's start, which puts its own in their place."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop)

"""A service that is rolled out while clients ask it through the gateway, one for each module that wants it.

The module's SERVES names the version that it begins with, `first` if absent.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from demo_gateway import Watch, entry, through
from load import Load
from updates import versions

from support.routed import ANSWERED, GOLDEN, HOSTS, NAME, RATE, ROUTES, Stand, served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stand(
    kube: Any, source: Path, operator: Any, request: pytest.FixtureRequest
) -> AsyncIterator[Stand]:
    await operator.steady()
    versions.pack(source)
    await kube.apply(versions.golden_set(GOLDEN), served(getattr(request.module, "SERVES", "first")))
    await kube.wait_ready(NAME, 240)
    loads = [
        Load(entry(NAME, protocol), versions.inputs(), ANSWERED, rate=RATE, connect=through(host))
        for protocol, host in HOSTS.items()
    ]
    service = Watch(kube, "inferenceservice", NAME)
    routes = {protocol: Watch(kube, *route) for protocol, route in ROUTES.items()}
    watches = (service, *routes.values())
    for watch in watches:
        await watch.__aenter__()
    tasks = [asyncio.create_task(load.run()) for load in loads]
    yield Stand(kube, service, routes, loads)
    for load in loads:
        load.stop()
    await asyncio.gather(*tasks)
    for watch in watches:
        await watch.__aexit__()

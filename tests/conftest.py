"""What every tier of tests may ask for. Helpers under tests/support are imported as `support.NAME`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

ROOT = Path(__file__).resolve().parent.parent
for folder in (ROOT / "tests", ROOT / "tools"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

try:
    from hypothesis import HealthCheck, settings
except ModuleNotFoundError:  # the environment of the training tools has none
    pass
else:
    # No test fails because the machine is busy with something else.
    settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")

if TYPE_CHECKING:
    from support.apiserver import ApiServer


@pytest.fixture(scope="session")
def apiserver() -> Iterator[ApiServer]:
    """One kube-apiserver for the run; a test takes a namespace of its own in it."""
    from support.apiserver import ClusterError, api_server

    try:
        with api_server() as server:
            yield server
    except ClusterError as problem:
        pytest.fail(str(problem), pytrace=False)


@pytest.fixture(scope="session")
def controlled_apiserver() -> Iterator[ApiServer]:
    """The same with the controller manager: ReplicaSets, Pods, EndpointSlices, garbage collection."""
    from support.apiserver import ClusterError, api_server

    try:
        with api_server(controllers=True) as server:
            yield server
    except ClusterError as problem:
        pytest.fail(str(problem), pytrace=False)

"""The triton-cpu image for the tests of a session: unpacked once, served as often as they like."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import partial

import pytest

from support.tritonimage import Image, Triton, archive, serving

Start = Callable[..., contextlib.AbstractContextManager[Triton]]


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    if os.geteuid():
        pytest.skip("entering an image needs root")
    return Image.unpack(archive(), tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="session")
def start(image: Image) -> Start:
    """Runs the image's tritonserver over a model repository."""
    return partial(serving, image)

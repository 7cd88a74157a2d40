"""The AcceleratorClasses that ship with Seawall; the chart installs them, `seawall render` knows them."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import yaml


def text() -> str:
    return resources.files(__package__).joinpath("catalogue.yaml").read_text(encoding="utf-8")


@cache
def classes() -> tuple[dict[str, Any], ...]:
    """Every class as a manifest. Shared: copy before changing."""
    return tuple(yaml.load_all(text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))

"""Compilation to machine code, typed: numba's own decorator would make every function untyped."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """Kept on disk beside the source, or in the user's cache where that cannot be written."""
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def compiled_inline(function: F) -> F:
    """For the small functions that run once per request."""
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")(function))

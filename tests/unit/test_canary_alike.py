"""When two answers are the same answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seawall.canary.alike import same, usual

NAN, INF = np.nan, np.inf


def rows(*values: Any, dtype: Any = np.float32) -> Any:
    return np.array(values, dtype)


def words(*values: Any) -> Any:
    return np.array(values, np.object_)


SAME: dict[str, tuple[str, Any, Any, list[bool]]] = {
    "decisions": ("top1", rows([1, 2], [2, 1]), rows([3, 4], [3, 4]), [True, False]),
    "decisions of several positions": (
        "top1", rows([[1, 2], [2, 1]], [[1, 2], [2, 1]]), rows([[1, 2], [1, 2]], [[5, 6], [2, 1]]), [False, True],
    ),
    "one score is a decision at a half": ("top1", rows([0.4], [0.6]), rows([0.1], [0.4]), [True, False]),
    "whole numbers are decisions themselves": (
        "top1", rows(3, 4, dtype=np.int64), rows(3, 5, dtype=np.int64), [True, False],
    ),
    "words": ("top1", words([b"a"], [b"b"]), words([b"a"], [b"c"]), [True, False]),
    "words by direction": ("cosine", words([b"a"], [b"b"]), words([b"a"], [b"c"]), [True, False]),
    "direction": ("cosine", rows([1, 0], [1, 0], [1, 0]), rows([2, 0], [1, 0.1], [1, 0.2]), [True, True, False]),
    "nothing and nothing": ("cosine", rows([0, 0], [0, 0]), rows([0, 0], [0, 1]), [True, False]),
    "relative error": (
        "relative-error", rows([10, 0], [10, 0]), rows([10.9, 0], [11.1, 0]), [True, False],
    ),
    "NaN is never right, by decision": ("top1", rows([1, 2], [1, 2]), rows([1, NAN], [NAN, 2]), [False, False]),
    "NaN is never right, by direction": ("cosine", rows([1, 2], [1, 2]), rows([1, NAN], [1, 2]), [False, True]),
    "infinity is wrong where none was": ("cosine", rows([1, 2], [1, 2]), rows([1, INF], [-INF, 2]), [False, False]),
    "infinity is right where it was": (
        "cosine", rows([1, -INF], [1, -INF]), rows([1, -INF], [1, INF]), [True, False],
    ),
    "another shape": ("top1", rows([1, 2], [2, 1]), rows([1, 2, 0], [2, 1, 0]), [False, False]),
    "words for numbers": ("cosine", rows([1, 2], [2, 1]), words([b"1", b"2"], [b"2", b"1"]), [False, False]),
    "half precision": ("cosine", rows([1, 2]), rows([1, 2], dtype=np.float16), [True]),
}  # fmt: skip


@pytest.mark.parametrize(("metric", "wanted", "found", "alike"), SAME.values(), ids=SAME.keys())
def test_the_same_answer(metric: str, wanted: Any, found: Any, alike: list[bool]) -> None:
    assert same(metric, [wanted], [found]).tolist() == alike


def test_the_worst_output_decides_except_for_decisions() -> None:
    good, bad = rows([1.0, 2.0]), rows([2.0, 1.0])
    assert same("cosine", [good, good], [good, bad]).tolist() == [False]
    assert same("relative-error", [good, good], [good, bad]).tolist() == [False]
    assert same("top1", [good, good], [good, bad]).tolist() == [True]
    assert same("top1", [good, good], [good, rows([NAN, 1.0])]).tolist() == [False]


USUAL: dict[str, tuple[Any, bool, str]] = {
    "labels": (rows([1, 2]), True, "top1"),
    "whole numbers": (rows([1], dtype=np.int32), False, "top1"),
    "words": (words([b"cat"]), False, "top1"),
    "shares": (rows([0.25, 0.75], [1, 0]), False, "top1"),
    "shares in half precision": (rows([0.3333, 0.3333, 0.3333], dtype=np.float16), False, "top1"),
    "scores or an embedding": (rows([0.25, 0.8], [1, 0]), False, "cosine"),
    "negative": (rows([-0.5, 1.5]), False, "cosine"),
    "one number": (rows([1.0]), False, "cosine"),
}


@pytest.mark.parametrize(("output", "labelled", "metric"), USUAL.values(), ids=USUAL.keys())
def test_the_metric_where_nobody_names_one(output: Any, labelled: bool, metric: str) -> None:
    assert usual(output, labelled=labelled) == metric

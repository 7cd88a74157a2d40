"""Reading traces: four formats, and one clear sentence for everything that cannot be trusted."""

import numpy as np
import pytest

from seawall.simulate.arrivals import Arrivals
from seawall.simulate.traces import Trace, TraceError, read, series_of

FARO = '{"ts": 0, "counts": {"a": {"classifier": 60}, "b": {"x": 6, "y": 12}}}\n'
FARO += '{"ts": 1, "counts": {"a": {"classifier": 120}, "b": {"x": 0, "y": 12}}}\n'


def written(tmp_path, text, name="trace.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


GOOD = {
    "seconds, one row per request": ("timestamp\n10.0\n10.5\n12.2\n", {}, [2, 0, 1], 1.0),
    "the column's name in capitals, among others": ("id,TIMESTAMP\n1,0\n2,0.1\n3,1.5\n", {}, [2, 1], 1.0),
    "RFC 3339, with a zone": ("Timestamp\n2026-01-01T00:00:00Z\n2026-01-01T00:00:01.5Z\n", {}, [1, 1], 1.0),
    "a date and a time with seven digits": (
        "TIMESTAMP,Tokens\n2023-11-16 18:15:46.6805900,374\n2023-11-16 18:15:48.9,396\n",
        {},
        [1, 0, 1],
        1.0,
    ),
    "counts per period": ("period,count\n5,60\n6,0\n7,120\n", {"period": 60.0}, [1, 0, 2], 60.0),
    "columns in another order": ("Count, Period\n60,0\n30,1\n", {"period": 30.0}, [2, 1], 30.0),
    "empty lines between rows": ("period,count\n0,10\n\n1,20\n", {"period": 10.0}, [1, 2], 10.0),
    "per-minute JSON lines, one of several": (FARO, {"series": "a"}, [1, 2], 60.0),
    "an application with several models": (FARO, {"series": "b/y"}, [0.2, 0.2], 60.0),
}


@pytest.mark.parametrize("case", GOOD)
def test_formats(case, tmp_path):
    text, options, rates, step = GOOD[case]
    trace = read(written(tmp_path, text), **options)
    assert trace.rates == pytest.approx(rates)
    assert trace.step == step


BAD = {
    "an empty file": ("", {}, "is empty"),
    "only spaces": (" \n \n", {}, "is empty"),
    "no known column": ("when,what\n1,2\n", {}, "line 1: neither a 'timestamp' column"),
    "a header alone": ("timestamp\n", {}, "two requests are needed at least, 0 found"),
    "one request": ("timestamp\n5\n", {}, "two requests are needed at least, 1 found"),
    "all at once": ("timestamp\n5\n5\n", {}, "all requests have the same time"),
    "unsorted times": ("timestamp\n5\n7\n6\n", {}, "line 4: is earlier than the line before"),
    "a negative time": ("timestamp\n-5\n7\n", {}, "line 2: a negative time"),
    "NaN for a time": ("timestamp\n5\nNaN\n", {}, "line 3: 'NaN' is no time"),
    "infinity for a time": ("timestamp\n5\ninf\n", {}, "line 3: 'inf' is no time"),
    "words for a time": ("timestamp\n5\nsoon\n", {}, "line 3: 'soon' is neither seconds nor"),
    "a row without the time": ("id,timestamp\n1,5\n2\n", {}, "line 3: a value is missing"),
    "counts without --period": ("period,count\n0,5\n", {}, "counts per period need --period"),
    "counts without rows": ("period,count\n", {"period": 60.0}, "has no rows"),
    "nothing but zeros": ("period,count\n0,0\n1,0\n", {"period": 60.0}, "has no requests"),
    "a gap": ("period,count\n0,5\n3,5\n", {"period": 60.0}, "line 3: a gap of 2 periods"),
    "a period twice": ("period,count\n0,5\n0,5\n", {"period": 60.0}, "line 3: period repeats or goes back"),
    "a negative count": ("period,count\n0,-5\n", {"period": 60.0}, "line 2: count '-5' is negative"),
    "NaN for a count": ("period,count\n0,nan\n", {"period": 60.0}, "line 2: count 'nan' is no number"),
    "several series and none chosen": (FARO, {}, "holds 3 series; choose one with --series: a, b/x, b/y"),
    "an unknown series": (FARO, {"series": "c"}, "no series 'c'; there are a, b/x, b/y"),
    "a series of a file with one": ("timestamp\n1\n2\n", {"series": "a"}, "has one series only"),
    "broken JSON": (FARO + "{", {"series": "a"}, "line 3: no JSON"),
    "JSON without counts": ('{"ts": 0}', {}, "line 1: an object with 'ts' and 'counts' is needed"),
    "counts that are no numbers": (
        '{"ts": 0, "counts": {"a": {"m": "many"}}}',
        {},
        "count 'many' is no number",
    ),
    "a negative count in JSON": ('{"ts": 0, "counts": {"a": {"m": -1}}}', {}, "count -1 is negative"),
    "a minute left out": (FARO + FARO.replace('"ts": 0', '"ts": 4'), {"series": "a"}, "line 3: a gap of 2"),
    "no object of numbers": ('{"ts": 0, "counts": {"a": 3}}', {}, "counts of 'a' must be an object"),
}


@pytest.mark.parametrize("case", BAD)
def test_refusals(case, tmp_path):
    text, options, sentence = BAD[case]
    with pytest.raises(TraceError) as refused:
        read(written(tmp_path, text), **options)
    assert sentence in str(refused.value)
    assert str(refused.value).startswith("trace.csv: ")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TraceError, match=r"nowhere\.csv: cannot be read"):
        read(tmp_path / "nowhere.csv")


def test_series_are_listed(tmp_path):
    assert series_of(written(tmp_path, FARO)) == ["a", "b/x", "b/y"]
    assert series_of(written(tmp_path, "timestamp\n1\n2\n")) == []


def test_rescaling_keeps_the_shape_and_says_the_factor():
    trace = Trace("t", np.array([1.0, 3.0]), 60.0).scaled_to(200.0)
    assert trace.rates.tolist() == [100.0, 300.0]
    assert trace.factor == 100.0
    assert trace.scaled_to(2.0).factor == pytest.approx(1.0)


def test_a_burst_multiplies_its_own_time_only():
    trace = Trace("t", np.ones(10), 1.0).with_burst(4.0, 3.0, 2.0)
    assert trace.rates.tolist() == [1, 1, 1, 4, 4, 1, 1, 1, 1, 1]


def slices(trace, seed, step):
    arrivals, found, at = Arrivals(trace, seed), [], 0.0
    while at < trace.seconds:
        found.append(arrivals.between(at, min(at + step, trace.seconds)).copy())
        at += step
    return np.concatenate(found)


def test_arrivals_are_sorted_and_follow_the_rate_of_each_step():
    found = slices(Trace("t", np.array([100.0, 0.0, 400.0]), 60.0), 1, 7.0)
    assert (np.diff(found) >= 0).all()
    counts = np.histogram(found, [0, 60, 120, 180])[0]
    # Poisson: six standard deviations of 6 000 and 24 000.
    assert abs(counts[0] - 6_000) < 6 * 78
    assert counts[1] == 0
    assert abs(counts[2] - 24_000) < 6 * 155


def test_arrivals_are_poisson_within_a_step():
    gaps = np.diff(slices(Trace("t", np.full(100, 200.0), 1.0), 2, 5.0))
    assert abs(gaps.std() / gaps.mean() - 1.0) < 0.03


def test_the_same_seed_gives_the_same_arrivals_and_another_does_not():
    trace = Trace("t", np.full(20, 50.0), 1.0)
    assert np.array_equal(slices(trace, 3, 5.0), slices(trace, 3, 5.0))
    assert not np.array_equal(slices(trace, 3, 5.0)[:50], slices(trace, 4, 5.0)[:50])


def test_exact_times_are_replayed_exactly(tmp_path):
    trace = read(written(tmp_path, "timestamp\n100\n100.25\n103.5\n"))
    assert slices(trace, 0, 1.0).tolist() == [0.0, 0.25, 3.5]

"""`seawall simulate` from its arguments to its exit code."""

import argparse
import io
import json
from functools import partial

import pytest

from seawall.cli import simulate
from seawall.simulate import study
from seawall.simulate.progress import Bar
from seawall.sizing.capacity import build_table

pytestmark = pytest.mark.long

PROFILE = {
    "accelerator": "nvidia-l4", "instances": 1, "maxBatchSize": 8, "coldStartSeconds": 30, "pricePerHour": 0.7,
    "batches": [{"size": size, "meanMs": 6.0 + size, "stdMs": 0.0} for size in (1, 2, 4, 8)],
}  # fmt: skip
TRACE = "period,count\n" + "".join(f"{minute},{6000 + 3000 * (minute % 2)}\n" for minute in range(8))


@pytest.fixture(autouse=True, scope="module")
def _coarse_tables():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "build_table", partial(build_table, requests=1_200))
        study._built.cache_clear()
        yield
    study._built.cache_clear()


@pytest.fixture
def files(tmp_path):
    (tmp_path / "p.json").write_text(json.dumps(PROFILE))
    (tmp_path / "t.csv").write_text(TRACE)
    return tmp_path


def call(files, *arguments):
    parser = argparse.ArgumentParser(prog="seawall")
    simulate.add(parser.add_subparsers())
    base = ["--trace", f"{files}/t.csv", "--profile", f"{files}/p.json", "--slo", "20ms"]
    if "--period" not in arguments:
        base += ["--period", "60"]
    args = parser.parse_args(["simulate", *base, *arguments])
    return args.func(args)


def test_a_table_with_one_row_per_policy(files, capsys):
    assert call(files, "--policy", "seawall", "clairvoyant,static-peak") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("t.csv: 0.13 h at 125 requests/s (Poisson within 60 s, rates x1)")
    assert lines[1].startswith("profile: 4 sizes between measured ones are interpolated")
    assert [line.split()[0] for line in lines[2:]] == ["POLICY", "seawall", "clairvoyant", "static-peak"]
    assert err == "", "no progress where nobody watches"


def test_json_and_nothing_else_on_standard_output(files, capsys):
    assert call(files, "--json", "--seeds", "2", "--seed", "7") == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["slo"] == "20ms"
    assert list(found["policies"]) == ["seawall"]
    assert found["requests"] == pytest.approx(2 * 60_000, rel=0.02)
    assert set(found["policies"]["seawall"]["interval"]) >= {"attainment", "replicaHours", "costPer1k"}
    assert err == ""


def test_seawall_missing_its_objective_is_exit_code_1(files, capsys):
    # Without a warning fifty times the load, and pods that take ten minutes.
    assert call(files, "--burst", "50@6m+2m", "--cold-start", "600") == 1
    assert call(files, "--burst", "50@6m+2m", "--cold-start", "600", "--policy", "rps-tuned") == 0


def test_scenarios_reach_the_simulation(files, capsys):
    def figures(*arguments):
        call(files, "--json", "--policy", "static-peak", "--mean-rps", "800", *arguments)
        return json.loads(capsys.readouterr().out)["policies"]["static-peak"]

    plain = figures()
    assert figures("--drift", "25")["replicaHours"] > plain["replicaHours"], "it knows what will happen"
    assert figures("--profile-error", "30%")["replicaHours"] > plain["replicaHours"]
    assert figures("--canary", "10")["p99Ms"] > plain["p99Ms"]
    assert figures("--dispatch", "random")["p99Ms"] != plain["p99Ms"]
    assert figures("--mean-rps", "2000")["replicaHours"] > plain["replicaHours"]
    assert figures("--burst", "4@1m+1m")["replicaHours"] > plain["replicaHours"]
    assert figures("--outage", "1m+5m") == plain, "a fixed count looks at nothing"
    assert figures("--summary") == plain
    hindered = figures("--elsewhere", "100ms@4m")
    assert hindered["replicaHours"] == plain["replicaHours"], "what the rate needs is the same"
    assert hindered["attainment"] == pytest.approx(0.5, abs=0.1)
    spread = figures("--dispatch", "random")
    assert figures("--dispatch", "random", "--connections", "3")["p99Ms"] != spread["p99Ms"]


def test_an_own_behavior_reaches_the_autoscalers(files, capsys):
    (files / "b.json").write_text('{"scaleUp": {"selectPolicy": "Disabled"}}')
    call(files, "--json", "--mean-rps", "800", "--policy", "rps-low")
    free = json.loads(capsys.readouterr().out)["policies"]["rps-low"]
    call(files, "--json", "--mean-rps", "800", "--policy", "rps-low", "--behavior", f"{files}/b.json")
    bound = json.loads(capsys.readouterr().out)["policies"]["rps-low"]
    assert bound["replicaHours"] < free["replicaHours"]


def test_the_frontier(files, capsys):
    (files / "q.json").write_text(json.dumps(PROFILE | {"accelerator": "dear", "pricePerHour": 9}))
    arguments = ("--profile", f"{files}/p.json", f"{files}/q.json", "--frontier")
    assert call(files, *arguments) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[1:7]] == ["nvidia-l4"] * 3 + ["dear"] * 3
    assert call(files, *arguments, "--json") == 0
    points = json.loads(capsys.readouterr().out)["frontier"]
    assert [point["margin"] for point in points] == [0.0, 0.1, 0.2] * 2
    assert not any(point["unbeaten"] for point in points[3:])


def test_a_plot(files):
    pytest.importorskip("matplotlib")
    assert call(files, "--policy", "seawall", "hpa-p99", "--plot", f"{files}/course.svg") == 0
    picture = (files / "course.svg").read_text()
    assert picture.startswith("<?xml")
    assert len(picture) > 20_000


BAD = {
    "an unknown policy": (("--policy", "magic"), "no policy is called 'magic'"),
    "an SLO below the service time": (("--slo", "5ms"), "no number of them meets an SLO of 5 ms"),
    "too few replicas allowed": (("--mean-rps", "5000", "--max-replicas", "2"), "that --max-replicas admits"),
    "no such trace": (("--trace", "nowhere.csv"), "nowhere.csv: cannot be read"),
    "no such profile": (("--profile", "nowhere.json"), "nowhere.json: cannot be read as JSON"),
    "several profiles without --frontier": (("--profile", "a.json", "b.json"), "a.json: cannot be read"),
    "an outage that says no length": (("--outage", "5m"), "a start and a length are needed"),
    "an outage after the end": (("--outage", "5h+5m"), "begins after the trace's end"),
    "a burst without its size": (("--burst", "5m+5m"), "--burst takes TIMES@AT+LENGTH"),
    "an outage with a size": (("--outage", "2@1m+1m"), "--outage takes AT+LENGTH"),
    "a delay without a start": (("--elsewhere", "14ms"), "a time and a start are needed, such as 14ms@30m"),
    "a delay after the end": (("--elsewhere", "14ms@5h"), "begins after the trace's end"),
    "connections behind a gateway": (("--connections", "8"), "--connections needs --dispatch random"),
    "no seeds": (("--seeds", "0"), "--seeds must be at least 1"),
    "a behavior that is none": (("--behavior", "TRACE"), "no behavior block"),
    "a frontier of other policies": (("--frontier", "--policy", "kpa"), "leave --policy out"),
    "a picture of the frontier": (("--frontier", "--plot", "x.png"), "--plot shows policies"),
    "a picture of no known kind": (("--plot", "x.nothing"), "not supported"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(case, files, capsys):
    arguments, sentence = BAD[case]
    if "--plot" in arguments:
        pytest.importorskip("matplotlib")
    assert call(files, *(f"{files}/t.csv" if one == "TRACE" else one for one in arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert err.startswith("seawall simulate: ")


USAGE = {
    "an SLO without a unit": ("--slo", "20"),
    "an SLO of nothing": ("--slo", "0ms"),
    "a rate of nothing": ("--mean-rps", "0"),
    "a cold start before now": ("--cold-start", "-1"),
    "a drift of NaN": ("--drift", "nan"),
    "a pod that takes no time": ("--profile-error", "-100"),
    "half a seed": ("--seeds", "0.5"),
    "an unknown dispatch": ("--dispatch", "sticky"),
}


@pytest.mark.parametrize("case", USAGE)
def test_bad_usage_is_exit_code_2(case, files, capsys):
    with pytest.raises(SystemExit) as stopped:
        call(files, *USAGE[case])
    assert stopped.value.code == 2
    assert USAGE[case][0] in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_drawn_on_a_terminal_and_taken_away():
    stream = Terminal()
    bar = Bar(stream)
    for share in (0.0, 0.001, 0.5, 1.0):
        bar("seawall", share)
    bar.clear()
    drawn = stream.getvalue().split("\r\033[K")
    assert [part[-13:] for part in drawn[1:4]] == [f"{p:3d} % seawall" for p in (0, 50, 100)]
    assert drawn[4] == ""

"""`seawall judge`, as it is typed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from seawall.__main__ import main


@pytest.fixture
def recorded(tmp_path: Path):
    def write(name: str, slow: float, errors: float = 0.001, count: int = 80, **more: object) -> str:
        chance = np.random.default_rng(7)

        def arm(n: int, p: float, e: float) -> dict[str, int]:
            return {"requests": n, "slow": int(chance.binomial(n, p)), "errors": int(chance.binomial(n, e))}

        lines = [
            json.dumps(
                {
                    "windowEnd": 1_800_000_000 + 15 * index,
                    "stable": arm(675, 0.01, 0.001),
                    "candidate": arm(75, slow, errors) | more,
                }
            )
            for index in range(count)
        ]
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(path)

    return write


def test_a_sound_candidate_is_promoted_and_each_window_shown(recorded, capsys):
    assert main(["judge", recorded("good.jsonl", 0.01)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "roll back at 4.61, promote at 3.00" in out
    assert "\nPromote after " in out
    shown = [line for line in out.splitlines() if line.startswith("  1800000")]
    assert f"{len(shown)} windows" in out
    assert len(shown) > 10


def test_several_files_have_one_verdict_each_as_json(recorded, capsys):
    files = [recorded("good.jsonl", 0.01), recorded("bad.jsonl", 0.06), recorded("storm.jsonl", 0.01, 0.4)]
    files += [recorded("short.jsonl", 0.01, count=3), recorded("empty.jsonl", 0.01, count=0)]
    assert main(["judge", *files, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [each["file"] for each in told] == files
    assert [each["verdict"] for each in told] == ["Promote", "Rollback", "Rollback", "Inconclusive", "NoData"]
    good, bad, storm, _, empty = told
    assert set(good["metrics"]) == {"latency", "errors"}
    assert good["metrics"]["latency"]["logEPass"] > 3
    assert bad["metrics"]["latency"]["ratio"] > 3
    assert bad["metrics"]["latency"]["logERollback"] > 4
    assert (storm["windows"], storm["seconds"]) == (1, 0)
    assert good["seconds"] == 15 * good["windows"]
    assert good["designEffect"] >= 1
    assert (empty["windows"], empty["candidateRequests"], empty["metrics"]["latency"]["ratio"]) == (
        0,
        0,
        None,
    )


def test_answers_are_judged_where_they_are_compared(recorded, capsys):
    assert main(["judge", recorded("wrong.jsonl", 0.01, compared=100, disagreements=6), "--json"]) == 1
    (told,) = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "Rollback"
    assert told["metrics"]["disagreement"]["logERollback"] > 4


def test_notes_say_what_was_left_out(recorded, capsys):
    path = recorded("twice.jsonl", 0.01, count=3)
    text = Path(path).read_text(encoding="utf-8")
    Path(path).write_text(text + text, encoding="utf-8")
    main(["judge", path])
    out = capsys.readouterr().out
    assert "3 windows were repeated" in out
    assert "a cautious value is assumed" in out


def test_standard_input_is_a_file_too(recorded, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(Path(recorded("a.jsonl", 0.01)).read_text(encoding="utf-8")))
    assert main(["judge", "-"]) == 0
    assert capsys.readouterr().out.startswith("-: roll back")


def test_options_move_thresholds_and_floors(recorded, capsys):
    path = recorded("bad.jsonl", 0.03)
    outcomes = {}
    for name, options in {
        "usual": [], "high floor": ["--floor", "latency=0.1"], "patient": ["--max-windows", "2"],
        "lenient": ["--ratio-bad", "latency=8", "--ratio-ok", "latency=6"], "cold": ["--warmup-windows", "80"],
    }.items():  # fmt: skip
        main(["judge", path, "--json", *options])
        outcomes[name] = json.loads(capsys.readouterr().out)[0]["verdict"]
    assert outcomes == {
        "usual": "Rollback", "high floor": "Promote", "patient": "Inconclusive", "lenient": "Promote",
        "cold": "Inconclusive",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--floor", "speed=0.1"], "no metric is called 'speed'; there are latency, errors, disagreement"),
        (["--floor", "latency=0"], "--floor latency=0: a share between 0 and 0.5 is needed"),
        (["--ratio-ok", "errors=3"], "errors: --ratio-ok 3 must be at least 1 and below --ratio-bad 3"),
    ],
)
def test_settings_that_make_no_sense_are_refused(recorded, capsys, options, said):
    assert main(["judge", recorded("a.jsonl", 0.01), *options]) == 2
    assert capsys.readouterr() == ("", f"seawall judge: {said}\n")


@pytest.mark.parametrize(
    "options", [["--alpha", "0"], ["--beta", "2"], ["--floor", "errors"], ["--max-windows", "0"]]
)
def test_options_that_are_no_numbers_of_the_kind_are_usage_errors(options):
    with pytest.raises(SystemExit) as ended:
        main(["judge", "x.jsonl", *options])
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"{}", "line 1: stable: an object"), (b"\xff", "not UTF-8"), (None, "No such file")],
)
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path, capsys, content, said):
    path = tmp_path / "w.jsonl"
    if content is not None:
        path.write_bytes(content)
    assert main(["judge", str(path), "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "w.jsonl" in err
    assert said in err


def test_a_fault_after_the_verdict_is_a_fault(recorded, capsys):
    path = recorded("storm.jsonl", 0.01, 0.4)
    with Path(path).open("a", encoding="utf-8") as out:
        out.write("{}\n")
    assert main(["judge", path]) == 2
    assert "line 81" in capsys.readouterr().err


@pytest.mark.long
def test_the_picture_is_drawn(recorded, tmp_path):
    picture = tmp_path / "evidence.svg"
    files = [recorded("good.jsonl", 0.01), recorded("bad.jsonl", 0.06), recorded("none.jsonl", 0.0, count=0)]
    assert main(["judge", *files, "--plot", str(picture), "--json"]) == 1
    assert picture.stat().st_size > 10_000


def further(tmp_path: Path, bad: int, **replaced: object) -> str:
    """Eighty windows with a metric of one's own."""
    counts = {"stable": {"fallbacks": {"bad": 5, "total": 675}}}
    counts["candidate"] = {"fallbacks": {"bad": bad, "total": 75}}
    counts |= replaced  # type: ignore[arg-type]

    def arm(name: str, requests: int, slow: int) -> dict[str, object]:
        return {"requests": requests, "slow": slow, "errors": 0, "metrics": counts[name]}

    lines = [
        json.dumps(
            {
                "windowEnd": 1_800_000_000 + 15 * index,
                "stable": arm("stable", 675, 5 + index % 3),
                "candidate": arm("candidate", 75, index % 2),
            }
        )
        for index in range(80)
    ]
    path = tmp_path / "further.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(("bad", "verdict"), [(0, "Promote"), (6, "Rollback")])
def test_a_metric_of_ones_own_is_judged(recorded, tmp_path, capsys, bad, verdict):
    files = [further(tmp_path, bad), recorded("good.jsonl", 0.01)]
    main(["judge", *files, "--json"])
    own, other = json.loads(capsys.readouterr().out)
    assert own["verdict"] == verdict
    assert set(own["metrics"]) == {"latency", "errors", "fallbacks"}
    assert (other["verdict"], set(other["metrics"])) == ("Promote", {"latency", "errors"})
    main(["judge", files[0]])
    assert "fallback" in capsys.readouterr().out
    assert main(["judge", files[0], "--floor", "fallbacks=0.2"]) == 0
    assert main(["judge", files[1], "--floor", "fallbacks=0.2"]) == 2


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ([], "an object of names"),
        ({"a": 3}, "an object of names"),
        ({"errors": {"bad": 1, "total": 2}}, "'errors' is not the name"),
        ({"fallbacks": {"bad": 1}}, "metrics.fallbacks.total: is missing"),
        ({"fallbacks": {"bad": 3, "total": 2}}, "3 is more than total, 2"),
        ({"other": {"bad": 1, "total": 2}}, "stable and candidate name different ones"),
        ({n: {"bad": 1, "total": 2} for n in "abcdef"}, "6 are more than 5"),
    ],
)
def test_a_metric_of_ones_own_that_cannot_be_read(tmp_path, capsys, metrics, said):
    assert main(["judge", further(tmp_path, 0, candidate=metrics)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.long
def test_a_metric_of_ones_own_is_drawn(tmp_path):
    main(["judge", further(tmp_path, 0), "--plot", str(tmp_path / "e.svg")])
    assert "fallbacks, candidate" not in (tmp_path / "e.svg").read_text(encoding="utf-8"), "it had none"
    main(["judge", further(tmp_path, 6), "--plot", str(tmp_path / "e.svg")])
    assert "fallbacks, candidate" in (tmp_path / "e.svg").read_text(encoding="utf-8")

"""What may come next on a command line: by tables, and as a real bash completes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seawall.__main__ import COMMANDS, main, parser
from seawall.cli import completion
from seawall.cli.completion_words import answers

ASKED = []


def names(kind, beginning, options):
    ASKED.append((kind, dict(options)))
    return {"service": ["digits", "minilm"], "namespace": ["vision"], "context": ["prod"], "class": ["cpu"]}[
        kind
    ]


NEXT = {
    "commands": ([""], set(COMMANDS)),
    "the beginning of one": (["st"], {"status"}),
    "of nothing known": (["xyz"], set()),
    "options": (["doctor", "--c"], {"--context", "--color"}),
    "a short option": (["status", "-A"], {"-A"}),
    "choices": (["rollout", "pr"], {"promote", "promote-full"}),
    "choices of an option": (["status", "--color", ""], {"auto", "always", "never"}),
    "the same in one word": (["status", "--color=a"], {"--color=auto", "--color=always"}),
    "the same as bash takes it apart": (["status", "--color", "=", "a"], {"auto", "always"}),
    "services": (["status", "d"], {"digits"}),
    "services after a verb": (["rollout", "abort", ""], {"digits", "minilm"}),
    "services after options": (["status", "--json", "-n", "vision", "m"], {"minilm"}),
    "namespaces": (["status", "-n", ""], {"vision"}),
    "contexts": (["status", "--context", "p"], {"prod"}),
    "classes": (["convert", "f.yaml", "--class", ""], {"cpu"}),
    "options where nothing else may come": (
        ["status", "digits", ""],
        {"--help", "--namespace", "--all-namespaces", "--json", "--watch", "--every", "--context", "--color"},
    ),
    "shells": (["completion", "b"], {"bash"}),
}


@pytest.mark.parametrize("case", NEXT)
def test_what_may_come_next(case):
    words, expected = NEXT[case]
    found, files = answers(parser(), words, names)
    assert {word for word, _ in found} == expected
    assert not files


@pytest.mark.parametrize(
    "words", [["render", "-f", ""], ["convert", "x"], ["crd", "--out", ""], ["judge", ""]]
)
def test_where_a_file_may_come(words):
    assert answers(parser(), words, names) == ([], True)


def test_options_that_were_given_reach_the_cluster():
    ASKED.clear()
    answers(parser(), ["status", "--context", "prod", "--namespace=vision", ""], names)
    assert ASKED == [("service", {"context": "prod", "namespace": "vision"})]


def test_helps_are_one_line_each():
    for command in COMMANDS:
        for _, about in answers(parser(), [command, "--"], names)[0]:
            assert "\n" not in about
            assert "%(" not in about


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_every_command_is_offered(command):
    subparsers = next(a for a in parser()._actions if a.choices)
    given = {o for a in subparsers.choices[command]._actions for o in a.option_strings if o.startswith("--")}
    assert {word for word, _ in answers(parser(), [command, "--"], names)[0]} == given


def test_no_cluster_means_no_names(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    assert main(["completion", "candidates", "--", "status", ""]) == 0
    assert capsys.readouterr().out == ":none\n"


def test_contexts_of_the_kubeconfig(monkeypatch, tmp_path, capsys):
    (tmp_path / "config").write_text(
        "{apiVersion: v1, kind: Config, current-context: a, clusters: [{name: c, cluster: {server: 'http://h'}}],"
        " users: [], contexts: [{name: a, context: {cluster: c, user: u}}, {name: b, context: {cluster: c, user: u}}]}"
    )
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    assert main(["completion", "candidates", "--", "status", "--context", ""]) == 0
    assert capsys.readouterr().out == "a\nb\n:none\n"


def test_kubectl_gets_its_directive(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["kubectl_complete-seawall", "completion", "ba"])
    assert completion.kubectl() == 0
    assert capsys.readouterr().out == "bash\n:4\n"
    monkeypatch.setattr(sys, "argv", ["kubectl_complete-seawall", "render", "-f", ""])
    completion.kubectl()
    assert capsys.readouterr().out == ":0\n"


def test_a_word_too_many(capsys):
    assert main(["completion", "bash", "now"]) == 2
    assert "one word too many" in capsys.readouterr().err


def programs(folder):
    """seawall and kubectl-seawall as this environment runs them."""
    for name in ("seawall", "kubectl-seawall"):
        path = folder / name
        path.write_text(
            f"#!{sys.executable}\nimport sys\nfrom seawall.__main__ import main\nsys.argv[0] = {name!r}\nsys.exit(main())\n"
        )
        path.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "KUBECONFIG": str(folder / "absent"),
    }


TYPED = {
    "a command": (["seawall", "stat"], ["status"]),
    "a verb": (["seawall", "rollout", "res"], ["resume"]),
    "a colour": (["seawall", "status", "--color", "=", "al"], ["always"]),
    "as a plugin": (["kubectl-seawall", "doc"], ["doctor"]),
}


@pytest.mark.long
@pytest.mark.parametrize("case", TYPED)
def test_bash_completes(case, tmp_path):
    words, expected = TYPED[case]
    typed = " ".join(f"'{word}'" for word in words)
    script = (
        "source <(seawall completion bash)\n"
        f"COMP_WORDS=({typed}) COMP_CWORD={len(words) - 1}\n"
        "_seawall\nprintf '%s\\n' \"${COMPREPLY[@]}\"\ncomplete -p seawall kubectl-seawall >&2\n"
    )
    command = ["bash", "--norc", "-eu", "-c", script]
    done = subprocess.run(command, env=programs(tmp_path), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, expected), done.stderr
    assert done.stderr.splitlines() == [f"complete -F _seawall {n}" for n in ("seawall", "kubectl-seawall")]


def test_the_usage_says_how_it_was_called(tmp_path):
    for name, said in (("seawall", "seawall"), ("kubectl-seawall", "kubectl seawall")):
        done = subprocess.run(
            [name, "status", "--help"], env=programs(tmp_path), capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith(f"usage: {said} status ")


def test_kubectl_s_programs_are_entry_points():
    import tomllib

    root = Path(__file__).parents[2]
    scripts = tomllib.loads((root / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["kubectl-seawall"] == scripts["seawall"] == "seawall.__main__:main"
    assert scripts["kubectl_complete-seawall"] == "seawall.cli.completion:kubectl"

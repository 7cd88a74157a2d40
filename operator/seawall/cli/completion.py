"""`seawall completion`: the script by which a shell completes what is typed, and the answers it asks for.

The script knows nothing: it asks this program, which walks its own parser. So options, choices and names of
services are never out of date, and `kubectl seawall` is completed by the same answers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

EPILOG = """\
example:
  source <(seawall completion bash)                                    # in ~/.bashrc
  seawall completion zsh > "${fpath[1]}/_seawall"
  seawall completion fish > ~/.config/fish/completions/seawall.fish

Names of services and namespaces are asked of the cluster, for two seconds at most. kubectl completes
`kubectl seawall` by itself where kubectl_complete-seawall is on the PATH.
"""
BASH = """\
_seawall() {
    local line value
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            :files) compopt -o default ;;
            :*) ;;
            *) value=${line%%$'\\t'*}; COMPREPLY+=("$value") ;;
        esac
    done < <("${COMP_WORDS[0]}" completion candidates -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _seawall seawall kubectl-seawall
"""
ZSH = """\
#compdef seawall kubectl-seawall
_seawall() {
    local line files
    local -a values
    while IFS= read -r line; do
        case $line in
            :files) files=yes ;;
            :*) ;;
            *$'\\t'*) values+=("${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}") ;;
            *) values+=("${line//:/\\\\:}") ;;
        esac
    done < <("${words[1]}" completion candidates -- "${(@)words[2,CURRENT]}" 2>/dev/null)
    (( ${#values} )) && _describe seawall values
    [[ -n $files ]] && _files
}
if [[ ${funcstack[1]} == _seawall ]]; then _seawall "$@"; else compdef _seawall seawall kubectl-seawall; fi
"""
FISH = """\
function __seawall_candidates
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in ($words[1] completion candidates -- $words[2..-1] "$current" 2>/dev/null)
        switch $line
            case ':files'
                __fish_complete_path "$current"
            case ':*'
            case '*'
                echo $line
        end
    end
end
complete -c seawall -f -a '(__seawall_candidates)'
complete -c kubectl-seawall -f -a '(__seawall_candidates)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
CANDIDATES = "candidates"
NO_FILES, FILES = 4, 0
"""Directives of kubectl's completion."""


def add(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "completion",
        help="print a shell's completion script",
        description="Print the script by which a shell completes this program's words.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=(*SCRIPTS, CANDIDATES), help="candidates is what the scripts ask")
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    words = args.words[1:] if args.words[:1] == ["--"] else args.words
    if args.shell != CANDIDATES:
        if words:
            print(f"seawall completion: {words[0]} is one word too many", file=sys.stderr)
            return 2
        print(SCRIPTS[args.shell], end="")
        return 0
    values, files = _answers(words)
    _print(values)
    print(":files" if files else ":none")
    return 0


def kubectl() -> int:
    """The program kubectl_complete-seawall: kubectl gives the words, and wants a directive at the end."""
    values, files = _answers(sys.argv[1:])
    _print(values)
    print(f":{FILES if files else NO_FILES}")
    return 0


def _answers(words: Sequence[str]) -> tuple[list[tuple[str, str]], bool]:
    from seawall.cli.commands import COMMANDS, parser  # noqa: PLC0415
    from seawall.cli.completion_words import answers, lookup  # noqa: PLC0415

    known = [words[0]] if len(words) > 1 and words[0] in COMMANDS else list(COMMANDS)
    return answers(parser(known), words or [""], lookup)


def _print(values: Sequence[tuple[str, str]]) -> None:
    for value, about in values:
        print(f"{value}\t{about}" if about else value)

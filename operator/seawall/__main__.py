"""The one program, `seawall`: finds the command and lets it run.

Exit codes: 0 done, 1 a negative outcome, 2 bad usage or bad input.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from seawall.cli.commands import COMMANDS, parser


def _name() -> str:
    """As it was called: kubectl finds the program kubectl-seawall when somebody types `kubectl seawall`."""
    return "kubectl seawall" if Path(sys.argv[0]).name == "kubectl-seawall" else "seawall"


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Only the named command's module is imported: an init container starts in the path of every pod.
    wanted = [given[0]] if given and given[0] in COMMANDS else list(COMMANDS)
    args = parser(wanted, _name()).parse_args(given)
    try:
        return int(args.func(args))
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        return 130


__all__ = ["COMMANDS", "main", "parser"]

if __name__ == "__main__":
    sys.exit(main())

"""Prints the requirements of one lock file that another does not pin in the same release, hashes included.

python3 apart.py <lock file> <lock file of what is there already>
"""

import re
import sys
from pathlib import Path

PINNED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[^]]*\])?==(?P<release>[^\s;\\]+)")


def pins(text: str) -> dict[tuple[str, str], str]:
    """(name, release) -> the requirement with its hashes, as it stands there."""
    found: dict[tuple[str, str], str] = {}
    last = None
    for line in text.splitlines(keepends=True):
        if line.lstrip().startswith("#") or not line.strip():
            continue
        if not line[0].isspace():
            match = PINNED.match(line)
            if match is None:
                raise SystemExit(f"apart.py: no pinned requirement: {line.strip()}")
            last = match["name"].lower(), match["release"]
            found[last] = ""
        if last is None:
            raise SystemExit("apart.py: the file does not begin with a requirement")
        found[last] += line
    return found


def apart(wanted: str, there: str) -> str:
    known = pins(there)
    return "".join(block for pin, block in pins(wanted).items() if pin not in known)


if __name__ == "__main__":
    sys.stdout.write(apart(*(Path(name).read_text(encoding="utf-8") for name in sys.argv[1:3])))

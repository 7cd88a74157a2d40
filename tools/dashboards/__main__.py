"""Write the dashboards, or say that what is written is not what the code makes."""

from __future__ import annotations

import argparse
import json
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import fleet, operator, service
from dashboards.queries import FOLDER

PAGES = {"fleet": fleet.build, "service": service.build, "operator": operator.build}


def made() -> dict[str, str]:
    """File name -> text."""
    return {f"{name}.json": _text(build().build()) for name, build in PAGES.items()}


def _text(page: Dashboard) -> str:
    """With numbers for the panels: links to one panel would change with each load otherwise."""
    for number, panel in enumerate(page.panels or [], start=1):
        panel.id_val = number
    for variable in page.templating.list_val or []:
        # Of variables of another type; Grafana's schema has them in no other.
        variable.auto = variable.auto_min = variable.auto_count = None
    return json.dumps(page, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="dashboards", description=__doc__)
    parser.add_argument("verb", choices=["write", "check"])
    check = parser.parse_args().verb == "check"
    texts = made()
    there = {file.name: file.read_text() for file in FOLDER.glob("*.json")}
    changed = sorted(name for name in texts.keys() | there.keys() if texts.get(name) != there.get(name))
    for name in changed:
        print(name, file=sys.stderr)
        if not check:
            _write(name, texts.get(name))
    return int(check and bool(changed))


def _write(name: str, text: str | None) -> None:
    if text is None:
        (FOLDER / name).unlink()
        return
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / name).write_text(text)


if __name__ == "__main__":
    sys.exit(main())

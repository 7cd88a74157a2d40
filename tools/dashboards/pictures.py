"""The pictures of docs/grafana.md: the made-up morning, drawn by the preview and photographed by Chromium."""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from dashboards import past, preview
from dashboards.queries import ROOT, load
from dashboards.stand import Prometheus, prometheus, telling
from dashboards.story import STEP_SECONDS, Story

HOURS = 2
AHEAD_SECONDS = 300
"""For writing the past down: it should end when it is written, and go on at once."""
LIVE_SECONDS = 200
"""After the past: long enough for an alert that waits two minutes."""
COLOURS = 256
CHOSEN = {
    "fleet": {"namespace": ".*"},
    "operator": {"job": ".*"},
    "service": {"namespace": "search", "inferenceservice": "minilm"},
}
NOTE = "Made-up figures, drawn by tools/dashboards/preview.py: not Grafana."


def main() -> int:
    parser = argparse.ArgumentParser(prog="pictures", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    parser.add_argument("--prometheus", help="draw what this one holds instead of the made-up morning")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of a variable")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    variables = dict(each.split("=", 1) for each in chosen.set)
    with tempfile.TemporaryDirectory() as name:
        if chosen.prometheus:
            draw_all(Prometheus(chosen.prometheus), chosen.out, Path(name), variables, "Not Grafana.")
        else:
            made_up(chosen.out, Path(name))
    return 0


def made_up(out: Path, folder: Path) -> None:
    story = Story(HOURS * 3600, time.time() + AHEAD_SECONDS - HOURS * 3600)
    past.write(story, folder)
    time.sleep(max(0.0, story.now - time.time()))
    while story.now < time.time():
        story.go_on(STEP_SECONDS)
    process = functools.partial(past.process_text, story)
    with (
        telling(story, STEP_SECONDS, process) as scrapes,
        prometheus(folder, scrapes, dict(story.rules())) as holder,
    ):
        time.sleep(LIVE_SECONDS)
        draw_all(holder, out, folder, {}, NOTE)


def draw_all(holder: Prometheus, out: Path, folder: Path, variables: Mapping[str, str], note: str) -> None:
    end = time.time()
    for name, page in load().items():
        view = preview.View(holder, CHOSEN[name] | variables, end - HOURS * 3600, end, 30.0)
        html, height = preview.page(page, view, note)
        (folder / f"{name}.html").write_text(html)
        photograph(folder / f"{name}.html", out / f"dashboard-{name}.png", height)
        print(json.dumps({"picture": f"dashboard-{name}.png"}), file=sys.stderr)


def photograph(html: Path, png: Path, height: int) -> None:
    """Few colours: the picture is small, and lines need no more."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise RuntimeError("chromium is missing: tools/pictures installs it")
    raw = html.with_suffix(".png")
    command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={html.parent / 'chromium'}", f"--screenshot={raw}"]
    command += [f"--window-size={preview.WIDTH},{height}", html.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    with Image.open(raw) as picture:
        few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        few.save(png, optimize=True)


if __name__ == "__main__":
    sys.exit(main())

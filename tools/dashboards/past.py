"""Hours of the story, written into a Prometheus' database at once, so that pictures need no hours."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from seawall_cluster import binaries

from dashboards.stand import PROCESS, prometheus
from dashboards.story import STEP_SECONDS, Story
from dashboards.triton_text import written

OPERATOR_EVERY = 3
"""steps"""
MEBI = 2**20
PASSES = 2
"""Rules read what rules have recorded, and promtool shows them only what was there before it came."""


def write(story: Story, folder: Path) -> None:
    """From its beginning to its end, with what the recording rules make of it."""
    text = folder / "told.txt"
    with text.open("w") as out:
        for step in range(int(story.seconds / STEP_SECONDS)):
            story.go_on(STEP_SECONDS)
            out.writelines(_lines(story, with_operator=step % OPERATOR_EVERY == 0))
        out.write("# EOF\n")
    data = folder / "data"
    _promtool("openmetrics", str(text), str(data))
    text.unlink()
    (folder / "recorded.yml").write_text(json.dumps(story.rules()))
    for _ in range(PASSES):
        with prometheus(folder) as holder:
            _promtool(
                "rules",
                f"--start={int(story.began)}",
                f"--end={int(story.now)}",
                f"--url={holder.url}",
                f"--output-dir={data}",
                str(folder / "recorded.yml"),
            )


def _promtool(what: str, *arguments: str) -> None:
    program = binaries.ensure(["promtool"])["promtool"]
    command = [str(program), "tsdb", "create-blocks-from", what, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"promtool: {done.stderr[-1000:]}")


def _lines(story: Story, *, with_operator: bool) -> Iterator[str]:
    at = f"{story.now:.3f}"
    for pod in story.pods():
        of = {**pod.target, "job": "seawall-models", "instance": f"{pod.name}:8002"}
        for name, _, labels, value in pod.samples():
            yield f"{written(name, {**labels, **of})} {value} {at}\n"
    if not with_operator:
        return
    for operator, telemetry in story.operators().items():
        of = {"job": "seawall", "instance": f"{operator}:9090", "pod": operator}
        for family in telemetry.registry.collect():
            for sample in family.samples:
                if not sample.name.endswith("_created") and not PROCESS.search(sample.name):
                    yield f"{written(sample.name, of | sample.labels)} {sample.value} {at}\n"
        for name, value in _process(story, operator).items():
            yield f"{written(name, of)} {value} {at}\n"


def process_text(story: Story, operator: str) -> str:
    return "".join(f"{name} {value}\n" for name, value in _process(story, operator).items())


def _process(story: Story, operator: str) -> dict[str, float]:
    """The process that writes this down is no operator that has run for hours."""
    run, busy = story.now - story.began, story.operators()[operator] is story.telemetry
    return {
        "process_cpu_seconds_total": round((0.06 if busy else 0.01) * run, 3),
        "process_resident_memory_bytes": ((96 if busy else 82) + 6 * min(1.0, run / 3600)) * MEBI,
        "process_start_time_seconds": story.began - 86400,
    }

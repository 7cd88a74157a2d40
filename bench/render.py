"""How many services a second `seawall render` prints, started as a person starts it.

.venv/bin/python bench/render.py --services 100 1000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from driver import inference_service

REPEATS = 3
LIMIT_SECONDS = 300
OBJECTS_PER_SERVICE = 4


def measure(services: int, folder: Path) -> dict[str, Any]:
    manifests = folder / f"{services}.yaml"
    manifests.write_text(yaml.safe_dump_all(inference_service("bench", i) for i in range(services)))
    seconds, printed = [], 0
    for _ in range(REPEATS):
        started = time.monotonic()
        program = str(Path(sys.executable).parent / "seawall")
        command = [program, "render", "-f", str(manifests)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS)
        seconds.append(time.monotonic() - started)
        if done.returncode:
            raise SystemExit(f"seawall render ended with {done.returncode}:\n{done.stderr[-2000:]}")
        printed = done.stdout.count("\nkind: ") + done.stdout.startswith("kind: ")
    if printed < services * OBJECTS_PER_SERVICE:
        raise SystemExit(f"{printed} objects for {services} services")
    best = min(seconds)
    return {
        "services": services,
        "objects": printed,
        "seconds": [round(s, 2) for s in seconds],
        "servicesPerSecond": round(services / best, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--services", type=int, nargs="+", default=[1, 100, 1000], metavar="N")
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = [measure(n, Path(folder)) for n in args.services]
    if args.json:
        print(json.dumps(results, indent=2))
        return 0
    print("| services | objects | seconds, each run | services/s, best run |\n| --- | --- | --- | --- |")
    for r in results:
        times = ", ".join(map(str, r["seconds"]))
        print(f"| {r['services']} | {r['objects']} | {times} | {r['servicesPerSecond']} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())

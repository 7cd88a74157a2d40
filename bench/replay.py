"""One trace through real Triton pods, scaled by each real actuator, beside what the simulator predicts.

    python bench/replay.py --trace FILE --series NAME --mean-rps 60 --minutes 20

Makes a local cluster, installs the operator, and serves one model of known service times once per policy:
`direct`, `hpa`, `keda` scale by Seawall in that mode, `static-peak` has the pods that the peak needs, and
`hpa-p99-80` is the exact HPA controller on the raw p99 at 0.8 of the SLO, writing the scale subresource of a
service in mode External. All of them get the same requests at the same moments. After a warm-up, in which
the operator learns the service times by itself, everything is counted from the client's side.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "bench")]

from sleeping import BASE_MS, BATCH, EACH_MS, SLO_MS, pack  # noqa: E402

from seawall.simulate import traces  # noqa: E402
from seawall.simulate.arrivals import Arrivals  # noqa: E402
from seawall.simulate.run import direction_changes  # noqa: E402
from seawall.simulate.study import NAMES, Order, brief, run_study  # noqa: E402
from seawall.sizing.profile import PodProfile  # noqa: E402

OVERHEAD_MS = 4.0
PROMETHEUS = "http://prometheus.infra.svc:9090"
WARM_MINUTES = 6
POLICIES = ("direct", "hpa", "keda", "static-peak", "hpa-p99-80")
SIMULATED = {"direct": "seawall", "hpa": "seawall", "keda": "seawall"}


@dataclass
class Figures:
    """Of one policy, seen from the client and from the API server."""

    attainment: float
    violating_minutes: float
    p99_ms: float
    replica_hours: float
    direction_changes_per_hour: float
    most: int


@dataclass
class Task:
    """What the part inside the cluster's network is told."""

    folder: str
    policies: tuple[str, ...]
    warm_seconds: float
    seconds: float
    peak: int
    maximum: int
    load_seconds: float
    gateway: str


def profile(cold_start: float) -> PodProfile:
    return PodProfile.parse(
        {
            "maxBatchSize": BATCH,
            "overheadMs": OVERHEAD_MS,
            "coldStartSeconds": cold_start,
            "batches": [{"size": b, "meanMs": BASE_MS + EACH_MS * b} for b in range(1, BATCH + 1)],
        }
    )


def section(args: argparse.Namespace) -> traces.Trace:
    """The chosen minutes of the trace, at the chosen mean rate."""
    whole = traces.read(args.trace, series=args.series)
    per = max(1, round(60.0 / whole.step))
    start = args.start * per
    rates = whole.rates[start : start + args.minutes * per]
    return replace(whole, rates=rates, times=None).scaled_to(args.mean_rps)


def arrivals(trace: traces.Trace, warm_minutes: int, seed: int) -> np.ndarray:
    """Due times; the warm-up runs at the rate of the trace's first minute."""
    steps = max(1, round(warm_minutes * 60.0 / trace.step))
    first = float(trace.rates[: max(1, round(60.0 / trace.step))].mean())
    long = replace(trace, rates=np.concatenate([np.full(steps, first), trace.rates]))
    source, out, at = Arrivals(long, seed), [], 0.0
    while at < long.seconds:
        out.append(source.between(at, min(at + 10.0, long.seconds)).copy())
        at += 10.0
    return np.concatenate(out)


def measured(
    due: np.ndarray, latency: np.ndarray, counts: np.ndarray, warm: float, seconds: float
) -> Figures:
    """`counts`: rows of (seconds since the start, pods, spec.replicas)."""
    inside = due >= warm
    late = latency[inside]
    minute = ((due[inside] - warm) // 60).astype(int)
    asked = np.bincount(minute)
    good = np.bincount(minute, weights=late <= SLO_MS / 1e3)
    busy = asked > 0
    counts = counts[counts[:, 0] >= warm]
    steps = np.diff(np.append(counts[:, 0], warm + seconds))
    return Figures(
        attainment=float((late <= SLO_MS / 1e3).mean()),
        violating_minutes=float((good[busy] < 0.99 * asked[busy]).mean()),
        p99_ms=1e3 * float(np.quantile(late, 0.99)),
        replica_hours=float((counts[:, 2] * steps).sum()) / 3600.0,
        direction_changes_per_hour=direction_changes(counts[:, 2].astype(int).tolist()) / (seconds / 3600.0),
        most=int(counts[:, 2].max()),
    )


def predicted(
    trace: traces.Trace, names: list[str], dispatch: str, cold_start: float, maximum: int
) -> dict[str, Figures]:
    order = Order(trace, profile(cold_start), SLO_MS, dispatch, seeds=(0, 1, 2), maximum=maximum)  # type: ignore[arg-type]
    study = run_study(order, names)
    return {
        name: Figures(
            result.attainment.mean, result.violating_minutes.mean, result.p99_ms.mean,
            result.replica_hours.mean, result.direction_changes_per_hour.mean, result.max_replicas,
        )
        for name, result in study.policies.items()
    }  # fmt: skip


def show(real: dict[str, Figures], simulated: dict[str, Figures]) -> str:
    columns = (("POLICY", -14), ("", 10), ("ATTAINED %", 12), ("VIOLATING %", 13), ("P99 ms", 9),
               ("REPLICA-h", 11), ("TURNS/h", 9), ("MOST", 6))  # fmt: skip
    lines = ["".join(word.ljust(-width) if width < 0 else word.rjust(width) for word, width in columns)]
    for name, seen in real.items():
        rows = (("cluster", seen), ("simulator", simulated[SIMULATED.get(name, name)]))
        for where, f in rows:
            lines.append(
                f"{name if where == 'cluster' else '':<14}{where:>10}{100 * f.attainment:>12.2f}"
                f"{100 * f.violating_minutes:>13.1f}{f.p99_ms:>9.0f}{f.replica_hours:>11.2f}"
                f"{f.direction_changes_per_hour:>9.1f}{f.most:>6}"
            )
    return "\n".join(lines)


def ranking(figures: dict[str, Figures]) -> list[str]:
    """Cheapest first; what the simulator cannot tell apart shares a place by name."""
    return sorted(figures, key=lambda name: (round(figures[name].replica_hours, 2), name))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trace", type=Path, required=True)
    parser.add_argument("--series")
    parser.add_argument("--start", type=int, default=0, help="minute of the trace to begin with")
    parser.add_argument("--minutes", type=int, default=20)
    parser.add_argument("--mean-rps", type=float, default=60.0)
    parser.add_argument("--policies", default=",".join(POLICIES))
    parser.add_argument(
        "--gateway", action="store_true", help="requests go through Envoy, one by one in turn"
    )
    parser.add_argument("--load-seconds", type=float, default=15.0, help="how long the model takes to load")
    parser.add_argument("--cluster", default="replay")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    trace = section(args)
    chosen = tuple(args.policies.split(","))
    dispatch = "round-robin" if args.gateway else "random"
    names = sorted({SIMULATED.get(each, each) for each in chosen} & set(NAMES))
    cold = args.load_seconds + 6.0
    order = Order(trace, profile(cold), SLO_MS, dispatch)  # type: ignore[arg-type]
    briefing = brief(order)
    peak = briefing.true.pods_for(float(trace.rates.max()) / 0.9)
    maximum = briefing.maximum
    with tempfile.TemporaryDirectory(prefix="replay-") as folder:
        Path(folder).chmod(0o755)
        due = arrivals(trace, WARM_MINUTES, seed=0)
        np.save(Path(folder) / "due.npy", due)
        pack(Path(folder), args.load_seconds)
        task = Task(
            folder, chosen, WARM_MINUTES * 60.0, trace.seconds, peak, maximum, args.load_seconds,
            "gw" if args.gateway else "",
        )  # fmt: skip
        (Path(folder) / "task.json").write_text(json.dumps(asdict(task)))
        run_inside(args.cluster, folder, "keda" in chosen)
        told = json.loads((Path(folder) / "told.json").read_text())
        real = {}
        for name in chosen:
            latency = np.load(Path(folder) / f"{name}.npy")
            real[name] = measured(
                due, latency, np.array(told[name]["counts"]), task.warm_seconds, task.seconds
            )
    colds = [told[name]["coldStartSeconds"] for name in chosen if told[name]["coldStartSeconds"]]
    seen_cold = float(np.median(colds)) if colds else cold
    simulated = predicted(trace, names, dispatch, seen_cold, maximum)
    print(f"{len(due)} requests to each of {len(chosen)} services; cold start {seen_cold:.0f} s; {dispatch}")
    print(show(real, simulated))
    print("cheapest first:  cluster " + " ".join(ranking(real)))
    print(
        "               simulator " + " ".join(ranking({n: simulated[SIMULATED.get(n, n)] for n in chosen}))
    )
    if args.json:
        both = {
            n: {"cluster": asdict(real[n]), "simulator": asdict(simulated[SIMULATED.get(n, n)])}
            for n in chosen
        }
        args.json.write_text(json.dumps(both, indent=1) + "\n")
    return 0


def run_inside(name: str, folder: str, keda: bool) -> None:
    from demo_show import Show  # noqa: PLC0415
    from demo_stand import PYTHON, Stand  # noqa: PLC0415

    stand = Stand(name, Show())
    parts = ("prometheus", "gateway", *(("keda",) if keda else ()))
    try:
        _, images = stand.build()
        stand.start(images, parts=parts, values={"metrics.prometheusUrl": PROMETHEUS})
        inside = str(ROOT / "bench" / "replay_inside.py")
        subprocess.run(stand.inside(PYTHON, inside, folder), cwd=ROOT, check=True, env=dict(os.environ))
    finally:
        if not os.environ.get("SEAWALL_KEEP"):
            stand.remove()


if __name__ == "__main__":
    sys.exit(main())

"""What becomes of one ModelBuild: everything observed goes in, everything to be written comes out.

A build ends once. Its name says what it is made from, so its end stands for good: whoever wants another try
deletes the ModelBuild, and the services that want it make it anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from seawall.api.modelbuild import ModelBuildSpec
from seawall.decide import build_pods
from seawall.decide.build_result import BadResult, parse_refusal, parse_result
from seawall.decide.build_status import FINAL, Outcome, status_of_build
from seawall.decide.build_use import Use, use_of
from seawall.decide.conditions import clipped
from seawall.decide.types import EventNote, Manifest, ObjectRef, ObservedBuild, Plan, Progress
from seawall.desired.build_image import NoImage, image_of
from seawall.desired.build_job import FINISH, KILLED, REFUSED, build_job
from seawall.desired.names import BUILD_KIND, Owner
from seawall.desired.shared import build_shared_of_builds

QUEUE_RETRY_SECONDS = 30.0
PROGRESS_SECONDS = 5.0
PROBLEM_RETRY_SECONDS = 60.0
SOON = 1.0
TRY_AGAIN = "delete the ModelBuild to have it tried again"


def plan_build(observed: ObservedBuild) -> Plan:
    """Pure. Raises nothing for whatever a pod may have told or a person may have written."""
    build = observed.build
    if build["metadata"].get("deletionTimestamp"):
        return Plan()  # garbage collection takes the Job
    use = use_of(observed)
    if use.expired:
        return Plan(delete=(ObjectRef.of(build),), needs_live_read=True)
    job = _own(observed)
    if (build.get("status") or {}).get("phase") in FINAL:
        # Only now that the result stands in the status may the Job and its pod, which told it, go.
        gone = (ObjectRef.of(job),) if job else ()
        status = {**build["status"], "unusedSince": use.since}
        return Plan(delete=gone, status=_without_none(status), requeue_after=use.again_after)
    try:
        spec = ModelBuildSpec.model_validate(build.get("spec"))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return _told(observed, use, Outcome("Failed", "Invalid", f"{first['loc']}: {first['msg']}"))
    if job is None:
        return _start(observed, use, spec)
    return _follow(observed, use, job)


def _own(observed: ObservedBuild) -> Manifest | None:
    """The Job, if it is this very build's and not going already."""
    job, uid = observed.job, observed.build["metadata"]["uid"]
    if job is None or job["metadata"].get("deletionTimestamp"):
        return None
    return job if any(o.get("uid") == uid for o in job["metadata"].get("ownerReferences") or ()) else None


def _start(observed: ObservedBuild, use: Use, spec: ModelBuildSpec) -> Plan:
    settings, meta = observed.settings, observed.build["metadata"]
    if not settings.artifacts_uri:
        missing = (
            "no store for artefacts is configured; an administrator sets artifacts.uri in the chart's values"
        )
        return _told(observed, use, Outcome("Pending", "ArtifactStoreMissing", missing))
    image = image_of(spec, settings)
    if isinstance(image, NoImage):
        phase = "Refused" if image.final else "Pending"
        return _told(observed, use, Outcome(phase, image.reason, image.message))
    for problem in observed.write_problems:
        refused = Outcome("Pending", problem.reason, f"{problem.ref}: {problem.message}")
        return _told(observed, use, refused, PROBLEM_RETRY_SECONDS)
    if not observed.slot:
        message = f"{settings.at_once} builds run already, which is as many as may run at once"
        return _told(observed, use, Outcome("Pending", "WaitingForTurn", message), QUEUE_RETRY_SECONDS)
    owner = Owner(meta["name"], meta["namespace"], meta["uid"], BUILD_KIND)
    made = [*build_shared_of_builds(owner.namespace), build_job(owner, spec, settings, image)]
    starting = Outcome("Pending", "Starting", "The Job has been made; its pod is about to come")
    return _told(observed, use, starting, PROGRESS_SECONDS, apply=tuple(made), holds=True)


def _follow(observed: ObservedBuild, use: Use, job: Manifest) -> Plan:
    conditions = {
        c.get("type"): c
        for c in (job.get("status") or {}).get("conditions") or ()
        if c.get("status") == "True"
    }
    if "Complete" in conditions:
        return _completed(observed, use)
    if "Failed" in conditions:
        reason, message = (
            str(conditions["Failed"].get("reason")),
            str(conditions["Failed"].get("message", "")),
        )
        return _told(observed, use, _failed(observed, reason, message), SOON)
    return _running(observed, use, job)


def _completed(observed: ObservedBuild, use: Use) -> Plan:
    pod = build_pods.newest(observed.pods, "Succeeded")
    if pod is None and not observed.live:
        return Plan(needs_live_read=True, holds_build_slot=True)  # the watch tells of Jobs before pods
    words = build_pods.last_words(pod, FINISH) if pod else ""
    try:
        told = parse_result(words, observed.settings.artifacts_uri)
    except BadResult as bad:
        outcome = Outcome("Failed", "BadResult", f"{bad}; {TRY_AGAIN}", log_tail=words)
        return _told(observed, use, outcome, SOON)
    ratio = told.result.get("compressionRatio")
    message = f"Made as {told.artifact['format']}" + (f", {ratio} times smaller" if ratio else "")
    return _told(observed, use, Outcome("Succeeded", "Built", message, told=told), SOON)


def _failed(observed: ObservedBuild, reason: str, message: str) -> Outcome:
    if reason == "DeadlineExceeded":
        seconds = observed.settings.deadline_seconds
        return Outcome("Failed", reason, f"The build took longer than {seconds} s; {TRY_AGAIN}")
    pod = build_pods.newest(observed.pods, "Failed")
    end = build_pods.failure_of(pod) if pod else None
    if end is None:
        return Outcome("Failed", "BuildFailed", f"{message or reason}; {TRY_AGAIN}")
    if end.reason == "OOMKilled" or end.code == KILLED:
        limit = observed.settings.memory_limit
        said = f"Phase {end.container} needed more memory than its limit of {limit}"
        return Outcome("Failed", "OutOfMemory", f"{said}; raise builds.memoryLimit, then {TRY_AGAIN}")
    words = parse_refusal(end.message)
    if words and end.code == REFUSED:
        return Outcome("Refused", *words)
    why = f"{words[0]}: {words[1]}" if words else f"exit code {end.code}"
    text = f"Phase {end.container} failed: {why}; {TRY_AGAIN}"
    return Outcome("Failed", "BuildFailed", text, log_tail=end.message)


def _running(observed: ObservedBuild, use: Use, job: Manifest) -> Plan:
    pod = build_pods.active(observed.pods)
    evicted = any(build_pods.was_evicted(p) for p in observed.pods)
    again = "; a pod before it was evicted" if evicted else ""
    if pod is None and build_pods.newest(observed.pods, "Succeeded") is not None:
        outcome = Outcome("Running", "Building", "The last phase has ended; its result is about to be read")
    elif pod is None:
        outcome = Outcome("Pending", "Starting", f"The Job has no pod yet{again}")
    elif obstacle := build_pods.obstacle(pod):
        outcome = Outcome("Pending", *obstacle)
    elif not build_pods.has_begun(pod):
        outcome = Outcome("Pending", "Starting", f"Pod {pod['metadata']['name']} is about to start{again}")
    else:
        outcome = Outcome("Running", "Building", f"{_sentence(observed, pod)}{again}")
    outcome = outcome.at(_progress(observed, pod)) if outcome.phase == "Running" else outcome
    shared = build_shared_of_builds(observed.build["metadata"]["namespace"])
    return _told(observed, use, outcome, PROGRESS_SECONDS, apply=shared, holds=True, attempts=_attempts(job))


def _attempts(job: Manifest) -> int:
    told = job.get("status") or {}
    return sum(int(told.get(part) or 0) for part in ("failed", "active", "succeeded"))


def _progress(observed: ObservedBuild, pod: Manifest | None) -> Progress | None:
    """What the pod says; else the last word of the same phase; else the phase alone."""
    if observed.progress is not None:
        return observed.progress
    stage = build_pods.running_phase(pod) if pod else None
    before = (observed.build.get("status") or {}).get("progress")
    return Progress(stage) if stage and (stage in ("train", "compile") or not before) else None


def _sentence(observed: ObservedBuild, pod: Manifest) -> str:
    phase = build_pods.running_phase(pod)
    return f"Phase {phase} is at work" if phase else "The next phase is about to start"


def _told(
    observed: ObservedBuild,
    use: Use,
    outcome: Outcome,
    again_after: float | None = None,
    *,
    apply: Sequence[Manifest] = (),
    holds: bool = False,
    attempts: int | None = None,
) -> Plan:
    if attempts is None and observed.job is not None:
        attempts = _attempts(observed.job)
    status = status_of_build(observed, outcome, use.since, attempts)
    times = [t for t in (again_after, use.again_after) if t is not None]
    return Plan(
        apply=tuple(apply),
        status=status,
        events=_events(observed, outcome),
        requeue_after=min(times) if times else None,
        holds_build_slot=holds,
    )


def _events(observed: ObservedBuild, outcome: Outcome) -> tuple[EventNote, ...]:
    if outcome.phase not in FINAL:
        return ()
    kind = "Normal" if outcome.phase == "Succeeded" else "Warning"
    return (EventNote(kind, outcome.reason, clipped(outcome.message)),)


def _without_none(status: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in status.items() if v is not None}

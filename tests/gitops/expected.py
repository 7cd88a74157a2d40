"""The health of each situation: the same table for Argo CD's words and for Flux's."""

from __future__ import annotations

from gitops.situations import Said

HEALTH = {
    "Healthy": {
        Said("Idle", "Serving", "Idle"),
        Said("Idle", "Serving", "PlatformUpdateWaiting"),
        Said("Idle", "!ScaledToZero", "Idle"),
        Said("Draining", "Serving", "Draining"),
        Said("Watching", "Serving", "Watching"),
    },
    "Progressing": {
        Said("Building", "!Building", "!NotStarted"),
        Said("Building", "Updating", "Building"),
        Said("Starting", "!Starting", "Starting"),
        Said("Starting", "!Progressing", "Starting"),
        Said("Starting", "!Unschedulable", "!Unschedulable"),
        Said("Starting", "Updating", "Starting"),
        Said("Verifying", "Updating", "Verifying"),
        Said("Quality", "Updating", "Quality"),
        Said("Shadow", "Updating", "Shadow"),
        Said("Shadow", "Updating", "Shadow", "hold"),
        Said("Stepping", "Updating", "Stepping"),
        Said("Stepping", "Updating", "Stepping", "hold"),
        Said("Stepping", "Updating", "!CapacityUnavailable", "hold"),
        Said("Promoting", "Updating", "Promoting"),
        Said("Promoting", "Updating", "Promoting", "hold"),
        Said("RollingBack", "Updating", "RollingBack", "hold"),
    },
    "Suspended": {
        Said("Paused", "Serving", "Paused"),
        Said("Paused", "Updating", "Paused", "hold"),
        Said("Paused", "Updating", "Paused", "pause"),
        Said("Paused", "Updating", "StepPassed", "pause"),
    },
    "Degraded": {
        Said("Idle", "!AcceleratorClassNotFound", "!NotStarted"),
        Said("Idle", "!ArtifactStoreMissing", "!NotStarted"),
        Said("Idle", "!BuildFailed", "!NotStarted"),
        Said("Idle", "BuildFailed", "Idle"),
        Said("Idle", "!NameConflict", "Idle"),
        Said("Starting", "!CrashLooping", "!CrashLooping"),
        Said("Starting", "!FetchFailed", "!FetchFailed"),
        Said("Starting", "!ImagePullFailed", "!ImagePullFailed"),
        Said("Starting", "RolloutFailed", "!ImagePullFailed"),
        Said("Verifying", "!VerificationFailed", "!VerificationFailed"),
        Said("Paused", "RolloutPaused", "!QualityUnknown", "pause"),
        Said("Paused", "RolloutPaused", "!Regression", "pause"),
        Said("Paused", "SpecRefused", "Paused", "hold"),
        Said("RollingBack", "Updating", "!Aborted", "hold"),
        Said("RollingBack", "Updating", "!Regression", "hold"),
        Said("RolledBack", "RolloutFailed", "!Aborted"),
        Said("RolledBack", "RolloutFailed", "!Regression"),
        Said("RolledBack", "RolloutFailed", "!VerificationFailed"),
    },
}
EXPECTED = {each: health for health, those in HEALTH.items() for each in those}
BUILDS = {
    ("Pending", "Starting"): "Progressing",
    ("Pending", "WaitingForTurn"): "Progressing",
    ("Pending", "ArtifactStoreMissing"): "Degraded",
    ("Pending", "OptimizerImageMissing"): "Degraded",
    ("Running", "Building"): "Progressing",
    ("Succeeded", "Built"): "Healthy",
    ("Refused", "AccuracyBelowFloor"): "Degraded",
    ("Failed", "OutOfMemory"): "Degraded",
}
FLUX = {"Healthy": "Current", "Progressing": "InProgress", "Suspended": "InProgress", "Degraded": "Failed"}
"""Flux has no word for what waits because somebody asked it to."""

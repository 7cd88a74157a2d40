"""spec.scaling.behavior: autoscaling/v2's own block, with the rules that its API server has for it.

Spelt out rather than left free-form, so that a slip is refused when it is typed and not when the autoscaler
is written.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from seawall.api.fields import Model, Text

ATOMIC: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}
Tolerance = Annotated[
    str,
    Text("[0-9]{1,6}([.][0-9]{1,6})?m?", 'must be a quantity in quotes, such as "0.05" or "50m"', 16),
]


class ScalingPolicy(Model):
    """How far within which time."""

    type: Literal["Pods", "Percent"] = Field(description="What value counts.")
    value: int = Field(ge=1, le=1_000_000, description="Pods, or percent of the pods there were.")
    period_seconds: int = Field(ge=1, le=1800, description="Time that the value is for, in seconds.")


class ScalingRules(Model):
    """One direction."""

    stabilization_window_seconds: int | None = Field(
        None, ge=0, le=3600, description="The safest recommendation of this long counts, in seconds."
    )
    select_policy: Literal["Max", "Min", "Disabled"] | None = Field(
        None, description="Which of the policies counts; Max if absent. Disabled: never in this direction."
    )
    policies: list[ScalingPolicy] | None = Field(
        None,
        min_length=1,
        max_length=16,
        description="How far the count may move; autoscaling/v2's own if absent.",
        json_schema_extra=ATOMIC,
    )
    tolerance: Tolerance | None = Field(
        None, description='Deviation that is not acted on in mode HPA and KEDA, such as "0.05".'
    )


class ScalingBehavior(Model):
    """behavior of autoscaling/v2, handed on as it is."""

    scale_up: ScalingRules | None = None
    scale_down: ScalingRules | None = None


__all__ = ["ScalingBehavior", "ScalingPolicy", "ScalingRules"]

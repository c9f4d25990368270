"""What ``POST /intent`` is asked and answers."""

from __future__ import annotations

from pydantic import BaseModel, Field

from serving.contracts import Body, Id
from serving.value_answer import PredictedValue


class IntentRequest(Body):
    """What this user is about to do."""

    user_id: Id
    targets: list[Id] | None = Field(None, min_length=1, max_length=100, description="Their names; all if absent.")


class IntentReason(BaseModel):
    """A feature that moved a chance."""

    feature: str
    value: float | int | str | bool | None = Field(description="null where it is missing.")
    log_odds: float = Field(description="What it added to the log-odds; below 0 it lowered the chance.")


class PredictedTarget(BaseModel):
    """The chance of one target."""

    name: str
    horizon_days: float | None = Field(description="null where it is the rest of the session.")
    probability: float | None = Field(description="null where it is not right as a number for users like this one.")
    rank: float = Field(description="The share of the users it was judged on who are less likely.")
    rank_only_because: str | None = Field(description="The segment in which the calibration contract did not hold.")
    predictor: str
    reasons: list[IntentReason] = Field(description="The three strongest, strongest first.")


class NextStep(BaseModel):
    """What may come next."""

    name: str
    probability: float


class SessionNow(BaseModel):
    """The session that a user is in, after its last event."""

    started_ms: int = Field(description="Of the first of the events that were read.")
    events: int
    targets: list[PredictedTarget] = Field(
        description="What may still happen in it. A reason is one of its events, its value the number of the event."
    )
    next_event: list[NextStep] = Field(description="The likeliest types of the next event; leave if there is none.")
    next_group: list[NextStep] = Field(description="The likeliest groups of the next item, if one follows.")


class IntentAnswer(BaseModel):
    """What a user is about to do."""

    user_id: str = Field(description="As asked.")
    personalised: bool = Field(description="false of whoever refuses it: nothing is computed then.")
    targets: list[PredictedTarget]
    session: SessionNow | None = Field(description="null between sessions, and where session intent was not learned.")
    values: list[PredictedValue] = Field(description="Empty where customers' value was not learned.")
    bundle_digest: str
    model_version: int | None = Field(description="As registered; null if the bundle was served from a folder.")
    as_of_ms: int = Field(description="The snapshot's instant, at which the heads were fitted.")
    served_ms: int


__all__ = [
    "IntentAnswer",
    "IntentReason",
    "IntentRequest",
    "NextStep",
    "PredictedTarget",
    "SessionNow",
]

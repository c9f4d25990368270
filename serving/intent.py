"""What a person is about to do: the heads of users asked about the row as it is now, those of sessions after the last
event, those of customers' value about all orders."""

from __future__ import annotations

from features.errors import NotFoundError
from serving.contracts import RequestError
from serving.intent_answer import IntentAnswer, IntentReason, PredictedTarget
from serving.profile import current
from serving.rows import Seen
from serving.session import session_now
from serving.value import values_now
from training.bundle import Bundle
from training.intent.heads import Head


def intent(
    user_id: str, targets: list[str] | None, seen: Seen, bundle: Bundle, now_ms: int, model_version: int | None = None
) -> IntentAnswer:
    """The chance of every target and every value, or of those that are named.

    A chance whose contract did not hold for the person's segment is left out: the rank says what is left.

    Args:
        seen: What the state has of the person since the bundle's snapshot and before ``now_ms``.
        model_version: Under which the bundle is registered, if it is.

    Raises:
        NotFoundError: The bundle has no heads of any kind, or knows nothing of single users.
        RequestError: A target is unknown (422), or nobody has ever heard of this user (404).
    """
    if bundle.intent is None and bundle.session is None and bundle.values is None:
        mend = "compare again with `intents`, `session_intents` or `values` in the experiment"
        raise NotFoundError("bundle", "must hold heads of intent", mend=mend)
    heads = {} if bundle.intent is None else bundle.intent.heads
    of_session = () if bundle.session is None else [target.name for target in bundle.session.targets]
    of_value = () if bundle.values is None else tuple(bundle.values.heads)
    names = (*heads, *of_session, *of_value)
    for place, name in enumerate(targets or ()):
        if name not in names:
            known = ", ".join(names)
            raise RequestError(422, f"targets.{place}", "must be a target", name, f"choose from {known}")
    now = current(user_id, seen, bundle, now_ms)
    asked = [heads[name] for name in dict.fromkeys(targets or heads) if name in heads]
    session = None
    if now is not None and (targets is None or set(targets) & set(of_session)):
        session = session_now(now.past, now.events, targets, bundle, now_ms)
    return IntentAnswer(
        user_id=user_id,
        personalised=now is not None,
        targets=[] if now is None else [_predicted(head, now.row) for head in asked],
        session=session,
        values=[] if now is None else values_now(now, targets, bundle, now_ms),
        bundle_digest=bundle.digest,
        model_version=model_version,
        as_of_ms=bundle.as_of_ms,
        served_ms=now_ms,
    )


def _predicted(head: Head, row: dict[str, object]) -> PredictedTarget:
    chance, moved = head.answer(row)
    return PredictedTarget(
        name=head.target.name,
        horizon_days=head.target.horizon_days,
        probability=chance.probability,
        rank=chance.rank,
        rank_only_because=chance.refused,
        predictor=head.predictor.name,
        reasons=[IntentReason(feature=each.column, value=each.value, log_odds=each.log_odds) for each in moved],
    )


__all__ = ["intent"]

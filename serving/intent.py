"""What a person is about to do: the heads of users asked about the row as it is now, those of sessions after the last
event."""

from __future__ import annotations

from features.errors import NotFoundError
from serving.contracts import IntentAnswer, IntentReason, PredictedTarget, RequestError
from serving.profile import current
from serving.rows import Seen
from serving.session import session_now
from training.bundle import Bundle
from training.intent.heads import Head


def intent(user_id: str, targets: list[str] | None, seen: Seen, bundle: Bundle, now_ms: int) -> IntentAnswer:
    """The chance of every target, or of those that are named.

    A chance whose contract did not hold for the person's segment is left out: the rank says what is left.

    Args:
        seen: What the state has of the person since the bundle's snapshot and before ``now_ms``.

    Raises:
        NotFoundError: The bundle has no heads of any kind, or knows nothing of single users.
        RequestError: A target is unknown (422), or nobody has ever heard of this user (404).
    """
    if bundle.intent is None and bundle.session is None:
        mend = "compare again with `intents` or `session_intents` in the experiment"
        raise NotFoundError("bundle", "must hold heads of intent", mend=mend)
    heads = {} if bundle.intent is None else bundle.intent.heads
    of_session = () if bundle.session is None else [target.name for target in bundle.session.targets]
    for place, name in enumerate(targets or ()):
        if name not in heads and name not in of_session:
            known = ", ".join((*heads, *of_session))
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
        bundle_digest=bundle.digest,
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

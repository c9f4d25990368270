"""Verdicts: what can be learned from a data set, given the numbers found in it and the needs declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from features.card.questions import QUESTIONS
from features.card.questions.need import Need, Question, Unit


class Verdict(StrEnum):
    """Whether something can be learned, from worst to best."""

    NO = "no"
    WEAKLY = "weakly"
    YES = "yes"


_ORDER = tuple(Verdict)


def verdicts(numbers: Mapping[str, Any], questions: Sequence[Question] = QUESTIONS) -> list[dict[str, Any]]:
    """JSON-able answers in the order of the questions.

    Each has ``question``, ``title``, ``use``, ``verdict``, ``reason``, ``needs`` (each with the number ``found`` and a
    verdict of its own) and ``decided_by``, the position of the need that decides: the first of those least met,
    flags last where all are met.

    Args:
        numbers: What ``features.card.evidence.evidence`` found.
    """
    return [_answer(question, numbers) for question in questions]


def judge(need: Need, found: float | None) -> Verdict:
    """One need; what cannot be known is not met."""
    if found is None:
        return Verdict.NO
    sign = -1 if need.at_most else 1
    if sign * found >= sign * need.yes:
        return Verdict.YES
    return Verdict.WEAKLY if sign * found >= sign * need.weakly else Verdict.NO


def _answer(question: Question, numbers: Mapping[str, Any]) -> dict[str, Any]:
    judged = [judge(need, numbers[need.figure]) for need in question.needs]
    least = min(judged, key=_ORDER.index)
    candidates = [position for position, verdict in enumerate(judged) if verdict is least]
    if least is Verdict.YES:  # a number says more than that something holds
        candidates.sort(key=lambda position: question.needs[position].unit is Unit.FLAG)
    decisive = candidates[0]
    return {
        "question": question.name,
        "title": question.title,
        "use": question.use,
        "verdict": least.value,
        "reason": _reason(least, question.needs[decisive], numbers[question.needs[decisive].figure] is not None),
        "decided_by": decisive,
        "needs": [
            {
                "figure": need.figure,
                "what": need.what,
                "found": None if numbers[need.figure] is None else numbers[need.figure] + 0,
                "weakly": need.weakly,
                "yes": need.yes,
                "at_most": need.at_most,
                "unit": need.unit.value,
                "basis": need.basis,
                "source": need.source,
                "verdict": verdict.value,
            }
            for need, verdict in zip(question.needs, judged, strict=True)
        ],
    }


def _reason(verdict: Verdict, need: Need, is_known: bool) -> str:
    match verdict:
        case Verdict.YES:
            return "Every need is met."
        case Verdict.WEAKLY:
            return "Enough to begin with; expect wide intervals."
        case Verdict.NO:
            return need.lacking if is_known or not need.unknown else need.unknown


__all__ = ["Verdict", "judge", "verdicts"]

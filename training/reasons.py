"""Why an item was recommended: stable codes, and what each says to the person who sees the item."""

from __future__ import annotations

from dataclasses import dataclass

from features.errors import ConfigError

#: What a reason says; ``{item}`` and ``{detail}`` are filled in.
WORDS = {
    "popular": "popular now",
    "unexplained": "recommended for you",
    "bestseller_in": "bestseller in {detail}",
    "liked_in": "liked in {detail}",
    "bought_before": "you bought it before",
    "seen_before": "you looked at it before",
    "often_taken_with": "often taken together with {item}",
    "bought_with": "bought with {item} in {detail}",
    "often_taken_after": "often taken after {item}",
    "same_taste_as": "liked by those who like {item}",
    "predicted_from_history": "predicted from what you did so far",
    "interested_now": "you are interested in it now",
    "goes_with_now": "goes with {item}, which you are interested in now",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an item: a code of ``WORDS``, and the segment or the item that it refers to.

    >>> Reason("often_taken_with", item=7).code
    'often_taken_with'

    Raises:
        ConfigError: Nobody could be told: the code has no words.
    """

    code: str
    detail: str = ""
    item: int = -1

    def __post_init__(self) -> None:
        if self.code not in WORDS:
            raise ConfigError("reason", "must have words", self.code, "add them to training/reasons.py")


__all__ = ["WORDS", "Reason"]

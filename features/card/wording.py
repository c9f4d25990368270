"""Numbers as a card writes them."""

from __future__ import annotations

from features.card.questions.need import Unit

#: Where there is nothing to count from.
UNKNOWN = "unknown"


def count(number: int | None) -> str:
    """Thousands apart.

    >>> count(1234), count(None)
    ('1,234', 'unknown')
    """
    return UNKNOWN if number is None else f"{number:,}"


def share(part: float | None) -> str:
    """Per cent, with enough digits to tell a small share from none and a large one from all.

    >>> [share(x) for x in (0, 0.004567, 0.05, 0.9, 0.99987, 1, None)]
    ['0 %', '0.46 %', '5 %', '90 %', '99.987 %', '100 %', 'unknown']
    """
    if part is None:
        return UNKNOWN
    edge = min(part, 1 - part)
    digits = 0 if edge <= 0 else 1 if edge >= 0.01 else 2 if edge >= 0.001 else 3
    text = f"{100 * part:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if digits else text} %"


def days(number: float) -> str:
    """Whole days, or a fraction of one.

    >>> days(373.2), days(0.25), days(1)
    ('373 days', '0.25 days', '1 day')
    """
    text = f"{number:,.0f}" if number >= 10 else f"{number:.2g}"
    return f"{text} day" if text == "1" else f"{text} days"


def quantity(number: float | None, unit: str) -> str:
    """A number of one of the units of ``features.card.questions.need.Unit``.

    >>> quantity(1, "flag"), quantity(0.0143, "ndcg"), quantity(0.0316, "share")
    ('yes', '0.0143', '3.2 %')
    """
    if number is None:
        return UNKNOWN
    match Unit(unit):
        case Unit.COUNT:
            return count(int(number))
        case Unit.SHARE:
            return share(number)
        case Unit.DAYS:
            return days(number)
        case Unit.FLAG:
            return "yes" if number else "no"
        case Unit.NDCG:
            return f"{number:.4g}"


__all__ = ["UNKNOWN", "count", "days", "quantity", "share"]

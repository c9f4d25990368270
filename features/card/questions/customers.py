"""What customers will do: come back, spend, buy now, follow the week and the year."""

from __future__ import annotations

from features.card.questions.need import REAL_TIMES, Need, Question, Unit

_TEN_PER_VARIABLE = "Ten events per variable: 10 variables, 100 variables"

_REPEAT_BUYERS = Need(
    "repeat_buyers",
    "customers with two or more orders",
    100,
    1_000,
    "Too few customers ordered twice.",
    "Rule of thumb, around the sample of the standard model's paper",
    "fader2005",
)

#: In the order of the card.
QUESTIONS = (
    Question(
        "repeat_buying",
        "Repeat buying",
        "Foretell who orders again and when, for reminders and win-back.",
        (
            REAL_TIMES,
            _REPEAT_BUYERS,
            Need(
                "span_days",
                "from the first to the last event",
                90,
                365,
                "The data are too short to see people come back.",
                "Rule of thumb: a quarter shows the fast returns, a year the slow ones",
                unit=Unit.DAYS,
            ),
        ),
    ),
    Question(
        "lifetime_value",
        "Lifetime value",
        "Put a number on what a customer will spend.",
        (
            REAL_TIMES,
            _REPEAT_BUYERS,
            Need(
                "span_days",
                "from the first to the last event",
                273,
                546,
                "The data are too short for the value of a customer.",
                "39 weeks to fit; another 39 to check",
                "fader2005",
                Unit.DAYS,
            ),
            Need(
                "priced_share",
                "of purchases have a price",
                0.8,
                0.99,
                "Most purchases have no price: orders can be foretold, money cannot.",
                "Rule of thumb",
                unit=Unit.SHARE,
            ),
        ),
    ),
    Question(
        "conversion_intent",
        "Conversion and intent",
        "Foretell who is about to buy, from what they look at.",
        (
            Need(
                "users_without_purchase",
                "users who looked and never bought",
                100,
                1_000,
                "Nobody, or hardly anybody, is seen to look and not to buy.",
                _TEN_PER_VARIABLE,
                "peduzzi1996",
            ),
            Need(
                "buyers",
                "users who bought",
                100,
                1_000,
                "Too few users bought.",
                _TEN_PER_VARIABLE,
                "peduzzi1996",
            ),
            Need(
                "views",
                "views or visits",
                1_000,
                100_000,
                "Views are not recorded, or hardly.",
                "Rule of thumb: a hundred looks for each buyer needed",
            ),
        ),
    ),
    Question(
        "weekly_rhythm",
        "Weekly rhythm",
        "Use the hour and the day of the week.",
        (
            REAL_TIMES,
            Need(
                "span_days",
                "from the first to the last event",
                14,
                56,
                "Less than two weeks: a weekday is not seen twice.",
                "Rule of thumb: two cycles to see it, eight to average over odd weeks",
                "hyndman2007",
                Unit.DAYS,
            ),
        ),
    ),
    Question(
        "seasons",
        "Seasons of the year",
        "Expect the Christmas of next year.",
        (
            REAL_TIMES,
            Need(
                "span_days",
                "from the first to the last event",
                365,
                730,
                "Less than a year: a season cannot be told from a trend.",
                "Rule of thumb: one cycle shows it, two tell it from a trend",
                "hyndman2007",
                Unit.DAYS,
            ),
        ),
    ),
)

__all__ = ["QUESTIONS"]

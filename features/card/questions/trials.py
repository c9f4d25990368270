"""What a change brings: comparisons, tests, logs of what was shown, messages."""

from __future__ import annotations

from features.card.questions.need import NDCG_SD, REAL_TIMES, REWARD_DAYS, TRAFFIC_DAYS, Need, Question, Unit

_TWO_GROUPS = "Two groups of 1,000 (10,000) show 3.8 (1.2) points of conversion at 10 %, 80 % power"

#: In the order of the card.
QUESTIONS = (
    Question(
        "offline_comparison",
        "Comparing models offline",
        "Tell by replay which of two models ranks better.",
        (
            Need(
                "detectable_ndcg",
                f"detectable difference in NDCG@20, paired, 80 % power, taking a standard deviation of {NDCG_SD}",
                0.03,
                0.01,
                "Only differences larger than models usually make would be seen.",
                "Paired minimal detectable effect; rule of thumb: good models differ by 0.01",
                "kohavi2020",
                Unit.NDCG,
                at_most=True,
                unknown="Nobody is seen both before and after the cut.",
            ),
        ),
    ),
    Question(
        "ab_test",
        "A/B test of conversion",
        f"See a lift in conversion within {TRAFFIC_DAYS} days of this traffic, two equal groups.",
        (
            REAL_TIMES,
            Need(
                "detectable_lift",
                f"detectable relative lift in {TRAFFIC_DAYS} days, 80 % power",
                0.2,
                0.05,
                "At this traffic a usual improvement would not be seen.",
                "Two proportions, minimal detectable effect; most real lifts are below 5 %, hardly any above 20 %",
                "kohavi2020",
                Unit.SHARE,
                at_most=True,
                unknown="There is no conversion rate to improve: nobody is seen not to buy, or nobody buys.",
            ),
        ),
    ),
    Question(
        "off_policy",
        "Off-policy evaluation",
        "Value a policy that never ran, from the log of one that did.",
        (
            Need(
                "impressions_drawn",
                "impressions drawn at random, with a propensity below 1",
                1_000,
                10_000,
                "There are no impressions drawn at random: what was not shown has no outcome.",
                "Rule of thumb; the small public logs have 10,000",
                "saito2021",
            ),
            Need(
                "impressions_rewarded",
                f"impressions followed by an interaction with the item within {REWARD_DAYS} day",
                100,
                1_000,
                "Too few impressions led to anything.",
                "Rule of thumb: 100 outcomes give a standard error of 10 %, 1,000 of 3 %",
            ),
        ),
    ),
    Question(
        "uplift",
        "Uplift of messages",
        "Send only where the message makes the difference.",
        (
            Need(
                "users_drawn",
                "users whose message was drawn at random (its properties give arm or propensity)",
                1_000,
                10_000,
                "No message is known to have been sent at random: whoever got one may have bought anyway.",
                _TWO_GROUPS,
                "kohavi2020",
            ),
            Need(
                "users_without_message",
                "users without a message beside them",
                1_000,
                10_000,
                "Too few users got no message: there is nobody to compare with.",
                _TWO_GROUPS,
                "kohavi2020",
            ),
        ),
    ),
)

__all__ = ["QUESTIONS"]

"""What to show to whom: tastes, visits, baskets, groups, new items."""

from __future__ import annotations

from features.card.power import users_for_difference
from features.card.questions.need import FREQUENT, NDCG_SD, REAL_TIMES, Need, Question, Unit

#: In the order of the card.
QUESTIONS = (
    Question(
        "personalised_ranking",
        "Personalised ranking",
        "Rank items by each user's own taste and check that it helps.",
        (
            Need(
                "users_on_both_sides",
                "users with two interactions before and two after the cut",
                500,
                users_for_difference(0.01, NDCG_SD),
                "Too few users are seen on both sides of the cut to learn tastes and to check them.",
                "500 are the fewest that stellar judges; the larger number shows a difference of 0.01 NDCG@20",
                "kohavi2020",
            ),
            Need(
                "items_frequent",
                f"items with {FREQUENT} or more interactions",
                100,
                500,
                "There are too few items to choose from: everybody can be shown all of them.",
                "Rule of thumb: five lists of 20 to choose from, 25 of them",
                "kang2018",
            ),
            Need(
                "frequent_items_share",
                f"of interactions are with items that have {FREQUENT} or more",
                0.5,
                0.8,
                "Most interactions are with items too rare to be told from chance.",
                "Rule of thumb on the usual filter",
                "kang2018",
                Unit.SHARE,
            ),
        ),
    ),
    Question(
        "session_models",
        "Session models (L4)",
        "React to what a user does in this visit.",
        (
            Need(
                "order_within_session",
                "times tell the order inside a visit",
                1,
                1,
                "The times do not tell the order of events inside a visit.",
                "By definition",
                unit=Unit.FLAG,
            ),
            Need(
                "steps_in_visits",
                "steps from one interaction to the next inside a visit",
                10_000,
                100_000,
                "Too few steps inside visits to learn what follows what.",
                "Rule of thumb: the usual public session sets have 120,000 and more",
            ),
        ),
    ),
    Question(
        "co_purchase",
        "Bought together",
        "Suggest what completes a basket.",
        (
            REAL_TIMES,
            Need(
                "baskets_of_several",
                "orders with two or more different items",
                1_000,
                10_000,
                "Too few baskets hold more than one item.",
                "A pair in one of 100 (1,000) baskets is seen ten times in 1,000 (10,000)",
            ),
        ),
    ),
    Question(
        "demographics",
        "Demographic groups (L1)",
        "Greet unknown users by what people like them buy.",
        (
            Need(
                "users_in_second_group",
                "users in the second largest group of the best attribute",
                100,
                1_000,
                "No attribute divides the users into two groups that are large enough.",
                "Rule of thumb: a share of 10 % is known to 6 points with 100 users and to 2 with 1,000",
            ),
            Need(
                "attribute_coverage",
                "of users have this attribute",
                0.3,
                0.7,
                "Most users have no known attribute.",
                "Rule of thumb",
                unit=Unit.SHARE,
            ),
        ),
    ),
    Question(
        "cold_start",
        "New items",
        "Rank items that nobody has touched yet, by what they are.",
        (
            Need(
                "items_described_share",
                "of items have a category, brand, title or attribute",
                0.5,
                0.9,
                "Most items are not described.",
                "Rule of thumb",
                unit=Unit.SHARE,
            ),
            Need(
                "items_new",
                "items first touched after the cut",
                100,
                1_000,
                "Too few new items come in to check it.",
                "Rule of thumb: a hit rate of 10 % is known to 6 points with 100 items and to 2 with 1,000",
            ),
        ),
    ),
    Question(
        "titles",
        "Similar items by text",
        "Find alike items by the words of their titles.",
        (
            Need(
                "items_titled_share",
                "of items have a title",
                0.5,
                0.9,
                "Most items have no title.",
                "Rule of thumb",
                unit=Unit.SHARE,
            ),
        ),
    ),
)

__all__ = ["QUESTIONS"]

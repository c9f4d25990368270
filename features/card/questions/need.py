"""What it takes to learn something: numbers with two bounds, and the works that the bounds come from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

#: The share of the events that lies before the cut between what is known and what is to be foretold.
CUT_SHARE = 0.8

#: Standard deviation between users of the difference of two arms' NDCG@20 that is taken for granted here; `stellar
#: compare` measures the real one.
NDCG_SD = 0.2

#: The traffic of an A/B test: users who did something in the last four weeks.
TRAFFIC_DAYS = 28

#: An interaction within this time of an impression of the same item counts as its reward.
REWARD_DAYS = 1

#: An item with fewer interactions is too rare to be told from chance: the usual filter of published comparisons.
FREQUENT = 5


class Unit(StrEnum):
    """How a number is written."""

    COUNT = "count"
    SHARE = "share"
    DAYS = "days"
    FLAG = "flag"
    NDCG = "ndcg"


#: Works that needs refer to, by the key used there.
SOURCES = {
    "kohavi2020": "Kohavi, Tang & Xu: Trustworthy Online Controlled Experiments. Cambridge University Press 2020, "
    "chapter 17.",
    "fader2005": "Fader, Hardie & Lee: “Counting Your Customers” the Easy Way. Marketing Science 24(2), 2005: 2,357 "
    "customers, 39 weeks to fit and 39 weeks to check.",
    "peduzzi1996": "Peduzzi, Concato, Kemper, Holford & Feinstein: A simulation study of the number of events per "
    "variable in logistic regression analysis. Journal of Clinical Epidemiology 49(12), 1996.",
    "hyndman2007": "Hyndman & Kostenko: Minimum sample size requirements for seasonal forecasting models. Foresight 6, "
    "2007: such bounds hold when noise is small.",
    "kang2018": "Kang & McAuley: Self-Attentive Sequential Recommendation. ICDM 2018: items with fewer than five "
    "actions are left out.",
    "siddiqi2006": "Siddiqi: Credit Risk Scorecards. Wiley 2006.",
    "yurdakul2020": "Yurdakul & Naranjo: Statistical properties of the population stability index. Journal of Risk "
    "Model Validation 14(4), 2020: quotes the reading by 0.1 and 0.25, and derives what chance does.",
    "saito2021": "Saito, Aihara, Matsutani & Narita: Open Bandit Dataset and Pipeline. NeurIPS Datasets and Benchmarks "
    "2021: logs of randomised policies with true propensities.",
}


@dataclass(frozen=True, slots=True)
class Need:
    """One number that a question takes.

    Attributes:
        figure: Key of ``features.card.evidence.evidence``.
        what: The number in words, as in "12 of what".
        weakly, yes: Bounds, inclusive; ``yes`` is the stricter one.
        lacking: What is said where not even ``weakly`` is met; a whole sentence.
        basis: Where the bounds come from.
        source: Key of ``SOURCES``, if there is one.
        unit: Of the number and the bounds.
        at_most: The number must be small, not large.
        unknown: What is said instead of ``lacking`` where there is no number.
    """

    figure: str
    what: str
    weakly: float
    yes: float
    lacking: str
    basis: str
    source: str = ""
    unit: Unit = Unit.COUNT
    at_most: bool = False
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """What may be learned: the answer is that of its least met need."""

    name: str
    title: str
    use: str
    needs: tuple[Need, ...]


#: Where times are made up, nothing that needs them can be learned.
REAL_TIMES = Need(
    "times_are_real",
    "times are those of the events",
    1,
    1,
    "The source made the times up: they tell an order at most.",
    "By definition",
    unit=Unit.FLAG,
)

__all__ = [
    "CUT_SHARE",
    "FREQUENT",
    "NDCG_SD",
    "REAL_TIMES",
    "REWARD_DAYS",
    "SOURCES",
    "TRAFFIC_DAYS",
    "Need",
    "Question",
    "Unit",
]

"""P(a household redeems a coupon of a campaign), campaign by campaign, as it could have been predicted at its start."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks.campaigns.arms import BASELINE, MODELS, ask_arms
from experiments.benchmarks.campaigns.pairs import Campaign, read_campaigns
from experiments.benchmarks.campaigns.report import Asked, row_of, terms_of
from experiments.benchmarks.machine import machine
from experiments.benchmarks.published.repeated import seeds_of
from experiments.statistics import paired_bootstrap
from features.dataset import Dataset
from features.engine import Engine
from features.errors import InputError
from features.home import home
from features.ingest import ingest
from features.instants import iso
from training.intent.contract import MIN_OUTCOMES
from training.train import Notify

SOURCE = "complete_journey"
DECIDES = "roc_auc"


def benchmark_campaigns(folder: Path, seeds: Iterable[int], notify: Notify) -> dict[str, Any]:
    """Every arm on every campaign at whose start enough was known, learning from the campaigns that had ended by then.

    The first half of these campaigns chooses the arm; what is reported is of the campaigns that begin after the last
    of that half has ended, so that the choice, too, could have been made in time.

    Args:
        folder: Of dunnhumby's Complete Journey.
        seeds: Of predictors and of the groups that calibrate them; figures are means over seeds.
        notify: Told (stage, done, of, metrics).

    Returns:
        ``rows``, one per arm: ``roc_auc`` within campaigns (see ``auc_terms``), ``pr_auc`` (mean over campaigns,
        weighted by their redeemers), ``brier`` and ``ece`` of all pairs; ``sd`` over campaigns; ``over_rfm``, the
        difference in ROC-AUC to the baseline with an interval over households, simultaneous over arms. ``chosen``: the
        arm that was best on ``validation``, with an interval of its own.

    Raises:
        InputError: Fewer than two campaigns can be answered, or none is left to report on.
    """
    chosen_seeds = seeds_of(seeds)
    campaigns = _campaigns(folder, notify)
    scorable = [one for one in campaigns if _learnable(campaigns, one)]
    validation = scorable[: (len(scorable) + 1) // 2]
    known_ms = max((one.end_ms for one in validation), default=0)
    test = [one for one in scorable if one.start_ms >= known_ms and one not in validation]
    if not test or not _compared(validation) or not _compared(test):
        rule = "must be enough to choose an arm on some and to report on later ones"
        raise InputError("campaigns", rule, len(campaigns), "give data of more campaigns")
    asked = []
    for number, one in enumerate([*validation, *test]):
        notify(f"campaign {one.name}", number, len(validation) + len(test), {})
        past = ended_before(campaigns, one)
        said = [ask_arms(past, one, seed, calibrate=one in test) for seed in chosen_seeds]
        pairs, redeemed = sum(len(p.rows) for p in past), sum(int(p.redeemed.sum()) for p in past)
        asked.append(Asked(one, pairs, redeemed, said))
    before, after = asked[: len(validation)], asked[len(validation) :]
    models = [name for name in MODELS if name != BASELINE]
    on_validation = {name: float(terms_of(before, name).mean()) for name in MODELS}
    best = max(models, key=lambda name: on_validation[name])
    terms = {name: terms_of(after, name) for name in MODELS}
    base = terms[BASELINE]
    over = paired_bootstrap(base, {name: terms[name] for name in models}, seed=0)
    alone = paired_bootstrap(base, {best: terms[best]}, seed=0)[best].as_json()
    return {
        "benchmark": "campaigns",
        "data": folder.name,
        "machine": machine(),
        "seeds": len(chosen_seeds),
        "decides": DECIDES,
        "pairs": sum(len(one.campaign.rows) for one in after),
        "redeemed": sum(int(one.campaign.redeemed.sum()) for one in after),
        "households": len(base),
        "validation": on_validation,
        "chosen": {"model": best, "roc_auc": float(terms[best].mean()), "over_rfm": alone},
        "rows": [row_of(after, name, over.get(name)) for name in MODELS],
        "campaigns": [_about(one, one.campaign in validation) for one in asked],
        "passed_over": [one.name for one in scorable if one not in validation and one not in test],
        "ratios": {"chosen_over_rfm": float(terms[best].mean() / base.mean())},
    }


def _campaigns(folder: Path, notify: Notify) -> list[Campaign]:
    home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=home()) as scratch, Engine.duckdb() as engine:
        notify("ingest", 0, 1, {})
        ingest(folder, SOURCE, Path(scratch) / "data")
        told = lambda stage, done, of: notify(f"features of {stage}", done, of, {})  # noqa: E731
        return read_campaigns(engine, Dataset.open(Path(scratch) / "data"), told)


def _learnable(campaigns: Sequence[Campaign], one: Campaign) -> bool:
    """Whether campaigns that had ended by its start had enough redeemers to learn from."""
    return sum(earlier.redeemed.sum() for earlier in ended_before(campaigns, one)) >= MIN_OUTCOMES


def ended_before(campaigns: Sequence[Campaign], one: Campaign) -> list[Campaign]:
    """The campaigns whose outcome was known when this one began."""
    return [earlier for earlier in campaigns if earlier.end_ms <= one.start_ms]


def _compared(campaigns: Sequence[Campaign]) -> bool:
    return any(0 < one.redeemed.sum() < len(one.redeemed) for one in campaigns)


def _about(one: Asked, validation: bool) -> dict[str, Any]:
    campaign = one.campaign
    return {
        "campaign": campaign.name,
        "kind": campaign.kind,
        "start": iso(campaign.start_ms),
        "end": iso(campaign.end_ms),
        "used_for": "choice" if validation else "report",
        "pairs": len(campaign.rows),
        "redeemed": int(campaign.redeemed.sum()),
        "learned_pairs": one.learned_pairs,
        "learned_redeemed": one.learned_redeemed,
    }


__all__ = ["DECIDES", "SOURCE", "benchmark_campaigns", "ended_before"]

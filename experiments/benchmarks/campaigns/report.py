"""The figures of each arm on the campaigns that are reported, and the benchmark as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from experiments.benchmarks.campaigns.arms import BASELINE, Said
from experiments.benchmarks.campaigns.judged import auc_of, auc_terms
from experiments.benchmarks.campaigns.pairs import Campaign
from experiments.benchmarks.cells import figure_cell, lift_cell
from experiments.benchmarks.machine import peak_mb
from experiments.statistics import Lift
from training.intent.predictor import Vector
from training.intent.reliability import brier, chance_calibration_error, expected_calibration_error


@dataclass(frozen=True, slots=True)
class Asked:
    """A campaign that was answered, once per seed."""

    campaign: Campaign
    learned_pairs: int
    learned_redeemed: int
    said: list[Said]


def terms_of(asked: Sequence[Asked], name: str) -> Vector:
    """(households,) terms of an arm's ROC-AUC within campaigns, in order of the household's id, averaged over seeds."""
    outcomes = [one.campaign.redeemed for one in asked]
    households = [one.campaign.rows.index.to_numpy(dtype=object) for one in asked]
    by_seed = zip(*([said.ranked[name] for said in one.said] for one in asked), strict=True)
    found: Vector = np.mean([auc_terms(scores, outcomes, households)[1] for scores in by_seed], axis=0)
    return found


def row_of(asked: Sequence[Asked], name: str, over: Lift | None) -> dict[str, Any]:
    """One arm's row; ``over`` is its difference to the baseline."""
    y = np.concatenate([one.campaign.redeemed for one in asked])
    compared = [one for one in asked if 0 < one.campaign.redeemed.sum() < len(one.campaign.redeemed)]
    redeemers = [one.campaign.redeemed.sum() for one in compared]
    by_campaign = {
        "roc_auc": [_mean(one, name, lambda said, y: auc_of(said, y)[0]) for one in compared],
        "pr_auc": [_mean(one, name, _average_precision) for one in compared],
    }
    seeds = range(len(asked[0].said))
    of_seed = [np.concatenate([one.said[seed].probability[name] for one in asked]) for seed in seeds]
    row = {
        "model": name,
        "metrics": {
            "roc_auc": float(terms_of(asked, name).mean()),
            "pr_auc": float(np.average(by_campaign["pr_auc"], weights=redeemers)),
            "brier": float(np.mean([brier(p, y) for p in of_seed])),
            "ece": float(np.mean([expected_calibration_error(p, y) for p in of_seed])),
            "ece_by_chance": float(np.mean([chance_calibration_error(p)[0] for p in of_seed])),
        },
        "sd": {metric: float(np.std(found, ddof=min(1, len(found) - 1))) for metric, found in by_campaign.items()},
        "by_campaign": {one.campaign.name: auc for one, auc in zip(compared, by_campaign["roc_auc"], strict=True)},
        "n": len(y),
        "seconds": float(np.mean([sum(one.said[seed].seconds[name] for one in asked) for seed in seeds])),
        "peak_mb": peak_mb(),
    }
    return row if over is None else row | {"over_rfm": over.as_json()}


def render_campaigns(result: dict[str, Any]) -> Table:
    """A line per arm: figures ± the deviation over campaigns, and how much its ROC-AUC is above the baseline's."""
    of_report = [one["campaign"] for one in result["campaigns"] if one["used_for"] == "report"]
    about = f"{result['data']}: {result['redeemed']} of {result['pairs']:,} households redeemed a coupon"
    chosen = result["chosen"]
    caption = f"chosen on earlier campaigns: {chosen['model']}, ROC-AUC over {BASELINE} {lift_cell(chosen['over_rfm'])}"
    table = Table(title=f"{about}, campaigns {', '.join(of_report)}", caption=caption)
    for column in ("model", "on validation", "roc auc", f"over {BASELINE}", "pr auc", "brier", "ece", "seconds"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for row in result["rows"]:
        figures = row["metrics"]
        ranked = [figure_cell(row, name, runs=len(row["by_campaign"])) for name in ("roc_auc", "pr_auc")]
        over = lift_cell(row.get("over_rfm"))
        numbers = [f"{figures[name]:.4f}" for name in ("brier", "ece")]
        validation = f"{result['validation'][row['model']]:.4f}"
        table.add_row(row["model"], validation, ranked[0], over, ranked[1], *numbers, f"{row['seconds']:,.0f}")
    return table


def _mean(one: Asked, name: str, metric: Callable[[Vector, Vector], float]) -> float:
    """Over seeds."""
    return float(np.mean([metric(said.ranked[name], one.campaign.redeemed) for said in one.said]))


def _average_precision(said: Vector, y: Vector) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(y, said))


__all__ = ["Asked", "render_campaigns", "row_of", "terms_of"]

"""Campaigns of a log, and of each the households it was sent to: what was known at its start, and who redeemed.

```
 earlier campaign    |start ........ end|
 this campaign                            |start ........ end|
                      features   outcome   features   asked
```
Features are as of a campaign's own start. Its outcome is known at its end, and nothing learns from it before.

Totals grow with the log, so that the same number says less at a later start: numbers of the user matrix are read as
shares, among all users known at that instant, of those who have less.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from features.dataset import Dataset
from features.engine import Engine
from features.errors import InputError
from features.instants import iso
from features.schema import DAY_MS, Columns, EventType
from features.snapshot import build_snapshot
from training.intent.fit import readable_columns
from training.intent.predictor import Vector

#: The baseline's columns of a user matrix: recency, frequency, monetary value.
RFM = ("purchase_recency_days", "frequency", "monetary_cents")
HISTORY = ("campaigns_received", "campaigns_redeemed", "share_redeemed", "coupons_redeemed", "redemption_recency_days")

#: Told a campaign's name, how many are read, and of how many.
Told = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Campaign:
    """One campaign and its households.

    Attributes:
        name, kind: As its messages tell.
        start_ms: When it was sent.
        end_ms: The first instant at which nobody can redeem any more: who has not done so never did.
        rows: What was known of each household at the start, by ``user_id``.
        redeemed: (n,) float64, 1 for whoever redeemed at least one of its coupons.
    """

    name: str
    kind: str
    start_ms: int
    end_ms: int
    rows: pd.DataFrame
    redeemed: Vector


@dataclass(frozen=True, slots=True)
class Sent:
    """What a log says of its campaigns, by household, campaign and time.

    Attributes:
        messages: ``user_id``, ``ts``, ``campaign_id``, ``campaign_type`` and ``end_ms``.
        redemptions: ``user_id``, ``ts`` and ``campaign_id``; a row per coupon.
        first_purchase_ms, until_ms: What is known of purchases begins and ends here.
    """

    messages: pd.DataFrame
    redemptions: pd.DataFrame
    first_purchase_ms: int
    until_ms: int


def read_campaigns(engine: Engine, dataset: Dataset, told: Told = lambda *_: None) -> list[Campaign]:
    """All campaigns that began when something was known and ended within the data, in order of start.

    Raises:
        InputError: There is none.
    """
    sent = read_sent(engine, dataset)
    about = sent.messages.groupby("campaign_id", sort=True).first().sort_values([Columns.TS, "end_ms"], kind="stable")
    usable = about[(about[Columns.TS] > sent.first_purchase_ms) & (about["end_ms"] <= sent.until_ms)]
    if usable.empty:
        span = f"{iso(sent.first_purchase_ms)} to {iso(sent.until_ms)}"
        raise InputError("campaigns", "must begin and end within the purchases", span, "give data of more campaigns")
    known: dict[int, pd.DataFrame] = {}
    campaigns = []
    for number, (name, row) in enumerate(usable.iterrows()):
        told(f"campaign {name}", number, len(usable))
        start_ms = int(row[Columns.TS])
        if start_ms not in known:
            known[start_ms] = as_shares(readable_columns(build_snapshot(engine, dataset, start_ms).user_matrix))
        households = sorted(map(str, sent.messages.loc[sent.messages["campaign_id"] == name, Columns.USER_ID]))
        rows = known[start_ms].reindex(households)
        rows = rows.assign(campaign_type=str(row["campaign_type"]), **history(sent, households, start_ms))
        used = sent.redemptions.loc[sent.redemptions["campaign_id"] == name, Columns.USER_ID]
        redeemed = rows.index.isin(used).astype(np.float64)
        campaigns.append(Campaign(str(name), str(row["campaign_type"]), start_ms, int(row["end_ms"]), rows, redeemed))
    return campaigns


def as_shares(users: pd.DataFrame) -> pd.DataFrame:
    """Numbers replaced by their mean rank over the number of known values, in (0, 1]; texts and missing values stay.

    >>> as_shares(pd.DataFrame({"orders": [5, 0, 0, 9]}))["orders"].tolist()
    [0.75, 0.375, 0.375, 1.0]
    """
    numbers = [name for name in users if is_numeric_dtype(users[name])]
    return users.assign(**{str(name): users[name].astype(np.float64).rank(pct=True) for name in numbers})


def read_sent(engine: Engine, dataset: Dataset) -> Sent:
    """Messages and redemptions of campaigns.

    Raises:
        InputError: The log has no messages of campaigns, or one household is sent the same twice.
    """
    events = dataset.events(engine)
    kind = events[Columns.EVENT_TYPE]
    asked = events.filter(kind.isin([EventType.MESSAGE.value, EventType.REDEMPTION.value]))
    found: pd.DataFrame = engine.to_pandas(
        asked.select(Columns.USER_ID, Columns.TS, Columns.EVENT_TYPE, Columns.PROPERTIES)
    )
    told = pd.DataFrame([json.loads(text) for text in found[Columns.PROPERTIES]], index=found.index)
    wanted = {"campaign_id", "campaign_type", "end_date"}
    if not wanted <= set(told):
        raise InputError("events: properties", f"must tell {', '.join(sorted(wanted))} of messages", list(told))
    found = found.drop(columns=Columns.PROPERTIES).join(told)
    of_message = found[Columns.EVENT_TYPE] == EventType.MESSAGE.value
    messages, redemptions = found[of_message], found[~of_message]
    if messages.duplicated([Columns.USER_ID, "campaign_id"]).any():
        raise InputError("events: message", "must be one per household and campaign")
    last_day = pd.to_datetime(messages["end_date"]).to_numpy().astype("datetime64[ms]").astype(np.int64)
    first = events.filter(kind == EventType.PURCHASE.value)[Columns.TS].min()
    columns = [Columns.USER_ID, Columns.TS, "campaign_id"]
    return Sent(
        messages.assign(end_ms=last_day + DAY_MS)[[*columns, "campaign_type", "end_ms"]],
        redemptions[columns],
        int(engine.value(first)),
        (dataset.last_ms // DAY_MS + 1) * DAY_MS,
    )


def history(sent: Sent, households: list[str], as_of_ms: int) -> dict[str, Vector]:
    """``HISTORY`` of households, (n,) float64 each, from what happened before an instant; NaN where there is nothing.

    A campaign counts as redeemed with the first of its coupons, whether it has ended or not.
    """
    messages = sent.messages[sent.messages[Columns.TS] < as_of_ms]
    used = sent.redemptions[sent.redemptions[Columns.TS] < as_of_ms]
    by_household = used.groupby(Columns.USER_ID)
    ids = pd.Index(households)
    received = _floats(messages.groupby(Columns.USER_ID).size().reindex(ids, fill_value=0))
    redeemed = _floats(by_household["campaign_id"].nunique().reindex(ids, fill_value=0))
    latest = _floats(by_household[Columns.TS].max().reindex(ids))
    with np.errstate(invalid="ignore"):
        share = redeemed / received
    return {
        "campaigns_received": received,
        "campaigns_redeemed": redeemed,
        "share_redeemed": np.where(received > 0, share, np.nan),
        "coupons_redeemed": _floats(by_household.size().reindex(ids, fill_value=0)),
        "redemption_recency_days": np.floor((as_of_ms - latest) / DAY_MS),
    }


def _floats(values: pd.Series) -> Vector:
    return np.asarray(values.to_numpy(), dtype=np.float64)


__all__ = ["HISTORY", "RFM", "Campaign", "Sent", "as_shares", "history", "read_campaigns", "read_sent"]

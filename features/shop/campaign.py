"""A randomised mailing over the users of a simulated shop, with a planted effect per user that tests may ask for.

It happens at the end of the shop's log. Everybody who allows e-mail and came before takes part; a coin decides who is
mailed. In the two weeks after, a participant visits or does not, and of the visits some end in a purchase.

What mailing changes in the chance of a visit is planted in percentage points, about as large as in published tests
(MineThatData's: 10.6 % of the control visit, 4.5 and 7.7 points more of the mailed): it grows with the interest in the
category that the arm promotes, is largest for those who came some weeks ago, and differs by age. Sure visitors come
anyway; those who bought lately and come often are put off. Part of it is noise that no model can see.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from features.errors import ConflictError, InputError
from features.schema import DAY_MS, INTERACTIONS, Columns, EventType, Purpose
from features.shop.log import SCHEMA
from features.shop.shop import Shop

Doubles = NDArray[np.float64]

#: Outcomes are counted this long after the mailing.
WINDOW_DAYS = 14

#: The word for whoever takes part and is not mailed.
CONTROL = "control"

#: What each arm in turn promotes.
PROMOTED = ("grocery", "household")

#: The largest loss and gain that a message makes, as shares of users who visit.
LEAST, MOST = -0.03, 0.12

_LOOKBACK_DAYS = 90
_NEVER_DAYS = 120
_BY_AGE = {"18-24": 0.015, "25-34": 0.008, "55+": -0.012}
_CAMPAIGN_STREAM = 3


class CampaignConfig(BaseModel):
    """Who is mailed and how much is planted; effects are in shares of users."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=0, ge=0)
    arms: tuple[str, ...] = Field(default=("mailing",), min_length=1, max_length=len(PROMOTED))
    mailed: float = Field(default=0.5, gt=0, lt=1, description="share of participants who are mailed, arms alike")
    null: bool = Field(default=False, description="messages change nothing")
    interest: float = Field(default=0.09, ge=0, description="gain of whoever looks at nothing but what is promoted")
    lapsed: float = Field(default=0.06, ge=0, description="gain of those who came about five weeks ago")
    put_off: float = Field(default=0.06, ge=0, description="loss of those who bought lately and come often")
    unseen: float = Field(default=0.01, ge=0, description="spread of what no model can see of the effect")


@dataclass(frozen=True, slots=True)
class Campaign:
    """Who took part, what became of them, and the truth behind it.

    Attributes:
        mailed_ms: The instant of the mailing, the end of the shop's log.
        participants: One row per participant: ``user_id``, ``arm``, ``visit`` and ``purchase`` (bool).
        visit_chance: (n,) of each participant if not mailed.
        uplift: Arm to (n,) the change that its message makes in the chance of a visit.
        purchase_uplift: Arm to (n,) the same of a purchase.
        propensity: The chance of each arm, ``CONTROL`` among them.
        events: Message, visit and purchase rows after the mailing, in order of time.
    """

    mailed_ms: int
    participants: pd.DataFrame
    visit_chance: Doubles
    uplift: dict[str, Doubles]
    purchase_uplift: dict[str, Doubles]
    propensity: dict[str, float]
    events: pd.DataFrame

    def append(self, folder: Path) -> int:
        """Add the rows to ``events.parquet`` of a folder that the shop wrote; returns how many there are then.

        Raises:
            ConflictError: A campaign has been added already.
        """
        path = folder / "events.parquet"
        log = pq.read_table(path)
        if Columns.PROPERTIES in log.column_names:
            raise ConflictError(str(path), "must be as the shop wrote it", "a log with a campaign", "write it anew")
        schema = SCHEMA.append(pa.field(Columns.PROPERTIES, pa.string()))
        log = log.append_column(schema.field(Columns.PROPERTIES), pa.nulls(len(log), pa.string()))
        both = pa.concat_tables([log, pa.Table.from_pandas(self.events, schema, preserve_index=False)])
        part = path.with_name(path.name + ".part")
        pq.write_table(both, part, compression="zstd")
        os.replace(part, path)
        return len(both)


def run_campaign(shop: Shop, folder: Path, config: CampaignConfig) -> Campaign:
    """Mail some of a shop's users at the end of its log and see what they do.

    Args:
        shop: Whose users they are.
        folder: Where ``shop.write`` has put its log; it is read, not changed.
        config: With equal seeds the null campaign mails the same users as the one with effects.

    Raises:
        InputError: The log has no events.
    """
    rng = np.random.default_rng([shop.config.seed, _CAMPAIGN_STREAM, config.seed])
    mailed_ms = shop.config.end_ms
    past = _past(shop, folder / "events.parquet", mailed_ms)
    n = len(past)
    drawn, luck, unseen = rng.random(n), rng.random((2, n)), rng.standard_normal((2, n))
    names = np.array([*config.arms, CONTROL], dtype=object)
    shares = np.append(np.full(len(config.arms), config.mailed / len(config.arms)), 1 - config.mailed)
    arm = np.searchsorted(np.cumsum(shares)[:-1], drawn, side="right")
    base = _base(past, unseen[0])
    changes = [
        np.zeros(n) if config.null else _effect(past, past[f"share:{promoted}"].to_numpy(), base, unseen[1], config)
        for promoted, _ in zip(PROMOTED, config.arms, strict=False)
    ]
    chance = base + np.stack([*changes, np.zeros(n)])[arm, np.arange(n)]
    buys = 0.08 + 0.05 * (past["days"].to_numpy() >= 3) + 0.06 * (past["bought_days"].to_numpy() < _NEVER_DAYS)
    visit = luck[0] < chance
    participants = pd.DataFrame(
        {
            Columns.USER_ID: past.index.to_numpy(dtype=object),
            Columns.ARM: names[arm],
            "visit": visit,
            "purchase": visit & (luck[1] < buys),
        }
    )
    return Campaign(
        mailed_ms,
        participants,
        base,
        dict(zip(config.arms, changes, strict=True)),
        {name: buys * change for name, change in zip(config.arms, changes, strict=True)},
        dict(zip(names, shares.tolist(), strict=True)),
        _events(shop, participants, mailed_ms, rng),
    )


def _past(shop: Shop, path: Path, mailed_ms: int) -> pd.DataFrame:
    """One row per participant: what the log and the shop's books say of them before the mailing."""
    read = [Columns.USER_ID, Columns.ITEM_ID, Columns.EVENT_TYPE, Columns.TS]
    log = pd.read_parquet(path, columns=read)
    if log.empty:
        raise InputError(str(path), "must have events", mend="write the shop first")
    users = shop.users.set_index(Columns.USER_ID)
    users = users[users[Columns.CONSENTS].str.split(",").map(lambda granted: Purpose.EMAIL.value in granted)]
    log = log[log[Columns.EVENT_TYPE].isin([kind.value for kind in INTERACTIONS])]
    age = (mailed_ms - log[Columns.TS]) // DAY_MS
    bought = log[Columns.EVENT_TYPE] == EventType.PURCHASE.value
    users["age_days"] = age.groupby(log[Columns.USER_ID]).min()
    users["bought_days"] = age[bought].groupby(log.loc[bought, Columns.USER_ID]).min()
    late = log[age < _LOOKBACK_DAYS].assign(age=age)
    users["days"] = late.groupby(Columns.USER_ID)["age"].nunique()
    top = late[Columns.ITEM_ID].map(shop.items.set_index(Columns.ITEM_ID)[Columns.CATEGORY].str.split("/").str[0])
    for promoted in PROMOTED:
        users[f"share:{promoted}"] = (top == promoted).groupby(late[Columns.USER_ID]).mean()
    nothing = {"age_days": _NEVER_DAYS, "bought_days": _NEVER_DAYS, "days": 0}
    return users.fillna(nothing | {f"share:{promoted}": 0.0 for promoted in PROMOTED})


def _base(past: pd.DataFrame, unseen: Doubles) -> Doubles:
    """(n,) the chance of a visit without a message: more for those who come often and came lately."""
    logit = -2.0 + 0.5 * np.log1p(past["days"].to_numpy()) - 0.35 * np.log1p(past["age_days"].to_numpy() / 14)
    chance: Doubles = 1 / (1 + np.exp(-(logit + 0.4 * unseen)))
    return chance


def _effect(past: pd.DataFrame, interest: Doubles, base: Doubles, unseen: Doubles, config: CampaignConfig) -> Doubles:
    """(n,) what a message adds to the chance of a visit."""
    age_days = past["age_days"].to_numpy()
    lapsed = np.exp(-(((np.log1p(age_days) - np.log1p(35)) / 0.7) ** 2))
    put_off = (past["bought_days"].to_numpy() < 14) & (past["days"].to_numpy() >= 2)
    by_age = past["age_band"].map(_BY_AGE).fillna(0.0).to_numpy(dtype=np.float64)
    gain = config.interest * interest + config.lapsed * lapsed + by_age - config.put_off * put_off
    # Of those who come anyway there is nothing to gain, only to lose.
    anyway = 1 / (1 + np.exp(-(base - 0.3) / 0.04))
    gain = np.where(gain > 0, gain * (1 - anyway), gain) + config.unseen * unseen
    effect: Doubles = np.clip(gain, np.maximum(LEAST, 0.005 - base), np.minimum(MOST, 0.995 - base))
    return effect


def _events(shop: Shop, participants: pd.DataFrame, mailed_ms: int, rng: np.random.Generator) -> pd.DataFrame:
    """Rows of the contract's events; what is bought is any item of the shop, at its price."""
    n = len(participants)
    came_ms = mailed_ms + 60_000 + np.floor(rng.random(n) * (WINDOW_DAYS * DAY_MS - 7_200_000)).astype(np.int64)
    item = rng.integers(0, len(shop.items), n)
    goods = shop.items.iloc[item]
    arm = participants[Columns.ARM].to_numpy()
    user = participants[Columns.USER_ID].to_numpy()
    properties = {name: json.dumps({"arm": name}) for name in set(arm) - {CONTROL}}
    order = "c" + pd.Series(user)
    parts = [
        (arm != CONTROL, EventType.MESSAGE, np.full(n, mailed_ms), {}),
        (participants["visit"].to_numpy(), EventType.VISIT, came_ms, {}),
        (
            participants["purchase"].to_numpy(),
            EventType.PURCHASE,
            came_ms + 60_000 + rng.integers(0, 1_800_000, n),
            {
                Columns.ITEM_ID: goods[Columns.ITEM_ID].to_numpy(),
                Columns.ORDER_ID: order.to_numpy(),
                Columns.QUANTITY: np.ones(n, dtype=np.int64),
                Columns.UNIT_PRICE_CENTS: goods[Columns.PRICE_CENTS].to_numpy(),
            },
        ),
    ]
    rows = []
    for chosen, kind, ts, more in parts:
        columns = {Columns.USER_ID: user, Columns.TS: ts, **more}
        part = pd.DataFrame({name: values[chosen] for name, values in columns.items()})
        part[Columns.EVENT_ID] = f"{kind.value}-" + part[Columns.USER_ID]
        part[Columns.EVENT_TYPE] = kind.value
        if kind is EventType.MESSAGE:
            part[Columns.PROPERTIES] = [properties[name] for name in arm[chosen]]
        rows.append(part)
    events = pd.concat(rows, ignore_index=True).reindex(columns=[*SCHEMA.names, Columns.PROPERTIES])
    for name in (Columns.QUANTITY, Columns.UNIT_PRICE_CENTS):
        events[name] = events[name].astype("Int64")
    return events.sort_values([Columns.TS, Columns.EVENT_ID], kind="stable", ignore_index=True)


__all__ = ["CONTROL", "LEAST", "MOST", "PROMOTED", "WINDOW_DAYS", "Campaign", "CampaignConfig", "run_campaign"]

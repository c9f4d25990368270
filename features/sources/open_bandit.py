"""Open Bandit (small): what two policies of a fashion shop displayed, with what probability, and what was clicked."""

from __future__ import annotations

from pathlib import Path

import ibis

from features.engine import SOURCE_ROW, Engine
from features.schema import Columns, EventType, Level
from features.sources.published import Kind, epoch_ms, origin, read_columns, stacked

DESCRIPTION = (
    "Open Bandit, women's campaign: impressions of two policies with propensities and clicks; "
    "files random_women.parquet, bts_women.parquet, random_women_item_context.parquet"
)
POLICIES = {
    "impressions": "each row is a request of its own for one position, which is the rank; the arm is random (uniform) "
    "or bernoulli_ts (Thompson sampling); propensity_score is the propensity, and stands in for the unknown score",
    "users": "are unknown: each row is a user of its own, whose four hashed features hold from just before it",
    "clicks": "are views one millisecond after their impression, whose request_id they have in properties; the real "
    "time of a click is unknown",
    "user-item_affinity": "is not read: counts of a user's past clicks without their times are no events",
    "items": "hold from the beginning; item_feature_0 to 3 are attributes; the category is unknown",
    "bts_women_item_context.parquet": "is not read: it describes the same items with other hashes",
    "time": "is UTC as written; any other zone breaks the contract",
    "order inside a visit": "means nothing: no visits are known",
    "small effects": "differences between good methods are below the noise: intervals are the result",
}
ORDER_WITHIN_SESSION = False

_ARMS = {"random": "random_women.parquet", "bernoulli_ts": "bts_women.parquet"}
_FEATURES = tuple(f"user_feature_{i}" for i in range(4))
_KINDS = {
    "timestamp": Kind.TEXT,
    "item_id": Kind.INTEGER,
    "position": Kind.INTEGER,
    "click": Kind.INTEGER,
    "propensity_score": Kind.NUMBER,
} | dict.fromkeys(_FEATURES, Kind.TEXT)
_ITEM_KINDS = {"item_id": Kind.INTEGER, "item_feature_0": Kind.NUMBER} | {
    f"item_feature_{i}": Kind.TEXT for i in range(1, 4)
}


def read(engine: Engine, folder: Path) -> dict[str, ibis.Table]:
    """Impressions of both policies, clicks as views, a user per impression, and the items."""
    shown = stacked(*(_shown(read_columns(engine, folder, file, _KINDS), arm) for arm, file in _ARMS.items()))
    items = read_columns(engine, folder, "random_women_item_context.parquet", _ITEM_KINDS)
    return {
        "events": _clicks(engine, shown),
        "items": _items(items),
        "users": shown.select(
            shown[Columns.USER_ID],
            (shown[Columns.TS] - 1).name(Columns.VALID_FROM),
            *_FEATURES,
            **origin(shown),
        ),
        "impressions": _impressions(shown),
    }


def _shown(rows: ibis.Table, arm: str) -> ibis.Table:
    request = f"{arm}-" + rows[SOURCE_ROW].cast("string")
    time = rows["timestamp"]
    utc = ibis.ifelse(time.endswith("+00:00"), time.substr(0, time.length() - 6), ibis.null("string"))
    return rows.mutate(
        **{
            Columns.REQUEST_ID: request,
            Columns.USER_ID: request,
            Columns.ITEM_ID: rows["item_id"].cast("string"),
            Columns.TS: epoch_ms(utc.try_cast("timestamp")),
            Columns.ARM: ibis.literal(arm),
        }
    )


def _impressions(shown: ibis.Table) -> ibis.Table:
    return shown.select(
        *(Columns.REQUEST_ID, Columns.USER_ID, Columns.ITEM_ID, Columns.ARM, Columns.TS),
        **{
            Columns.SURFACE: ibis.literal("women"),
            Columns.RANK: shown["position"],
            Columns.SCORE: shown["propensity_score"],
            Columns.LEVEL: ibis.literal(Level.POPULAR.value),
            Columns.PROPENSITY: shown["propensity_score"],
            Columns.BUNDLE_DIGEST: "open_bandit:" + shown[Columns.ARM],
        },
        **origin(shown),
    )


def _clicks(engine: Engine, shown: ibis.Table) -> ibis.Table:
    clicked = shown.filter(shown["click"] != 0)
    return clicked.select(
        *(Columns.USER_ID, Columns.ITEM_ID),
        **{
            Columns.EVENT_ID: "click-" + clicked[Columns.REQUEST_ID],
            Columns.EVENT_TYPE: ibis.literal(EventType.VIEW.value),
            Columns.TS: clicked[Columns.TS] + 1,
            Columns.PROPERTIES: engine.as_json(ibis.struct({"request_id": clicked[Columns.REQUEST_ID]})),
        },
        **origin(clicked),
    )


def _items(rows: ibis.Table) -> ibis.Table:
    return rows.select(
        **{
            Columns.ITEM_ID: rows["item_id"].cast("string"),
            Columns.VALID_FROM: ibis.literal(0, "int64"),
            Columns.CATEGORY: ibis.literal("unknown"),
            Columns.AVAILABLE: ibis.literal(True),
        },
        **{name: rows[name].cast("string") for name in _ITEM_KINDS if name != "item_id"},
        **origin(rows),
    )


__all__ = ["DESCRIPTION", "ORDER_WITHIN_SESSION", "POLICIES", "read"]

"""A basis as of an instant: from the whole log, or from an earlier basis and what has come since. Both are equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import ibis.expr.types as ir
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from features.aggregates import Aggregates, aggregate, channels_of
from features.audience import Audience
from features.basis import Basis, count_interactions, digest_catalogue, parts_of
from features.catalogue import Catalogue
from features.cells import Cells
from features.contracts import EVENTS, IMPRESSIONS
from features.dataset import Dataset
from features.engine import Engine
from features.ids import Vocabulary
from features.log import read_log
from features.schema import DAY_MS, SESSION_GAP_S, Columns, EventType
from features.titles import TitleSpace

#: Told the name of each part of long work before it begins.
Notify = Callable[[str], None]


@dataclass(frozen=True)
class _Tables:
    """The tables of a data set, and the numbers that everything is counted in."""

    engine: Engine
    dataset: Dataset
    as_of_ms: int
    events: ir.Table
    impressions: ir.Table
    audience: Audience
    catalogue: Catalogue

    @classmethod
    def read(cls, engine: Engine, dataset: Dataset, as_of_ms: int) -> _Tables:
        events, shown = dataset.events(engine), dataset.impressions(engine)
        if shown is None:
            shown = engine.memtable(IMPRESSIONS.arrow_schema().empty_table())
        items = engine.to_pandas(dataset.items(engine))
        shown_items = engine.to_arrow(shown.select(Columns.ITEM_ID).distinct())[Columns.ITEM_ID].to_pylist()
        return cls(
            engine,
            dataset,
            as_of_ms,
            events.filter(events[Columns.TS] < as_of_ms),
            shown.filter(shown[Columns.TS] < as_of_ms),
            Audience.read(engine, events, dataset.users(engine), shown, as_of_ms),
            Catalogue.of(items, shown_items, as_of_ms),
        )

    def summed(
        self, log: ir.Table, impressions: ir.Table, audience: Audience, channels: Vocabulary, notify: Notify
    ) -> Aggregates:
        """Everything added up, in these numbers."""
        return aggregate(self.engine, log, impressions, audience, self.catalogue, channels, self.as_of_ms, notify)


def add_up(
    engine: Engine, dataset: Dataset, as_of_ms: int, since: Basis | None, notify: Notify
) -> tuple[Basis, Catalogue]:
    """Everything before ``as_of_ms`` added up, and the catalogue as it stood.

    Args:
        since: Sums to continue from; whatever does not fit them (see ``refusal``) makes a full build of it.
        notify: Told what is done.
    """
    notify("identities and consents")
    tables = _Tables.read(engine, dataset, as_of_ms)
    why = None if since is None else refusal(since, tables.audience.users, tables.catalogue, dataset, as_of_ms)
    if since is None or why is not None:
        if why is not None:
            notify(f"all events: {why}")
        aggregates, interactions = _all(tables, notify)
    else:
        aggregates, interactions = _continued(tables, since, notify)
    notify("titles")
    titles = TitleSpace.learned(tables.catalogue, as_of_ms, None if since is None else since.titles)
    basis = Basis(
        as_of_ms,
        parts_of(dataset),
        digest_catalogue(tables.catalogue, as_of_ms),
        tables.audience,
        tables.catalogue.items,
        aggregates,
        interactions,
        titles,
    )
    return basis, tables.catalogue


def refusal(since: Basis, users: Vocabulary, catalogue: Catalogue, dataset: Dataset, as_of_ms: int) -> str | None:
    """Why earlier sums cannot be continued, if so."""
    if as_of_ms < since.as_of_ms:
        return "the earlier snapshot is later"
    if (as_of_ms - since.as_of_ms) % DAY_MS:
        return "the earlier snapshot ends its days at another time"
    for log, parts in parts_of(dataset).items():
        if any(parts.get(name) != digest for name, digest in since.parts.get(log, {}).items()):
            return f"parts of the {log} have changed"
    if (catalogue.items.encode(since.items.ids) < 0).any() or (users.encode(since.audience.users.ids) < 0).any():
        return "users or items have vanished"
    if digest_catalogue(catalogue, since.as_of_ms) != since.catalogue_digest:
        return "what items were before the earlier snapshot has changed"
    return None


def _all(tables: _Tables, notify: Notify) -> tuple[Aggregates, sparse.csr_array]:
    notify("log")
    log = read_log(tables.engine, tables.events, tables.audience, tables.catalogue, tables.as_of_ms)
    channels = Vocabulary(sorted(channels_of(tables.engine, log)))
    aggregates = tables.summed(log, tables.impressions, tables.audience, channels, notify)
    return aggregates, count_interactions(aggregates.timeline, len(tables.catalogue.items))


def _continued(tables: _Tables, since: Basis, notify: Notify) -> tuple[Aggregates, sparse.csr_array]:
    """Earlier sums, plus what is new, with the users *reopened* whose past has changed.

    A past changes by late events, lines added to an earlier order, merges and their undoing, and consents. Of a
    reopened user everything is taken away as it was known, and added as it is known now. Of the others the last minutes
    before the earlier instant are taken away and added too, so that sessions that go on are not begun twice.
    """
    notify("what is new")
    engine, then_ms = tables.engine, since.as_of_ms
    earlier, before = _renumbered(since, tables)
    old_events, new_events = _halves(tables, EVENTS.name, tables.events, since)
    old_shown, new_shown = _halves(tables, IMPRESSIONS.name, tables.impressions, since)
    reopened = before.changed(tables.audience)
    # Whoever is new has no past that could change.
    reopened &= since.audience.users.encode(tables.audience.users.ids) >= 0
    reopened |= _touched(tables, old_events, new_events, then_ms)
    # Whoever is read under a reopened user's number is reopened with it.
    owners = np.union1d(before.numbers[reopened], tables.audience.numbers[reopened])
    owners = owners[owners >= 0]
    reopened |= np.isin(before.numbers, owners) | np.isin(tables.audience.numbers, owners)
    old_events, old_shown = _read_again(tables, old_events, old_shown, reopened, then_ms)
    lost = read_log(engine, old_events, before, tables.catalogue, tables.as_of_ms)
    won = read_log(engine, old_events.union(new_events), tables.audience, tables.catalogue, tables.as_of_ms)
    channels = earlier.labels["channel"].ids.tolist()
    channels = Vocabulary(sorted({*channels, *channels_of(engine, lost), *channels_of(engine, won)}))
    earlier = _with_channels(earlier, channels, len(tables.audience.users))
    minus = tables.summed(lost, old_shown, before, channels, lambda _: None)
    plus = tables.summed(won, old_shown.union(new_shown), tables.audience, channels, notify)
    n_items = len(tables.catalogue.items)
    interactions = since.interactions
    if (len(tables.audience.users), n_items) != interactions.shape:
        interactions = count_interactions(earlier.timeline, n_items)
    interactions = interactions + (
        count_interactions(plus.timeline, n_items) - count_interactions(minus.timeline, n_items)
    )
    interactions.eliminate_zeros()
    added = plus.timeline
    fresh = (added.ts >= then_ms) | np.repeat(reopened, np.diff(added.offsets))
    kept = earlier.timeline.without(reopened) if reopened.any() else earlier.timeline
    timeline = kept.followed_by(added.where(fresh))
    return replace(earlier.plus(plus.plus(minus, -1)), timeline=timeline), interactions


def _read_again(
    tables: _Tables, events: ir.Table, shown: ir.Table, reopened: NDArray[np.bool_], then_ms: int
) -> tuple[ir.Table, ir.Table]:
    """What of the earlier events and impressions is taken away and added again; scanned once and kept."""
    engine, user = tables.engine, Columns.USER_ID
    recent = events.filter(events[Columns.TS] >= then_ms - SESSION_GAP_S * 1000)
    if not reopened.any():
        return engine.keep(recent), shown.limit(0)
    again = engine.memtable(pd.DataFrame({"again_id": tables.audience.users.ids[reopened]}, dtype="str"))
    shown_again = engine.keep(shown.semi_join(again, shown[user] == again["again_id"]))
    # One column is soon gone through, and on most days none of them has done anything yet.
    ids = events.select(user)
    active = engine.to_arrow(ids.semi_join(again, ids[user] == again["again_id"]).distinct())
    if not len(active):
        return engine.keep(recent), shown_again
    again = engine.memtable(active.rename_columns(["again_id"]))
    others = recent.anti_join(again, recent[user] == again["again_id"])
    return engine.keep(others.union(events.semi_join(again, events[user] == again["again_id"]))), shown_again


def _halves(tables: _Tables, log: str, rows: ir.Table, since: Basis) -> tuple[ir.Table, ir.Table]:
    """The rows that the earlier basis knew, and the others before the instant, which are kept."""
    known = list(since.parts.get(log, {}))
    fresh = [part.name for part in tables.dataset.parts(log) if part.name not in known]
    if not known and not fresh:
        return rows.limit(0), rows
    old = tables.dataset.read_parts(tables.engine, log, known)
    new = tables.dataset.read_parts(tables.engine, log, fresh)
    ts = Columns.TS
    later = old.filter(old[ts] >= since.as_of_ms, old[ts] < tables.as_of_ms)
    return old.filter(old[ts] < since.as_of_ms), tables.engine.keep(later.union(new.filter(new[ts] < tables.as_of_ms)))


def _touched(tables: _Tables, old: ir.Table, new: ir.Table, then_ms: int) -> NDArray[np.bool_]:
    """(n,) ids whose past has new events, late ones or lines of an order that was there."""
    engine, user = tables.engine, Columns.USER_ID
    ids = set(engine.to_arrow(new.filter(new[Columns.TS] < then_ms).select(user).distinct())[user].to_pylist())
    named = new.filter(new[Columns.EVENT_TYPE] == EventType.PURCHASE.value, new[Columns.ORDER_ID].notnull())
    orders = engine.to_arrow(named.select(Columns.ORDER_ID).distinct())
    if len(orders):
        known = old.filter(old[Columns.ORDER_ID].notnull())
        wanted = engine.memtable(orders.rename_columns(["wanted_order"]))
        gone_on = known.semi_join(wanted, known[Columns.ORDER_ID] == wanted["wanted_order"])
        ids |= set(engine.to_arrow(gone_on.select(user).distinct())[user].to_pylist())
    touched = np.zeros(len(tables.audience.users), dtype=bool)
    touched[tables.audience.users.encode(sorted(ids))] = True
    return touched


def _renumbered(since: Basis, tables: _Tables) -> tuple[Aggregates, Audience]:
    """The earlier sums and audience in today's numbers."""
    sums, labels = since.aggregates, since.aggregates.labels
    users, items = tables.audience.users, tables.catalogue.items
    to_users, to_items = users.encode(since.audience.users.ids), items.encode(since.items.ids)
    today = {"category_top": tables.catalogue.categories, "brand": tables.catalogue.brands}
    today = {**labels, **today}
    n_old, n_new = len(since.audience.users), len(users)
    if (
        n_old == n_new
        and len(items) == len(since.items)
        and all(len(today[name]) == len(labels[name]) for name in today)
    ):
        return replace(sums, labels=today), since.audience
    pairs = sums.bought.rows
    moved = replace(
        sums,
        users={stream: cells.renumbered(to_users) for stream, cells in sums.users.items()},
        items={stream: cells.renumbered(to_items) for stream, cells in sums.items.items()},
        labels=today,
        affinities={
            name: _relabelled(cells, labels[name], today[name], to_users) for name, cells in sums.affinities.items()
        },
        bought=replace(sums.bought, rows=to_items[pairs // n_old].astype(np.int64) * n_new + to_users[pairs % n_old]),
        timeline=sums.timeline.renumbered(to_users.astype(np.int64), n_new, to_items),
    )
    return moved, since.audience.renumbered(users)


def _relabelled(cells: Cells, labels: Vocabulary, today: Vocabulary, users: NDArray[np.int32]) -> Cells:
    if not len(cells):
        return cells
    codes = today.encode(labels.ids)
    rows = users[cells.rows // len(labels)].astype(np.int64) * len(today) + codes[cells.rows % len(labels)]
    return replace(cells, rows=rows)


def _with_channels(sums: Aggregates, channels: Vocabulary, n_users: int) -> Aggregates:
    own = sums.labels["channel"]
    if len(own) == len(channels):
        return sums
    same = np.arange(n_users, dtype=np.int32)
    moved = _relabelled(sums.affinities["channel"], own, channels, same)
    return replace(sums, labels={**sums.labels, "channel": channels}, affinities={**sums.affinities, "channel": moved})


__all__ = ["Notify", "add_up", "refusal"]

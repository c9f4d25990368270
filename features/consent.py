"""What users consent to, as it stood at an instant, and what of their events may be read at all.

A user's last stated word holds: a later row of ``users`` without one changes nothing, so that no change of an attribute
can undo a refusal. Who never stated a word has ``DEFAULT_PURPOSES``. Where visitors were merged into a user, the
strictest counts: what the user and each visitor that stated something all grant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import ibis
import ibis.expr.types as ir
import pandas as pd

from features.engine import Engine
from features.errors import InputError
from features.identity import resolved
from features.schema import DEFAULT_PURPOSES, NO_CONSENT, Columns, EventType, Purpose

#: The purposes that decide which events may be read; the others are about channels of messages.
READING = (Purpose.PERSONALISATION, Purpose.SEARCH_HISTORY, Purpose.LOCATION, Purpose.OFFLINE)

#: Member of ``properties`` that says where an event happened, and its values, in any case, that mean a shop.
CHANNEL, OFFLINE_CHANNELS = "channel", ("store", "offline")

#: Members of ``properties``, at any depth, that say where the user is. A country is none: it is too coarse.
LOCATION_KEYS = (
    *("location", "geo", "coordinates", "latitude", "longitude", "lat", "lon", "lng"),
    *("city", "town", "region", "postcode", "postal_code", "zip", "zip_code"),
)

# A quoted word before a colon is always a member's name: inside a text its quotes would be escaped.
_OFFLINE = f'"{CHANNEL}"\\s*:\\s*"(?i:{"|".join(OFFLINE_CHANNELS)})"'
_LOCATED = f'"(?:{"|".join(LOCATION_KEYS)})"\\s*:'
_PLAIN_VALUE = r'("(?:[^"\\]|\\.)*"|[^\s",\[\]{}]+)'


def standing(engine: Engine, users: ir.Table, as_of_ms: int, merged: pd.DataFrame | None = None) -> ir.Table:
    """Who had stated something before ``as_of_ms``: ``user_id`` and one boolean column per purpose.

    Args:
        users: Rows with ``valid_from`` and ``consents``.
        merged: From ``features.identity.identities``.
    """
    stated = users.filter(users[Columns.VALID_FROM] < as_of_ms, users[Columns.CONSENTS].notnull())
    last = ibis.row_number().over(group_by=Columns.USER_ID, order_by=ibis.desc(Columns.VALID_FROM))
    current = stated.mutate(_place=last).filter(ibis._["_place"] == 0)
    words = ibis.literal(",") + current[Columns.CONSENTS].replace(" ", "") + ","
    flags = current.select(
        Columns.USER_ID, **{purpose.value: words.contains(f",{purpose.value},") for purpose in Purpose}
    )
    if merged is None or merged.empty:
        return flags
    together = resolved(engine, flags, merged)
    return together.group_by(Columns.USER_ID).aggregate(
        **{purpose.value: together[purpose.value].all() for purpose in Purpose}
    )


def granted(
    engine: Engine, users: ir.Table, purpose: Purpose, as_of_ms: int, merged: pd.DataFrame | None = None
) -> ir.Table:
    """The distinct ``user_id`` of all users with a row before ``as_of_ms`` who grant ``purpose``."""
    known = users.filter(users[Columns.VALID_FROM] < as_of_ms)[[Columns.USER_ID]]
    if merged is not None:
        known = resolved(engine, known, merged)
    stated = standing(engine, users, as_of_ms, merged)
    if purpose in DEFAULT_PURPOSES:
        return known.distinct().anti_join(stated.filter(~stated[purpose.value]), Columns.USER_ID)
    return known.distinct().semi_join(stated.filter(stated[purpose.value]), Columns.USER_ID)


def permitted(
    engine: Engine, rows: ir.Table, users: ir.Table, as_of_ms: int, merged: pd.DataFrame | None = None
) -> ir.Table:
    """What may be read of events or impressions, by the consents as they stood just before ``as_of_ms``.

    Left out are all rows of users without ``personalisation``, searches without ``search_history`` and events of a
    shop's channel without ``offline``. Without ``location``, places in ``properties`` become null; where one is a list
    or an object, the whole ``properties`` are left out.

    Args:
        rows: Events, or impressions, which have no ``event_type``; columns and their order stay. Of merged visitors
            already under their user's id.
        merged: From ``features.identity.identities``.
    """
    stated = standing(engine, users, as_of_ms, merged)
    unusual = [stated[purpose.value] != (purpose in DEFAULT_PURPOSES) for purpose in READING]
    few = engine.to_pandas(stated.filter(ibis.or_(*unusual))[[Columns.USER_ID, *READING]])
    is_events = Columns.EVENT_TYPE in rows.columns
    if few.empty and not is_events:
        return rows
    beside, allows = _beside(engine, rows, few)
    kept = beside.filter(allows[Purpose.PERSONALISATION])
    if is_events:
        kept = kept.filter(
            (kept[Columns.EVENT_TYPE] != EventType.SEARCH.value) | allows[Purpose.SEARCH_HISTORY],
            ~happened_offline(kept[Columns.PROPERTIES]) | allows[Purpose.OFFLINE],
        )
        visible = ibis.ifelse(
            kept[Columns.PROPERTIES].re_search(_LOCATED).fill_null(False) & ~allows[Purpose.LOCATION],
            _without_places(kept[Columns.PROPERTIES]),
            kept[Columns.PROPERTIES],
        )
        kept = kept.mutate(**{Columns.PROPERTIES: visible})
    return kept[rows.columns]


def happened_offline(properties: ir.StringValue) -> ir.BooleanValue:
    """Whether the event of these properties, JSON text or missing, happened in a shop."""
    return properties.re_search(_OFFLINE).fill_null(False)


def _beside(
    engine: Engine, rows: ir.Table, few: pd.DataFrame
) -> tuple[ir.Table, dict[Purpose, ibis.Deferred | ir.BooleanValue]]:
    """The rows beside what their users allow; ``few`` are the users who differ from the defaults."""
    if few.empty:
        return rows, {purpose: ibis.literal(purpose in DEFAULT_PURPOSES) for purpose in READING}
    flags = engine.memtable(few.set_axis(["_user", *(f"_{purpose}" for purpose in READING)], axis="columns"))
    beside = rows.left_join(flags, rows[Columns.USER_ID] == flags["_user"])
    return beside, {purpose: ibis._[f"_{purpose}"].fill_null(purpose in DEFAULT_PURPOSES) for purpose in READING}


def _without_places(properties: ir.StringValue) -> ir.StringValue:
    for key in LOCATION_KEYS:
        properties = properties.re_replace(f'"{key}"\\s*:\\s*{_PLAIN_VALUE}', f'"{key}":null')
    return ibis.ifelse(properties.re_search(_LOCATED + r"\s*[\[{]"), ibis.null("string"), properties)


@dataclass(frozen=True, slots=True)
class Consents:
    """What one user grants; decides of one event as ``permitted`` does of a table."""

    purposes: frozenset[Purpose]

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """From the column ``consents``; nothing stated means the defaults.

        >>> sorted(Consents.parse("email, personalisation").purposes)
        [<Purpose.EMAIL: 'email'>, <Purpose.PERSONALISATION: 'personalisation'>]

        Raises:
            InputError: The text names something that is no purpose.
        """
        return cls.strictest([text])

    @classmethod
    def strictest(cls, texts: Iterable[str | None]) -> Self:
        """What a user and the visitors merged into it grant: whatever all of those grant that stated something."""
        stated = [_parsed(text) for text in texts if text]
        return cls(frozenset.intersection(*stated) if stated else frozenset(DEFAULT_PURPOSES))

    def permits(self, event_type: EventType, properties: Mapping[str, Any] | None = None) -> bool:
        """Whether an event of the user may be read."""
        needed = {Purpose.PERSONALISATION}
        if event_type is EventType.SEARCH:
            needed.add(Purpose.SEARCH_HISTORY)
        if any(key == CHANNEL and str(value).lower() in OFFLINE_CHANNELS for key, value in _members(properties)):
            needed.add(Purpose.OFFLINE)
        return needed <= self.purposes

    def visible(self, properties: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """What may be read of a permitted event's properties."""
        places = [value for key, value in _members(properties) if key in LOCATION_KEYS]
        if properties is None or not places or Purpose.LOCATION in self.purposes:
            return properties
        return None if any(isinstance(place, list | dict) for place in places) else _blanked(properties)


def _parsed(text: str) -> frozenset[Purpose]:
    words = [word.strip(" ") for word in text.split(",")]
    if words == [NO_CONSENT]:
        return frozenset()
    unknown = [word for word in words if word not in set(Purpose)]
    if unknown:
        mend = f"choose from {', '.join(Purpose)}, or {NO_CONSENT} alone"
        raise InputError(Columns.CONSENTS, "must name purposes", unknown[0], mend)
    return frozenset(map(Purpose, words))


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of all members of JSON content, at any depth."""
    if isinstance(value, Mapping):
        yield from value.items()
    if isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _members(inner)


def _blanked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: None if key in LOCATION_KEYS else _blanked(inner) for key, inner in value.items()}
    return [_blanked(inner) for inner in value] if isinstance(value, list) else value


__all__ = [
    "CHANNEL",
    "LOCATION_KEYS",
    "OFFLINE_CHANNELS",
    "READING",
    "Consents",
    "granted",
    "happened_offline",
    "permitted",
    "standing",
]

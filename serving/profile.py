"""The profile of one person: what the bundle's snapshot knew, and what has happened since.

A pure function of what was asked, what the state has of the person, the bundle and the moment.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from features.consent import READING, Consents
from features.declarations import Feature, Score
from features.definitions import LOCATION_ATTRIBUTES, USER_FEATURES
from features.errors import NotFoundError
from features.ids import UNKNOWN
from features.known import Known
from features.listings import units, whole
from features.online import Past, UserFold, border_ms, order_key
from features.schema import IDENTITY, INTERACTIONS, MISSING, Columns, EventType, Level, Purpose
from features.sequences import Histories
from serving.contracts import RequestError, Surface
from serving.freshness import Age, Freshness, age_of
from serving.policy import PolicyConfig
from serving.profile_answer import (
    ConsentsNow,
    PlacedOrder,
    Profile,
    RefusedProfile,
    SeenEvent,
    SeenImpression,
    SegmentsNow,
    ValueAge,
)
from serving.rows import Impression, LiveEvent, Seen
from training.bundle import Bundle

#: Events since the snapshot that a profile reads at most, the latest; and what it lists at most of each kind.
MAX_EVENTS = 5_000
LISTED = 50

_KINDS = tuple(EventType)

_SCORES = {declared.name for declared in USER_FEATURES if isinstance(declared, Score)}
_OF_IMPRESSIONS = {
    declared.name for declared in USER_FEATURES if isinstance(declared, Feature) and declared.counter == "impressions"
}


@dataclass(frozen=True)
class _Person:
    """One person now.

    Attributes:
        ids: The person's own id first.
        trusted: The ids of which the snapshot read no more than may be read now.
        did: By id, what the snapshot knows of their events.
    """

    known: Known
    ids: tuple[str, ...]
    consents: Consents
    trusted: frozenset[str]
    did: Mapping[str, Histories]


def profile(user_id: str, seen: Seen, bundle: Bundle, now_ms: int) -> Profile | RefusedProfile:
    """Everything known of the person whom ``user_id`` is.

    Args:
        seen: What the state has of them since the bundle's snapshot and before ``now_ms``.

    Raises:
        NotFoundError: The bundle knows nothing of single users.
        RequestError: Nobody has ever heard of this user (404).
    """
    person = _person(user_id, seen, bundle)
    about: dict[str, Any] = {
        "user_id": user_id,
        "consents": _consents(person, bundle, now_ms),
        "bundle_digest": bundle.digest,
        "as_of_ms": bundle.as_of_ms,
        "served_ms": now_ms,
    }
    if Purpose.PERSONALISATION not in person.consents.purposes:
        return RefusedProfile(**about, notes=["the person refuses personalisation: nothing is read or computed"])
    read = _Read.of(person, seen, bundle, now_ms)
    newest = _Newest.of(bundle, now_ms, read.events, seen)
    rfm, member_of = bundle.segments_of(read.row)
    return Profile(
        **about,
        notes=_notes(person, seen),
        person_id=person.ids[0],
        ids=list(person.ids),
        snapshot=newest.age(bundle.as_of_ms),
        live=newest.live,
        attributes={name: newest.value(value, bundle.as_of_ms) for name, value in read.attributes.items()},
        features={name: newest.value(value, newest.known_ms(name)) for name, value in read.features.items()},
        features_as_of_ms=border_ms(bundle.as_of_ms, read.until_ms),
        segments=SegmentsNow(rfm=rfm, member_of=list(member_of)),
        orders=_orders(person, read.events),
        events=_events(person, read.events, bundle),
        impressions=[_impression(shown) for shown in seen.shown],
    )


@dataclass(frozen=True)
class Current:
    """What models may read of one person now.

    Attributes:
        row: As a user matrix would have it.
        past: What the snapshot knows of the events of each of the person's ids.
        events: Those since the snapshot.
        orders: All, (instant, cents) each; an order that goes on is one.
    """

    row: dict[str, Any]
    past: list[Histories]
    events: list[LiveEvent]
    orders: list[tuple[int, int]]


def current(user_id: str, seen: Seen, bundle: Bundle, now_ms: int) -> Current | None:
    """What models may read of one person now; None of whoever refuses personalisation.

    Args, raises: As ``profile``.
    """
    person = _person(user_id, seen, bundle)
    if Purpose.PERSONALISATION not in person.consents.purposes:
        return None
    read = _Read.of(person, seen, bundle, now_ms)
    past = [person.did[one] for one in person.ids if one in person.trusted]
    orders = [
        (max(part[0] for part in parts), sum(part[3] for part in parts))
        for parts in _order_parts(person, read.events).values()
    ]
    return Current(read.row, past, read.events, orders)


@dataclass(frozen=True)
class _Read:
    """What is read and computed of a person who allows it.

    Attributes:
        until_ms: The instant up to which.
        events: Those since the snapshot that may be read.
    """

    until_ms: int
    events: list[LiveEvent]
    attributes: dict[str, str]
    features: dict[str, Any]

    @classmethod
    def of(cls, person: _Person, seen: Seen, bundle: Bundle, now_ms: int) -> _Read:
        """Of one person at one moment."""
        # A snapshot that is dated ahead of the server's clock is still known.
        until_ms = max(now_ms, bundle.as_of_ms)
        events = [
            event for event in seen.recent.events if person.consents.permits(event.event_type, _properties(event))
        ]
        features = _features(person, events, seen.shown_by_day, bundle, until_ms)
        return cls(until_ms, events, _attributes(person, bundle), features)

    @property
    def row(self) -> dict[str, Any]:
        """As a user matrix would have it."""
        return self.attributes | self.features


@dataclass(frozen=True)
class _Newest:
    """When what is known was last added to.

    Attributes:
        events_ms, impressions_ms: The newest of each, the snapshot's instant if there is none since.
    """

    as_of_ms: int
    config: PolicyConfig
    now_ms: int
    events_ms: int
    impressions_ms: int
    interaction_ms: int | None

    @classmethod
    def of(cls, bundle: Bundle, now_ms: int, events: Iterable[LiveEvent], seen: Seen) -> _Newest:
        """Of what has happened since the bundle's snapshot."""
        # Words about who is who add nothing to what is known of either.
        newest = max((event.ts for event in events if event.event_type not in IDENTITY), default=bundle.as_of_ms)
        shown = seen.shown[0].ts if seen.shown_by_day else bundle.as_of_ms
        acts = [event.ts for event in events if event.event_type in INTERACTIONS]
        config = PolicyConfig(**bundle.policy)
        return cls(bundle.as_of_ms, config, now_ms, newest, max(shown, bundle.as_of_ms), max(acts, default=None))

    def age(self, known_ms: int) -> Age:
        """Of something that was true at an instant."""
        return age_of(self.now_ms, known_ms, self.config.snapshot_fresh_s)

    @property
    def live(self) -> Age:
        """Of the newest interaction since the snapshot, as L4 sees it."""
        if self.interaction_ms is None:
            return Age(freshness=Freshness.MISSING, age_ms=None)
        return age_of(self.now_ms, self.interaction_ms, self.config.live_fresh_s)

    def known_ms(self, feature: str) -> int:
        """The instant of the newest thing that a feature was computed from."""
        if feature in _SCORES:
            return self.as_of_ms
        return self.impressions_ms if feature in _OF_IMPRESSIONS else self.events_ms

    def value(self, value: Any, known_ms: int) -> ValueAge:
        """A value with its age; what is missing has none."""
        if value is None or value == MISSING:
            return ValueAge(value=None, freshness=Freshness.MISSING, age_ms=None)
        age = self.age(known_ms)
        return ValueAge(value=value, freshness=age.freshness, age_ms=age.age_ms)


def _person(user_id: str, seen: Seen, bundle: Bundle) -> _Person:
    if bundle.known is None:
        raise NotFoundError("bundle", "must hold what is known of single users", mend="train it again")
    known, ids = bundle.known, (seen.recent.user_id, *seen.recent.visitors)
    anything = seen.recent.visitors or seen.recent.events or seen.shown
    if not anything and known.ids.code(user_id) == UNKNOWN:
        mend = "post an event of theirs first, or correct the id"
        raise RequestError(404, "user_id", "must be somebody of whom something is known", user_id, mend)
    consents = known.consents(ids)
    reading = consents.purposes & set(READING)
    trusted = (one for one in ids if known.read_under(one).purposes & set(READING) <= reading)
    return _Person(known, ids, consents, frozenset(trusted), {one: bundle.did(one) for one in ids})


def _notes(person: _Person, seen: Seen) -> list[str]:
    """What the answer does without, and what it has that it should not."""
    notes = []
    if len(person.trusted) < len(person.ids):
        notes.append("what the snapshot read under a wider consent is left out until the next snapshot")
    for visitor, user, _ in person.known.links(person.ids):
        if user not in person.ids:
            notes.append(f"what {visitor} did before the snapshot counts for {user} until the next snapshot")
        elif visitor not in person.ids:
            notes.append(f"what {visitor} did before the snapshot counts here until the next snapshot")
    if len(seen.recent.events) == MAX_EVENTS:
        notes.append(f"of the events since the snapshot only the latest {MAX_EVENTS} are read")
    return notes


def _consents(person: _Person, bundle: Bundle, now_ms: int) -> ConsentsNow:
    age = age_of(now_ms, bundle.as_of_ms, PolicyConfig(**bundle.policy).snapshot_fresh_s)
    stated = bool(person.known.stated(person.ids))
    granted = [purpose for purpose in Purpose if purpose in person.consents.purposes]
    return ConsentsNow(granted=granted, stated=stated, freshness=age.freshness, age_ms=age.age_ms)


def _attributes(person: _Person, bundle: Bundle) -> dict[str, str]:
    """The person's own; those of visitors do not count."""
    did = person.did[person.ids[0]]
    hidden = frozenset() if Purpose.LOCATION in person.consents.purposes else LOCATION_ATTRIBUTES
    return {name: str(did.attributes[name][0]) if len(did) and name not in hidden else MISSING for name in bundle.told}


def _features(
    person: _Person, events: Iterable[LiveEvent], shown: Iterable[tuple[int, int]], bundle: Bundle, now_ms: int
) -> dict[str, Any]:
    folds = {}
    for one in person.ids:
        past = person.known.past(one, person.did[one], bundle.items) if one in person.trusted else Past()
        folds[one] = UserFold.after(past, bundle.as_of_ms, bundle.listings, person.consents)
    for event in events:
        folds[event.user_id].fold(event._asdict())
    own, *others = folds.values()
    own.show_by_day(shown)
    return (own.with_visitors(others) if others else own).row(now_ms, person.known.population, bundle.items)


def _order_parts(person: _Person, events: Iterable[LiveEvent]) -> Mapping[str, Sequence[tuple[int, int, int, int]]]:
    """By an order's name: instant, lines, units and cents of what the snapshot knew of it, and of each line since."""
    lines: defaultdict[str, list[tuple[int, int, int, int]]] = defaultdict(list)
    for one in person.ids:
        if one in person.trusted:
            for order in person.known.orders(one):
                lines[order.name].append((order.ts, order.lines, order.units, order.cents))
    for event in events:
        if event.event_type is EventType.PURCHASE:
            told: Mapping[str, Any] = event._asdict()
            pieces = units(told)
            lines[order_key(told)].append((event.ts, 1, pieces, pieces * (whole(told, Columns.UNIT_PRICE_CENTS) or 0)))
    return lines


def _orders(person: _Person, events: Iterable[LiveEvent]) -> list[PlacedOrder]:
    """Newest first; an order that goes on is one."""
    orders = [
        PlacedOrder(
            order_id=name[1:] if name.startswith("#") else None,
            ts=max(part[0] for part in parts),
            lines=sum(part[1] for part in parts),
            units=sum(part[2] for part in parts),
            cents=sum(part[3] for part in parts),
        )
        for name, parts in _order_parts(person, events).items()
    ]
    return sorted(orders, key=lambda order: (-order.ts, order.order_id or ""))[:LISTED]


def _events(person: _Person, events: list[LiveEvent], bundle: Bundle) -> list[SeenEvent]:
    found = [_live(event, person.consents) for event in events[-LISTED:]]
    for one in person.ids:
        did = person.did[one].tail(LISTED) if one in person.trusted else None
        if did is not None and len(did.items):
            names = [None if code == UNKNOWN else str(bundle.items.ids[code]) for code in did.items.tolist()]
            found += [
                SeenEvent(event_type=_KINDS[kind], ts=ts, user_id=one, source="snapshot", item_id=name)
                for kind, ts, name in zip(did.event_types.tolist(), did.ts.tolist(), names, strict=True)
            ]
    return sorted(found, key=lambda event: event.ts, reverse=True)[:LISTED]


def _live(event: LiveEvent, consents: Consents) -> SeenEvent:
    properties = consents.visible(_properties(event))
    return SeenEvent(
        event_type=event.event_type,
        ts=event.ts,
        user_id=event.user_id,
        source="live",
        item_id=event.item_id,
        order_id=event.order_id,
        session_id=event.session_id,
        quantity=event.quantity,
        unit_price_cents=event.unit_price_cents,
        query=event.query,
        properties=None if properties is None else dict(properties),
    )


def _properties(event: LiveEvent) -> dict[str, Any] | None:
    return None if event.properties is None else json.loads(event.properties)


def _impression(shown: Impression) -> SeenImpression:
    return SeenImpression(
        item_id=shown.item_id,
        ts=shown.ts,
        surface=Surface(shown.surface),
        rank=shown.rank,
        level=Level(shown.level).label,
        arm=shown.arm,
        request_id=shown.request_id,
    )


__all__ = ["LISTED", "MAX_EVENTS", "Current", "current", "profile"]

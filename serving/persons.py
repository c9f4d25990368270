"""All ids of one person, found by following what was said of whom from one id to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from features.identity import Link

#: ids -> (visitor, user, ts): said and not taken back of pairs of which at least one is among the ids.
Said = Callable[[list[str]], Iterable[tuple[str, str, int]]]


#: ids -> (visitor, user, instants when it was last said and last taken back, -1 for never), as in ``Said``.
Told = Callable[[list[str]], Iterable[tuple[str, str, int, int]]]

#: ids -> (visitor, user, instant) of the merges that a snapshot knew of; one of the two is among the ids.
Links = Callable[[Iterable[str]], Iterable[tuple[str, str, int]]]


def no_links(ids: Iterable[str]) -> Iterable[tuple[str, str, int]]:
    """Of no snapshot."""
    return ()


def standing(told: Told, links: Links) -> Said:
    """What was told here, and before it what a snapshot knew; what is taken back here counts against both."""

    def said(ids: list[str]) -> list[tuple[str, str, int]]:
        pairs = {(visitor, user): (ts, -1) for visitor, user, ts in links(ids)}
        for visitor, user, said_ms, unsaid_ms in told(ids):
            earlier_ms, _ = pairs.get((visitor, user), (-1, -1))
            pairs[visitor, user] = max(said_ms, earlier_ms), unsaid_ms
        return [(visitor, user, ts) for (visitor, user), (ts, unsaid_ms) in pairs.items() if ts > unsaid_ms]

    return said


def ids_of(user_id: str, said: Said) -> list[str]:
    """The person whom ``user_id`` is, by the rules of ``features.identity``, then that person's other ids, sorted.

    Only links that count are followed, so that a device in the shop, on which a thousand customers were known one
    after the other, does not lead from each of them to all.
    """
    links: dict[str, Link] = {}
    person, ids, read = user_id, {user_id}, set[str]()
    while unread := sorted(ids - read):
        read.update(unread)
        if not (pairs := list(said(unread))):
            continue
        from features.identity import Link, follow, merges  # it brings the query engine along, and few need it

        for visitor, user, ts in pairs:
            # Of a visitor not read yet only some pairs are known: it is read next, and may turn out to be another's.
            links[visitor] = max(
                links.get(visitor, Link("", -1)), Link(user, ts), key=lambda link: (link.ts, link.user_id)
            )
        person = follow(links, user_id, {})
        ids = {user_id, person, *(visitor for visitor, user in merges(links).items() if user == person)}
    return [person, *sorted(ids - {person})]


__all__ = ["Links", "Said", "Told", "ids_of", "no_links", "standing"]

"""Who is who, found from one id, against all that was said by everybody."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from features.identity import Identities
from features.schema import EventType
from serving.persons import ids_of


class Told(NamedTuple):
    """An identity event."""

    kind: EventType
    visitor: str
    user: str
    ts: int


class Asked:
    """Answers like the state does, by loops, and counts how often each id was asked for."""

    def __init__(self, told: list[Told]) -> None:
        self.told, self.ids = told, Counter[str]()

    def __call__(self, ids: list[str]) -> list[tuple[str, str, int]]:
        self.ids.update(ids)
        standing = []
        for visitor, user in {(t.visitor, t.user) for t in self.told if {t.visitor, t.user} & set(ids)}:
            of_pair = [t for t in self.told if (t.visitor, t.user) == (visitor, user)]
            said = max((t.ts for t in of_pair if t.kind is EventType.IDENTIFY), default=-1)
            unsaid = max((t.ts for t in of_pair if t.kind is EventType.UNIDENTIFY), default=-1)
            if said > unsaid:
                standing.append((visitor, user, said))
        return standing


NAMES = "abcdefg"
TOLD = st.lists(
    st.builds(
        Told,
        st.sampled_from([EventType.IDENTIFY, EventType.IDENTIFY, EventType.UNIDENTIFY]),
        st.sampled_from(NAMES),
        st.sampled_from(NAMES),
        st.integers(1, 9),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=300)
@given(TOLD)
def test_from_each_id_the_same_persons_are_found_as_from_all_events(told: list[Told]) -> None:
    everybody = Identities()
    for event in told:
        everybody.note(event.kind, event.visitor, event.user, event.ts)
    for name in NAMES:
        person = everybody.user_of(name)
        others = sorted(other for other in NAMES if everybody.user_of(other) == person and other != person)
        asked = Asked(told)
        assert ids_of(name, asked) == [person, *others]
        assert max(asked.ids.values()) == 1


def test_a_device_that_all_have_used_leads_to_the_last_only() -> None:
    kiosk = [Told(EventType.IDENTIFY, "kiosk", f"u{n}", n) for n in range(1_000)]
    asked = Asked(kiosk)
    assert ids_of("u7", asked) == ["u7"]
    assert sorted(asked.ids) == ["kiosk", "u7"]
    assert ids_of("u999", Asked(kiosk)) == ids_of("kiosk", Asked(kiosk)) == ["u999", "kiosk"]

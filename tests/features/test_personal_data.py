"""Personal data: what is recognised and what is not, and that nothing recognised is left or told."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.engine import Engine
from features.errors import ConfigError, InputError, NotFoundError
from features.personal_data import Guard
from features.personal_kinds import KINDS, SUSPICIOUS, finds, kind_by_name, luhn, shape
from features.personal_policy import KEY_FILE_VARIABLE, KEY_VARIABLE, PersonalDataPolicy, Treatment
from features.personal_survey import survey
from features.personal_text import Find, handled
from features.sources import SOURCES, source

KEY = "0123456789abcdef0123456789abcdef"
HASH = PersonalDataPolicy(Treatment.HASH, key=KEY.encode())
DROP, REFUSE = PersonalDataPolicy(Treatment.DROP), PersonalDataPolicy()

MAIL, PHONE, CARD, IBAN = "jo.doe@example.org", "+49 171 2345678", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00"


def noted(text: str, column: str = "query") -> list[tuple[str, str]]:
    """(kind, text) of the valid finds."""
    found: list[tuple[str, str]] = []

    def note(find: Find) -> str:
        if find.valid:
            found.append((find.kind.noun.split()[0], find.text))
        return find.text

    assert handled(text, column, note) == text
    return found


@pytest.mark.parametrize(
    ("text", "kind", "part"),
    [
        (MAIL, "e-mail", MAIL),
        ("where is my order? JO+shop@mail.example.co.uk!", "e-mail", "JO+shop@mail.example.co.uk"),
        ("https://shop.example/?to=jo%40example.org&x=1", "e-mail", "jo%40example.org"),
        ("jörg@müller.de", "e-mail", "jörg@müller.de"),
        ("a@163.com", "e-mail", "a@163.com"),
        (f"call {PHONE} please", "phone", PHONE),
        ("+1 (415) 555-2671", "phone", "+1 (415) 555-2671"),
        ("(415) 555-2671", "phone", "(415) 555-2671"),
        ("415-555-2671", "phone", "415-555-2671"),
        ("tel:+442079460958", "phone", "+442079460958"),
        (CARD, "payment", CARD),
        ("paid with 378282246310005", "payment", "378282246310005"),
        ("5555-5555-5555-4444", "payment", "5555-5555-5555-4444"),
        (IBAN, "bank", IBAN),
        ("GB82WEST12345698765432", "bank", "GB82WEST12345698765432"),
        ("81.2.69.142", "IP", "81.2.69.142"),
        ("2a00:1450:4001:81b::200e", "IP", "2a00:1450:4001:81b::200e"),
    ],
)
def test_certain_signs_are_found_inside_texts(text: str, kind: str, part: str) -> None:
    assert noted(text) == [(kind, part)]
    assert part in list(finds(text))


@pytest.mark.parametrize(
    "text",
    ["WHITE HANGING HEART T-LIGHT HOLDER", "Lewis", "Calvin Klein", "You've Got M@il (1998)", "icon@2x.png", "48067",
     "lodash@4.17.21", "2010-12-01 08:26:00", "1291191960000", "4006381333931", "4111 1111 1111 1112", "51380041013",
     "192.168.0.1", "127.0.0.1", "999.1.1.1", "Chrome/120.0.0.0", "536365-1", "0-0-view-1433222501", "+5", "+1 200",
     "37784fea97b5827eeaf4a23dbff98b73", "DE89370400440532013001", "65+", "35-49K", "2 Adults No Kids", "a @ b.c", "",
     "ROUND SNACK BOXES SET OF4 WOODLAND", "12:30:45", "0123456789", "pii_0123456789abcdef", "4.111111111111111"],
)  # fmt: skip
def test_ordinary_texts_are_not_taken_for_personal(text: str) -> None:
    assert noted(text) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("email", "e-mail"), ("EMail", "e-mail"), ("customer_e-mail", "e-mail"), ("emailAddress", "e-mail"),
        ("ip_address", "IP"), ("clientIp", "IP"), ("phone_2", "phone"), ("mobileNumber", "phone"),
        ("firstName", "names"), ("firstname", "names"), ("LAST NAME", "names"), ("customer.name", "names"),
        ("date_of_birth", "dates"), ("dob", "dates"), ("shipping_address_1", "postal"), ("street", "postal"),
        ("card_number", "payment"), ("iban", "bank"), ("passport_number", "numbers"),
    ],
)  # fmt: skip
def test_names_of_columns_that_hold_personal_data(name: str, kind: str) -> None:
    found = kind_by_name(name)
    assert found is not None
    assert found.noun.startswith(kind)


@pytest.mark.parametrize(
    "name",
    ["email_opens", "email_opt_in", "zip", "zip_code", "postcode", "age", "occupation", "country", "city", "gender",
     "birth_year", "store_name", "brand_name", "campaign_name", "web_address", "ship", "recipe", "description",
     "household_id", "prior_channel", "name", "segment", "phone_brand", "address_type", "customer.brand.name"],
)  # fmt: skip
def test_names_of_columns_that_do_not(name: str) -> None:
    assert kind_by_name(name) is None


def test_a_name_in_a_table_of_people_is_a_persons() -> None:
    assert kind_by_name("name", of_people=True) is not None


@given(st.lists(st.integers(0, 9), min_size=2, max_size=20), st.integers(0, 19), st.integers(1, 9))
def test_luhn_finds_every_wrong_digit(digits: list[int], at: int, change: int) -> None:
    total = sum(2 * d - 9 * (d > 4) if place % 2 else d for place, d in enumerate(reversed([*digits, 0])))
    good = [*digits, -total % 10]
    assert luhn("".join(map(str, good)))
    at %= len(good)
    good[at] = (good[at] + change) % 10
    assert not luhn("".join(map(str, good)))


def events(**columns: list[Any]) -> pa.Table:
    n = len(next(iter(columns.values())))
    plain = {
        "event_id": [f"e{i}" for i in range(n)],
        "user_id": [f"u{i % 7}" for i in range(n)],
        "event_type": ["view"] * n,
        "ts": [1_000 + i for i in range(n)],
    }
    return pa.table({**plain, **columns})


def users(**columns: list[Any]) -> pa.Table:
    n = len(next(iter(columns.values())))
    return pa.table({"user_id": [f"u{i}" for i in range(n)], "valid_from": [0] * n, **columns})


def guarded(
    engine: Engine, policy: PersonalDataPolicy, scratch: Path, tables: dict[str, pa.Table]
) -> dict[str, dict[str, list[Any]]]:
    guard = Guard(engine, policy, scratch)
    after = guard.protect({name: engine.memtable(rows) for name, rows in tables.items()})
    keys = {"events": "ts", "users": "valid_from", "items": "item_id"}
    return {name: engine.to_arrow(rows.order_by(keys[name])).to_pydict() for name, rows in after.items()}


def places(engine: Engine, tables: dict[str, pa.Table], policy: PersonalDataPolicy = REFUSE) -> list[tuple[str, str]]:
    found = survey(engine, {name: engine.memtable(rows) for name, rows in tables.items()}, policy)
    return [(f"{one.table}.{one.place}", one.kind.noun.split()[0]) for one in found]


PEOPLE = ["Anna Schmidt", "John Q. Public", "Maria del Mar", "Peter O'Neil", "Sophie Martin", "Zed Zed", "Ali Khan"]
STREETS = [
    "12 High Street",
    "7b Elm Rd",
    "Hauptstraße 5",
    "221 Baker Street, London",
    "Lindenweg 12a",
    "3 rue de Rivoli",
]


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"events": events(query=["mugs"] * 50_000 + [f"mail {MAIL}"])}, [("events.query", "e-mail")]),
        ({"events": events(user_id=["u1", MAIL])}, [("events.user_id", "e-mail")]),
        ({"events": events(event_id=["e1", MAIL])}, [("events.event_id", "e-mail")]),
        ({"events": events(ts=["1000", MAIL])}, [("events.ts", "e-mail")]),
        ({"events": events(event_type=["view", MAIL])}, [("events.event_type", "e-mail")]),
        ({"events": events(order_id=["4111111111111111"])}, []),
        ({"events": events(properties=['{"a":[{"note":"to JO@example.org"}]}'])},
         [("events.properties.a.note", "e-mail")]),
        ({"events": events(properties=['{"firstName":"Jo","n":1}'])}, [("events.properties.firstName", "names")]),
        ({"events": events(properties=['{"customer":{"name":"Jo"}}'])}, [("events.properties.customer.name", "names")]),
        ({"events": events(properties=['{"name":"Blue mug","brand":{"name":"Lewis"}}'])}, []),
        ({"events": events(properties=['{"phone":4917123456}'])}, [("events.properties.phone", "phone")]),
        ({"events": events(properties=['{"e\\u006dail":"jo\\u0040example.org"}'])},
         [("events.properties.email", "e-mail")]),
        ({"events": events(properties=[f'{{"{MAIL}":1}}'])}, [("events.properties", "e-mail")]),
        ({"events": events(properties=['{"has_email":true,"email":null,"phone":"yes"}'])}, []),
        ({"events": events(properties=['{"ip":"192.168.0.1"}'])}, [("events.properties.ip", "IP")]),
        ({"events": events(properties=['{"app_version":"1.2.3.4"}'])}, []),
        ({"events": events(properties=["{broken " + MAIL])}, [("events.properties", "e-mail")]),
        ({"users": users(contact=PEOPLE)}, [("users.contact", "names")]),
        ({"users": users(brand=["Calvin Klein", "Hugo Boss", "Paul Smith", "Tom Tailor"] * 10)}, []),
        ({"users": users(town=["Florence", "Paris", "St Louis", "San Diego", "Sydney", "Charlotte"])}, []),
        ({"users": users(home=STREETS)}, [("users.home", "postal")]),
        ({"users": users(line=["0171 234567", "030 9012345", "0711/123456", "020 7946 0958", "0221-99887766"])},
         [("users.line", "phone")]),
        ({"users": users(phone=[491712345678, None, 491712345679])}, [("users.phone", "phone")]),
        ({"users": users(phone=["iPhone", "Android"], email=["0", "1"], dob=["1985", "1990-06"])}, []),
        ({"users": users(birth_date=["1985-06-01"])}, [("users.birth_date", "dates")]),
        ({"users": users(born=["1 June 1985"])}, [("users.born", "dates")]),
        ({"users": users(profile=['{"email":"x at y"}'])}, [("users.profile.email", "e-mail")]),
        ({"users": users(loyalty=[str(4_000_000_000_000_000 + 37 * i) for i in range(500)])}, []),
        ({"users": users(**{"a.b": [MAIL], "self": ["x"], "n": ["1"], "value": ["2"]})}, [("users.a.b", "e-mail")]),
        ({"users": users(zip=["48067", "SW1A 1AA"], age=["1", "35-44"], country=["de", "fr"], job=["10", "16"])}, []),
        ({"items": pa.table({"item_id": PEOPLE, "title": PEOPLE, "name": PEOPLE, "full_name": PEOPLE})}, []),
        ({"items": pa.table({"item_id": ["i"], "title": [f"ask {MAIL}"]})}, [("items.title", "e-mail")]),
    ],
)  # fmt: skip
def test_where_tables_hold_personal_data(
    engine: Engine, tables: dict[str, pa.Table], expected: list[tuple[str, str]]
) -> None:
    assert places(engine, tables) == expected


def test_what_is_allowed_is_not_found(engine: Engine) -> None:
    tables = {"users": users(contact=PEOPLE), "events": events(properties=[f'{{"to":"{MAIL}"}}'])}
    for allowed, left in [
        ({"contact"}, [("events.properties.to", "e-mail")]),
        ({"users.contact", "properties.to"}, []),
        ({"events.contact", "events.properties"}, [("users.contact", "names")]),
        ({"users", "events", "cont", "propert"}, [("users.contact", "names"), ("events.properties.to", "e-mail")]),
    ]:
        assert places(engine, tables, PersonalDataPolicy(allowed=frozenset(allowed))) == left


def test_a_refusal_names_column_share_and_mend_and_shows_nobody(engine: Engine, tmp_path: Path) -> None:
    tables = {
        "events": events(query=["mugs"] * 9 + [f"from {MAIL}"]),
        "users": users(contact_email=[MAIL, "x@y.zz"], full_name=PEOPLE[:2]),
    }
    with pytest.raises(InputError) as raised:
        guarded(engine, REFUSE, tmp_path, tables)
    assert str(raised.value) == (
        "events: column 'query' must hold no personal data, but 10.0% of its values look like e-mail addresses such as "
        "xx.xxx@xxxxxxx.xxx; so does users.contact_email (e-mail addresses); so does users.full_name (names of people)"
        "; leave it out, or let --personal-data hash or drop it; a false alarm is ended by --allow-column events.query"
    )
    assert not list(tmp_path.iterdir())


def token(value: str) -> str:
    return "pii_" + hmac.new(KEY.encode(), value.encode(), hashlib.sha256).hexdigest()[:16]


def test_hashed_ids_still_join_and_the_rest_stays_as_it_is(engine: Engine, tmp_path: Path) -> None:
    tables = {
        "events": events(
            user_id=[MAIL, "u2", "u3"],
            anonymous_id=[None, MAIL, "a"],
            query=[f" is {MAIL} me? ", None, "mugs"],
            properties=[f'{{"to": "{MAIL}", "n": [1, {{"phone": 4917123456}}]}}', '{"n":  1}', None],
        ),
        "users": pa.table({"user_id": [MAIL, "u2"], "valid_from": [0, 1], "name": ["Jo", "unknown"]}),
        "items": pa.table({"item_id": ["i1"], "title": ["Lewis"]}),
    }
    after = guarded(engine, HASH, tmp_path, tables)
    assert after["events"]["user_id"] == [token(MAIL), "u2", "u3"]
    assert after["events"]["anonymous_id"] == [None, token(MAIL), "a"]
    assert after["events"]["query"] == [f"is {token(MAIL)} me?", None, "mugs"]
    assert json.loads(after["events"]["properties"][0]) == {"to": token(MAIL), "n": [1, {"phone": token("4917123456")}]}
    assert after["events"]["properties"][1:] == ['{"n":  1}', None]
    assert after["users"] == {
        "user_id": [token(MAIL), "u2"],
        "valid_from": [0, 1],
        "name": [token("Jo"), token("unknown")],
    }
    assert after["items"] == tables["items"].to_pydict()
    again = {name: pa.table(columns) for name, columns in after.items()}
    assert places(engine, again) == []
    assert guarded(engine, HASH, tmp_path, again) == after


def test_dropping_takes_columns_members_and_parts_of_texts(engine: Engine, tmp_path: Path) -> None:
    tables = {
        "events": events(
            query=[f"from {MAIL}", MAIL, "mugs"],
            properties=['{"email": "x@y.zz", "n": 1}', None, '{"to": "x@y.zz"}'],
        ),
        "users": pa.table({"user_id": ["u1"], "valid_from": [0], "full_name": ["Jo"], "country": ["de"]}),
    }
    after = guarded(engine, DROP, tmp_path, tables)
    assert after["events"]["query"] == ["from", None, "mugs"]
    assert [text and json.loads(text) for text in after["events"]["properties"]] == [{"n": 1}, None, {"to": None}]
    assert after["users"] == {"user_id": ["u1"], "valid_from": [0], "country": ["de"]}


@pytest.mark.parametrize("column", ["user_id", "anonymous_id", "event_id"])
def test_ids_cannot_be_dropped(engine: Engine, tmp_path: Path, column: str) -> None:
    with pytest.raises(InputError, match=rf"events: column '{column}' cannot be dropped.*; use --personal-data hash"):
        guarded(engine, DROP, tmp_path, {"events": events(**{column: [MAIL]})})


def test_tables_without_personal_data_are_the_very_same(engine: Engine, tmp_path: Path) -> None:
    tables = {"events": engine.memtable(events(query=["mugs"]))}
    guard = Guard(engine, HASH, tmp_path)
    assert guard.protect(tables)["events"] is tables["events"]
    assert guard.conceal(tables["events"]) is tables["events"]
    assert guard.to_json() == {"treatment": "hash", "allowed": [], "found": []}


@pytest.mark.parametrize(
    ("policy", "mail", "name"),
    [(REFUSE, "xx.xxx@xxxxxxx.xxx", "xx"), (HASH, token(MAIL), token("Jo")), (DROP, None, None)],
)
def test_rows_of_a_file_are_concealed_whatever_the_policy(
    engine: Engine, tmp_path: Path, policy: PersonalDataPolicy, mail: str | None, name: str | None
) -> None:
    raw = engine.memtable(
        pa.table({"source_row": [1], "Mail": [MAIL], "n": [5], "text": [f"by {MAIL}"], "firstName": ["Jo"]})
    )
    rows = engine.to_arrow(Guard(engine, policy, tmp_path).conceal(raw)).to_pylist()[0]
    text = f"by {mail}" if mail else "by"
    expected = {"source_row": 1, "Mail": mail, "n": 5, "text": text, "firstName": name}
    assert rows == {key: value for key, value in expected.items() if value is not None}


def test_what_was_found_in_all_rows_is_concealed_in_few(engine: Engine, tmp_path: Path) -> None:
    pairs = ["4111 1111 1111 1111", "4111 1111 1111 1112"]
    tables = {"events": events(query=["5555555555554444", *pairs]), "users": users(contact=PEOPLE)}
    guard = Guard(engine, HASH, tmp_path)
    guard.protect({name: engine.memtable(rows) for name, rows in tables.items()})
    few = engine.memtable(pa.table({"source_row": [1, 2], "query": pairs, "contact": PEOPLE[:2]}))
    rows = engine.to_arrow(guard.conceal(few).order_by("source_row")).to_pydict()
    assert rows["query"] == [token(pairs[0]), pairs[1]]
    assert rows["contact"] == [token(name) for name in PEOPLE[:2]]


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from([MAIL, f"<{MAIL}>", "mugs", "é", PHONE])
)
CONTENT = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "email", MAIL]), inner),
    max_leaves=6,
)


@settings(deadline=None)
@given(CONTENT, st.booleans())
def test_no_content_keeps_what_was_found_in_it(content: Any, ascii_only: bool) -> None:
    text = json.dumps(content, ensure_ascii=ascii_only)
    after = handled(text, "properties", lambda find: HASH.token(find.text) if find.valid else find.text) or ""
    if text[:1] in "{[" and text[-1:] in "}]":
        after = json.dumps(json.loads(after), ensure_ascii=False)
    assert MAIL not in after
    assert PHONE not in after
    assert handled(after, "properties", lambda find: pytest.fail(str(find)) if find.valid else find.text) is not None


@settings(deadline=None)
@given(st.text(), st.sampled_from([MAIL, PHONE, CARD, IBAN, "81.2.69.142", "(415) 555-2671", "x%40y.zz"]), st.text())
def test_the_cheap_pattern_misses_nothing_that_is_found(before: str, part: str, after: str) -> None:
    text = f"{before}{part}{after}".replace("\0", "")
    suspicious = pc.match_substring_regex(pa.array([text.encode(errors="replace").decode()]), SUSPICIOUS)
    if any(True for _ in finds(text)):
        assert suspicious.to_pylist() == [True]


def test_shapes_show_no_letter_and_no_digit() -> None:
    assert shape("Jörg 7_ß@Müller.de") == "xxxx 9_x@xxxxxx.xx"


def test_the_key_is_needed_long_and_never_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--personal-data hash needs a key; set STELLAR_PII_KEY"):
        PersonalDataPolicy.of("hash", environment={})
    with pytest.raises(ConfigError, match="at least 16 bytes, received '5 bytes'") as raised:
        PersonalDataPolicy.of("hash", environment={KEY_VARIABLE: "s3cr1"})
    assert "s3cr1" not in str(raised.value)
    with pytest.raises(NotFoundError, match=KEY_FILE_VARIABLE):
        PersonalDataPolicy.of("hash", environment={KEY_FILE_VARIABLE: str(tmp_path / "none")})
    with pytest.raises(ConfigError, match="must be one of refuse, hash, drop"):
        PersonalDataPolicy.of("mask")
    (tmp_path / "key").write_text(f"{KEY}\n")
    by_file = PersonalDataPolicy.of("hash", environment={KEY_FILE_VARIABLE: str(tmp_path / "key")})
    by_value = PersonalDataPolicy.of("hash", environment={KEY_VARIABLE: KEY})
    assert by_file.token("a") == by_value.token("a") == token("a")
    assert KEY not in repr(by_file) + str(by_file)
    other = PersonalDataPolicy(Treatment.HASH, key=KEY[::-1].encode())
    assert other.token("a") != token("a")
    assert PersonalDataPolicy.of("refuse", ["x"], environment={KEY_VARIABLE: KEY}).key is None


def test_no_public_data_set_raises_an_alarm(engine: Engine, real_data: Path) -> None:
    alarms = {}
    for folder in sorted(path for path in real_data.iterdir() if path.is_dir()):
        if folder.name in SOURCES:
            tables = source(folder.name).read(engine, folder)
            alarms[folder.name] = survey(engine, tables, REFUSE)
        # The files themselves too, as if every column were one of people's; rows from all over each.
        for file in folder.glob("*.parquet"):
            rows = pq.read_table(file, columns=pq.read_schema(file).names[:30])
            some = rows.take(pa.array(range(0, len(rows), max(1, len(rows) // 1_000))))
            alarms[f"{folder.name}/{file.name}"] = survey(engine, {"rows": engine.memtable(some)}, REFUSE)
    assert len(alarms) > 30
    assert {name: found for name, found in alarms.items() if found} == {}


def test_every_kind_is_told_apart() -> None:
    assert len({kind.noun for kind in KINDS}) == len(KINDS)

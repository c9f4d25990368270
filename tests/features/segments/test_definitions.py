"""Segments as they are written: what a file may say, and what it is told otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from features.errors import ConfigError, InputError, NotFoundError, StellarError
from features.segments.columns import Type
from features.segments.definitions import Segments, make_segments, read_segments

SCHEMA = {"purchase_recency_days": Type.NUMBER, "monetary_cents": Type.NUMBER, "country": Type.TEXT}

GOOD = """
segments:
  - name: lapsed Germans
    parent: lapsed
    where: country = "DE"
  - name: lapsed
    description: bought for more than 100, but not for three months
    where: >
      purchase_recency_days >= 90
      and monetary_cents > 10000
"""


def read(folder: Path, text: str) -> Segments:
    path = folder / "segments.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    return read_segments(path, SCHEMA)


def refused(kind: type[StellarError], folder: Path, text: str) -> str:
    with pytest.raises(StellarError) as caught:
        read(folder, text)
    assert type(caught.value).__mro__.index(kind) <= 1
    return str(caught.value)


def rule(**changes: Any) -> dict[str, Any]:
    return {"name": "a", "where": "monetary_cents > 1"} | changes


def test_a_file(tmp_path: Path) -> None:
    segments = read(tmp_path, GOOD)
    assert len(segments) == 2
    assert segments.names == ("lapsed Germans", "lapsed")
    assert segments.parents_first == ("lapsed", "lapsed Germans")
    assert segments.columns == ("country", "monetary_cents", "purchase_recency_days")
    assert segments.lineage("lapsed Germans") == ("lapsed Germans", "lapsed")
    assert segments.lineage("lapsed") == ("lapsed",)
    assert segments["lapsed"].description.startswith("bought for more")
    assert [segment.parent for segment in segments] == ["lapsed", None]


def test_an_empty_list_is_no_error(tmp_path: Path) -> None:
    assert len(read(tmp_path, "segments: []")) == 0


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("segments:\n - name: a\n   wher: x", ConfigError, "segments.0.where is not usable: field required"),
        ("segments:\n - {name: a, where: country = 'x', note: 1}", ConfigError, "note is not a known key"),
        ("segmants: []", ConfigError, "segments is not usable: field required"),
        ("segments: []\nrules: []", ConfigError, "rules is not a known key, received []; known are segments"),
        ("segments:\n - {name: 3, where: a}", ConfigError, "name is not usable: input should be a valid string"),
        ("segments:\n - {name: a, where: true}", ConfigError, "where is not usable: input should be a valid string"),
        ("segments:\n - {name: a/b, where: country = 'x'}", ConfigError, "name must be made of letters, digits"),
        ("segments: 3", ConfigError, "segments is not usable: input should be a valid list"),
        ("- 1", InputError, "must hold keys and values, received 'list'"),
        ("", InputError, "must hold keys and values, received 'NoneType'"),
        ("segments: [", InputError, "must be YAML"),
        ("segments:\n - name: a\n   where: monetary_cents > 1\n   where: 'true'", InputError, "'where' stands twice"),
        ("segments: !!python/object/apply:os.system [ls]", InputError, "must be YAML"),
        ("segments: &a [*a]", ConfigError, "segments.0 is not usable"),
        ("segments: \udcff", InputError, "must be YAML"),
        ("? {a: 1}\n: 2", InputError, "must be YAML"),
        ("segments: 2026-02-31", InputError, "must be YAML"),
        ("[" * 1_000, InputError, "must be YAML"),
    ],
)
def test_what_a_file_must_not_say(tmp_path: Path, text: str, kind: type[StellarError], said: str) -> None:
    assert said in refused(kind, tmp_path, text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="must be a file"):
        read_segments(tmp_path / "none.yaml", SCHEMA)


def test_the_place_of_a_mistake_in_a_condition(tmp_path: Path) -> None:
    said = refused(ConfigError, tmp_path, GOOD.replace("and monetary", "and monetery"))
    assert "lapsed.where at line 1, column 33 must be a known name, received 'monetery_cents'" in said
    assert "did you mean monetary_cents?" in said


def test_a_condition_must_be_one() -> None:
    with pytest.raises(ConfigError, match=r"a\.where at line 1, column 1 must be a condition or a flag"):
        make_segments([rule(where="monetary_cents")], SCHEMA)


def test_names_are_used_once() -> None:
    with pytest.raises(ConfigError, match="name must not be used twice, received 'a'"):
        make_segments([rule(), rule(where="monetary_cents > 2")], SCHEMA)


def test_a_parent_must_be_there() -> None:
    with pytest.raises(ConfigError, match=r"b\.parent must be a segment of this file, received 'A'; did you mean a\?"):
        make_segments([rule(), rule(name="b", parent="A")], SCHEMA)


@pytest.mark.parametrize("circle", [["a"], ["a", "b"], ["a", "b", "c"]])
def test_a_segment_is_not_its_own_ancestor(circle: list[str]) -> None:
    parents = dict(zip(circle, [*circle[1:], circle[0]], strict=True)) | {"outside": "a"}
    with pytest.raises(ConfigError, match=" -> ".join([*circle, circle[0]])):
        make_segments([rule(name=name, parent=parent) for name, parent in parents.items()], SCHEMA)


def test_a_long_line_of_ancestors() -> None:
    names = [f"s{at}" for at in range(1_200)]
    rules = [rule(name=name, parent=parent) for name, parent in zip(names, [*names[1:], None], strict=True)]
    segments = make_segments(rules, SCHEMA)
    assert segments.lineage("s0") == tuple(names)
    assert segments.parents_first == tuple(reversed(names))


def test_an_unknown_segment_is_named() -> None:
    with pytest.raises(NotFoundError, match=r"must be a known segment, received 'laps'; did you mean lapsed\?"):
        _ = make_segments([rule(name="lapsed")], SCHEMA)["laps"]

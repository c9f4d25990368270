"""C18: bestsellers per segment of what users do follow within one refresh; small segments get their parent's."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.replay import replay
from features.dataset import Dataset
from features.engine import Engine
from features.ingest import ingest
from features.schema import DAY_MS
from features.segments.segmented import segmented
from features.snapshot import Snapshot, build_snapshot
from features.split import ask
from serving.policy import Request, Slate, decide
from training.bestsellers import Bestsellers
from training.blend import Blend
from training.bundle import Bundle, save_bundle
from training.recommender import TrainingSet

#: The first day, in UTC, and the two instants of the story: one refresh lies between them.
START = 18_000 * DAY_MS
FIRST, SECOND = START + 10 * DAY_MS, START + 11 * DAY_MS
K = 5

RULES = [
    {"name": "runners", "where": 'top_category = "running"'},
    {"name": "womens running", "parent": "runners", "where": 'gender = "female"'},
    {"name": "mens running", "parent": "runners", "where": 'gender = "male"'},
]

#: Of each group of users: how many, their gender, how many items each looks at and buys, and of which.
GROUPS = {
    "w": (40, "female", 1, [f"run{number}" for number in range(5)]),
    "m": (6, "male", 4, [f"run{number}" for number in range(5, 9)]),
    "s": (300, "male", 1, [f"sneaker{number}" for number in range(6)]),
    "t": (100, "female", 1, [f"sneaker{number}" for number in range(6)]),
}
SNEAKERS = {f"sneaker{number}" for number in range(6)}

#: On the day between, the women runners all buy one shoe, and one sneaker buyer has begun to look at running shoes.
NEW, CONVERT = "run9", "t0"


def written(folder: Path) -> Dataset:
    """The shop's files: ten days, the day between, and a day after it."""
    events: list[tuple[str, str, str, int]] = []
    for group, (size, _, each, items) in GROUPS.items():
        for number, turn in product(range(size), range(each)):
            user, item = f"{group}{number}", items[(number + turn) % len(items)]
            ts = START + 9 * DAY_MS + 1000 * number + turn
            events += [(user, item, "view", ts), (user, item, "purchase", ts + 500)]
    day = FIRST + DAY_MS // 2
    for number in range(40):
        events += [(f"w{number}", NEW, "view", day + number), (f"w{number}", NEW, "purchase", day + 500 + number)]
    events += [(CONVERT, f"run{number % 5}", "view", day + number) for number in range(30)]
    after = SECOND + DAY_MS // 2
    events += [(user, "run0", "purchase", after) for user in ("w1", "m1", "s1", CONVERT, "stranger")]
    folder.mkdir()
    frame = pd.DataFrame(events, columns=["user_id", "item_id", "event_type", "ts"])
    frame.assign(event_id=[f"e{number}" for number in range(len(frame))]).to_parquet(folder / "events.parquet")
    items = [*SNEAKERS, *(f"run{number}" for number in range(10))]
    categories = ["sneakers" if item in SNEAKERS else "running" for item in items]
    listed = pd.DataFrame({"item_id": items, "valid_from": START - DAY_MS, "category": categories, "available": True})
    listed.to_parquet(folder / "items.parquet")
    users = [(f"{group}{number}", of[1]) for group, of in GROUPS.items() for number in range(of[0])]
    known = pd.DataFrame(users, columns=["user_id", "gender"]).assign(valid_from=START - DAY_MS)
    known.to_parquet(folder / "users.parquet")
    ingest(folder, "tables", folder / "out")
    return Dataset.open(folder / "out")


@dataclass(frozen=True)
class Day:
    """What is known at an instant, and the bundle that answers from it."""

    snapshot: Snapshot
    model: Bestsellers
    bundle: Bundle


def refreshed(snapshot: Snapshot, model: Bestsellers, folder: Path) -> Day:
    blend = Blend.of_one("bestsellers", model, snapshot)
    return Day(snapshot, model, save_bundle(folder, blend, snapshot, arm="segments", policy={}))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Day, Day, Snapshot]:
    """The data, the first day, the second after one refresh, and its snapshot computed from the beginning."""
    folder = tmp_path_factory.mktemp("c18")
    dataset = written(folder / "shop")
    with Engine.duckdb(threads=1) as engine:
        first = segmented(engine, build_snapshot(engine, dataset, FIRST), RULES)
        second = segmented(engine, build_snapshot(engine, dataset, SECOND, first.basis), RULES)
        whole = segmented(engine, build_snapshot(engine, dataset, SECOND), RULES)
    model = Bestsellers(by=("segment", "segment_2")).fit(TrainingSet(first))
    before = refreshed(first, model, folder / "first")
    return dataset, before, refreshed(second, model.refit(TrainingSet(second)), folder / "second"), whole


def slate(day: Day, user_id: str) -> Slate:
    return decide(Request(user_id, K, now_ms=day.bundle.as_of_ms + 1), [], day.bundle)


def items(day: Day, user_id: str) -> list[str]:
    return [item.item_id for item in slate(day, user_id).items]


def test_a_segment_with_enough_data_never_shows_the_global_list(story: tuple[Dataset, Day, Day, Snapshot]) -> None:
    for day in story[1:3]:
        assert set(items(day, "stranger")) <= SNEAKERS
        for number in range(40):
            assert not set(items(day, f"w{number}")) & SNEAKERS
    assert set(items(story[1], "w0")) == set(GROUPS["w"][-1])


def test_the_answer_says_which_segment_and_that_behaviour_decided(story: tuple[Dataset, Day, Day, Snapshot]) -> None:
    day = story[1]
    assert {(item.level, item.reason) for item in slate(day, "w0").items} == {
        ("L2", "bestseller in runners, womens running")
    }
    assert {(item.level, item.reason) for item in slate(day, "stranger").items} == {("popular", "popular now")}


def test_a_small_segment_gets_its_parents_list_exactly(story: tuple[Dataset, Day, Day, Snapshot]) -> None:
    """Six men run, who bought enough; but six are too few for a list of their own."""
    day = story[1]
    assert list(day.snapshot.user_matrix.loc["m0", ["segment", "segment_2"]]) == ["runners", "mens running"]
    assert {item.reason for item in slate(day, "m0").items} == {"bestseller in runners"}
    men = day.model.score_all(day.snapshot.sequences.take(day.snapshot.users.encode(["m0"]).astype(np.int64)))
    parent = Bestsellers(by=("segment",)).fit(TrainingSet(day.snapshot))
    runners = parent.score_all(day.snapshot.sequences.take(day.snapshot.users.encode(["w0"]).astype(np.int64)))
    np.testing.assert_array_equal(men, runners)


def test_one_refresh_brings_a_new_bestseller_to_its_segment_only(story: tuple[Dataset, Day, Day, Snapshot]) -> None:
    _, before, after, _ = story
    assert NEW not in items(before, "w0")
    assert items(after, "w0")[0] == NEW
    assert items(after, "s0") == items(before, "s0")


def test_one_refresh_moves_who_changed_what_they_look_at(story: tuple[Dataset, Day, Day, Snapshot]) -> None:
    _, before, after, _ = story
    assert set(items(before, CONVERT)) <= SNEAKERS
    assert items(after, CONVERT) == items(after, "w0")


def test_a_refresh_is_as_good_as_a_new_beginning(story: tuple[Dataset, Day, Day, Snapshot]) -> None:
    _, _, after, whole = story
    assert after.snapshot.digest == whole.digest
    anew = Bestsellers(by=("segment", "segment_2")).fit(TrainingSet(whole))
    everybody = whole.sequences
    np.testing.assert_array_equal(anew.score_all(everybody), after.model.score_all(everybody))


def test_replay_shows_what_the_service_shows(story: tuple[Dataset, Day, Day, Snapshot]) -> None:
    dataset, _, after, _ = story
    with Engine.duckdb(threads=1) as engine:
        asked = ask(engine, dataset, after.snapshot, SECOND + DAY_MS)
    shown = replay(after.bundle.blend, asked, K, after.bundle.available)
    assert len(asked) == 5
    for user_id, ids in zip(asked.histories.user_ids, shown.ids, strict=True):
        assert after.bundle.items.decode(ids).tolist() == items(after, user_id)
    assert shown.levels["L2"]["shown"] > 0.5


def test_a_bundle_holds_the_groups_that_it_ranks_by_and_no_others(story: tuple[Dataset, Day, Day, Snapshot]) -> None:
    bundle = story[1].bundle
    assert list(bundle.sequences.attributes) == ["gender", "segment", "segment_2"]
    assert bundle.question("stranger", SECOND).attributes["segment"].tolist() == ["missing"]

"""Bundles: what is written is what is read, and what was changed is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.dataset import Dataset
from features.errors import InputError, NotFoundError
from features.online import Past, UserFold
from features.schema import MISSING, EventType
from features.snapshot import Snapshot
from training import registry, tracking
from training.blend import Blend
from training.bundle import ABOUT, RECORDED_USERS, Bundle, save_bundle
from training.train import Trained


@pytest.fixture(scope="module")
def bundle(saved_bundle: Path) -> Bundle:
    return Bundle.load(saved_bundle)


@pytest.fixture
def folder(saved_bundle: Path, tmp_path: Path) -> Path:
    """An own copy that a test may change."""
    return Path(shutil.copytree(saved_bundle, tmp_path / "bundle"))


def champion(trained: Trained) -> Blend:
    blend = trained.models["champion"]
    assert isinstance(blend, Blend)
    return blend


def test_a_bundle_answers_as_the_models_in_memory(bundle: Bundle, trained: Trained) -> None:
    blend, snapshot = champion(trained), trained.snapshot
    expected, scores = blend.recommend(snapshot.sequences, 10, bundle.available)
    for row in range(0, len(snapshot.users), 97):
        answer = bundle.recommend([snapshot.users.ids[row]], 10)
        assert answer["item_id"].tolist() == snapshot.items.decode(expected[row]).tolist()
        np.testing.assert_allclose(answer["score"], scores[row], rtol=1e-5)
        assert answer["rank"].tolist() == list(range(1, 11))
    assert bundle.as_of_ms == snapshot.as_of_ms and bundle.arm == "champion"
    assert bundle.about["snapshot_digest"] == snapshot.digest


def test_only_files_that_execute_nothing(saved_bundle: Path) -> None:
    endings = {path.suffix for path in saved_bundle.rglob("*") if path.is_file()}
    assert endings == {".json", ".npz", ".npy", ".safetensors", ".parquet"}
    for path in saved_bundle.rglob("*.npy"):
        np.load(path, allow_pickle=False)


def test_only_available_items_are_shown(bundle: Bundle) -> None:
    first = bundle.recommend(["nobody"], 3)["item_id"].tolist()
    catalogue = bundle.catalogue.assign(available=~bundle.catalogue.index.isin(first))
    shown = replace(bundle, catalogue=catalogue).recommend(["nobody"], len(bundle.items))["item_id"]
    assert set(shown) == set(bundle.items.ids) - set(first)


def test_equal_builds_have_equal_digests_and_other_seeds_others(
    bundle: Bundle, trained: Trained, fit_small: Callable[..., Trained], shop_data: Dataset, tmp_path: Path
) -> None:
    def digest(built: Trained, name: str, arm: str = "champion") -> str:
        return save_bundle(tmp_path / name, champion(built), built.snapshot, arm=arm, policy={}).digest

    assert digest(fit_small(shop_data), "again") == bundle.digest
    assert digest(fit_small(shop_data, seed=1), "seed") != bundle.digest
    assert digest(trained, "arm", "challenger") != bundle.digest


def flip(path: Path, at: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    path.write_bytes(content)


def change_json(path: Path, key: str, value: object) -> None:
    about = json.loads(path.read_text(encoding="utf-8"))
    about[key] = value
    path.write_text(json.dumps(about), encoding="utf-8")


BROKEN: dict[str, Callable[[Path], object]] = {
    "a bit of the events": lambda folder: flip(folder / "sequences.npz"),
    "a bit of a part": lambda folder: flip(folder / "blend/parts/bestsellers/shares.npz"),
    "a bit of the network": lambda folder: flip(folder / "blend/parts/transformer/weights.safetensors"),
    "a bit of the catalogue": lambda folder: flip(folder / "catalogue.parquet", 0.1),
    "a bit of what users did": lambda folder: flip(folder / "known/counts.number.npy", 0.9),
    "a rule of a segment": lambda folder: change_json(folder / "segments.json", "segments", [{"name": "x"}]),
    "a weight": lambda folder: change_json(folder / "blend/model.json", "scales", [1.0] * 5),
    "the policy": lambda folder: change_json(folder / "policy.json", "off", ["L3"]),
    "what it says about itself": lambda folder: change_json(folder / ABOUT, "arm", "another"),
    "its instant": lambda folder: change_json(folder / ABOUT, "as_of_ms", 0),
    "its digest": lambda folder: change_json(folder / ABOUT, "digest", "0" * 64),
    "its format": lambda folder: change_json(folder / ABOUT, "format", 99),
    "a file that is gone": lambda folder: (folder / "policy.json").unlink(),
    "a part that is gone": lambda folder: shutil.rmtree(folder / "blend/parts/live"),
    "a file more": lambda folder: (folder / "more.json").write_text("{}"),
    "an empty file": lambda folder: (folder / "sequences.npz").write_bytes(b""),
    "half a file": lambda folder: (folder / "users.parquet").write_bytes((folder / "users.parquet").read_bytes()[:99]),
    "half a JSON": lambda folder: (folder / "requests.json").write_text('[{"user_id": '),
    "half of what it says about itself": lambda folder: (folder / ABOUT).write_text('{"format": 1,'),
    "something else": lambda folder: (folder / ABOUT).write_text("[]"),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_what_was_changed_is_refused(folder: Path, change: Callable[[Path], object]) -> None:
    Bundle.load(folder)
    change(folder)
    with pytest.raises(InputError, match=r"^bundle must .*train it again$"):
        Bundle.load(folder)


def test_what_users_did_is_mapped_and_goes_on_to_the_rows_of_the_snapshot(bundle: Bundle, trained: Trained) -> None:
    known, users = bundle.known, trained.snapshot.user_matrix
    assert known is not None and all(isinstance(values.base, np.memmap) for values in known.arrays.values())
    for user in users.index[::60]:
        past = known.past(str(user), bundle.did(str(user)), bundle.items)
        fold = UserFold.after(past, bundle.as_of_ms, bundle.listings, known.consents([str(user)]))
        row, expected = fold.row(bundle.as_of_ms, known.population, bundle.items), users.loc[user]
        assert row == {name: None if pd.isna(expected[name]) else expected[name] for name in row}
    assert bundle.told == trained.snapshot.attributes
    nobody = known.past("nobody", bundle.did("nobody"), bundle.items)
    assert nobody == Past() and known.orders("nobody") == []


def test_a_snapshot_of_which_nothing_more_is_known_makes_a_bundle_without_it(trained: Trained, tmp_path: Path) -> None:
    snapshot = trained.snapshot
    plain = Snapshot(**{one.name: getattr(snapshot, one.name) for one in fields(Snapshot)})
    made = save_bundle(tmp_path / "plain", champion(trained), plain, arm="champion", policy={})
    assert made.known is None and len(made.segments) == 0
    made.check_recorded()


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"bundle must hold bundle\.json"):
        Bundle.load(tmp_path)


def test_recorded_requests_are_answered_as_before(bundle: Bundle) -> None:
    bundle.check_recorded()
    assert len(bundle.recorded) == RECORDED_USERS + 1
    assert all(len(request["items"]) == 10 for request in bundle.recorded)


def test_a_model_that_answers_otherwise_is_found_though_the_digest_is_right(trained: Trained, folder: Path) -> None:
    blend = champion(trained)
    weights = blend.quiet
    requests = (folder / "requests.json").read_text(encoding="utf-8")
    model = json.loads((folder / "blend/model.json").read_text(encoding="utf-8"))
    model["quiet"] = weights[::-1].tolist()
    (folder / "blend/model.json").write_text(json.dumps(model), encoding="utf-8")
    with pytest.raises(InputError) as refused:
        Bundle.load(folder)
    change_json(folder / ABOUT, "digest", refused.value.received)
    changed = Bundle.load(folder)
    assert (folder / "requests.json").read_text(encoding="utf-8") == requests
    with pytest.raises(InputError, match="must answer its recorded requests"):
        changed.check_recorded()


def test_an_answer_of_another_length_is_found(bundle: Bundle) -> None:
    request = dict(bundle.recorded[0])
    for items in (request["items"][:5], [*request["items"], "i-more"]):
        recorded = [{**request, "items": items, "scores": [1.0] * len(items)}]
        other = replace(bundle, recorded=recorded)
        with pytest.raises(InputError, match="must answer its recorded requests"):
            other.check_recorded()


def test_a_question_about_a_known_user(bundle: Bundle, trained: Trained) -> None:
    sequences = trained.snapshot.sequences
    row = int(np.argmax(sequences.lengths))
    item, now = str(bundle.items.ids[7]), bundle.as_of_ms + 60_000
    events = [(item, EventType.VIEW, now - 30), (None, EventType.SEARCH, now - 20), ("nosuch", EventType.VIEW, now - 1)]
    asked = bundle.question(sequences.user_ids[row], now, events, {"country": "FR", "gender": ""})
    past = sequences.take(np.array([row]))
    assert asked.items.tolist() == [*past.items.tolist(), 7, -1, -1]
    assert asked.ts.tolist() == [*past.ts.tolist(), now - 30, now - 20, now - 1]
    kinds = [EventType.VIEW.code, EventType.SEARCH.code, EventType.VIEW.code]
    assert asked.event_types.tolist() == [*past.event_types.tolist(), *kinds]
    assert asked.live().lengths.tolist() == [3] and asked.past().lengths.tolist() == past.lengths.tolist()
    assert (asked.items.dtype, asked.event_types.dtype, asked.ts.dtype) == (np.int32, np.int8, np.int64)
    assert asked.attributes["country"].tolist() == ["FR"]
    assert asked.attributes["gender"].tolist() == past.attributes["gender"].tolist()
    assert (asked.as_of_ms.tolist(), asked.snapshot_ms.tolist()) == ([now], [bundle.as_of_ms])


def test_a_question_about_somebody_unknown(bundle: Bundle) -> None:
    asked = bundle.question("nobody", bundle.as_of_ms, attributes={"country": "DE", "shoe_size": "42"})
    assert asked.lengths.tolist() == [0]
    assert {name: values.tolist() for name, values in asked.attributes.items()} == {
        "country": ["DE"],
        "gender": [MISSING],
        "age_band": [MISSING],
    }


def test_a_registered_bundle_answers_through_mlflow(store: Path, saved_bundle: Path, bundle: Bundle) -> None:
    users = [*bundle.users.ids[[0, 5]].tolist(), "nobody"]
    with tracking.run("shop", "fit") as run:
        version = registry.register_bundle(run, saved_bundle, digest=bundle.digest, example_users=users[:1])
    registry.set_alias("champion", version)
    model = tracking.mlflow().pyfunc.load_model(f"models:/{registry.POLICY}@champion")
    answer = model.predict(pd.DataFrame({"user_id": users, "k": [5, 5, 5]}))
    expected = bundle.recommend(users, 5)
    assert answer["item_id"].tolist() == expected["item_id"].tolist()
    assert answer["score"].tolist() == expected["score"].tolist()
    assert Bundle.load(registry.champion_folder()).digest == bundle.digest

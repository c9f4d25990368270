"""Heads against planted chances: right as numbers, refused where they are not, the same after loading."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from features.dataset import Dataset
from features.errors import ConfigError, InputError, NotFoundError
from features.schema import DAY_MS, EventType
from training.intent.calibration import logistic_line
from training.intent.contract import OVERALL
from training.intent.fit import Contest, build_predictors, fit_head, origins_ms, readable_columns
from training.intent.heads import Head, UserIntent
from training.intent.predictor import Matrix, Vector, predictor_class
from training.intent.targets import Target

N = 6_000
TARGET = Target(name="buy_7d", events=(EventType.PURCHASE,), horizon_days=7)


def people(seed: int, n: int = N) -> tuple[pd.DataFrame, np.ndarray]:
    """Users, and the true chance of each."""
    rng = np.random.default_rng(seed)
    users = pd.DataFrame(
        {
            "country": rng.choice(["DE", "FR", "missing"], n, p=[0.6, 0.3, 0.1]),
            "views_7d": rng.poisson(3, n),
            "recency_days": pd.array(np.where(rng.random(n) < 0.2, None, rng.integers(0, 60, n)), dtype="Int64"),
            "noise": rng.normal(size=n),
        },
        index=pd.Index([f"u{row}" for row in range(n)], name="user_id"),
    )
    recency = users["recency_days"].to_numpy(dtype=np.float64, na_value=60.0)
    return users, expit(-1.2 + 0.35 * users["views_7d"].to_numpy() - 0.04 * recency + (users["country"] == "FR"))


def drawn(chance: np.ndarray, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random(len(chance)) < chance).astype(np.float64)


@pytest.fixture(scope="module", params=["boosting", "logistic"])
def head(request: pytest.FixtureRequest) -> Head:
    users, chance = people(0)
    return fit_head(TARGET, users, drawn(chance, 1), ["country"], predictor_class(request.param), 0)


def test_chances_are_right_as_numbers(head: Head) -> None:
    users, chance = people(2)
    found = head.chances(users)
    assert (found.refused == "").all()
    assert {judgement.segment for judgement in head.judged.judgements} == {
        OVERALL,
        "country=DE",
        "country=FR",
        "country=missing",
    }
    for rows in (np.ones(N, bool), (users["country"] == "FR").to_numpy()):
        line, _ = logistic_line(logit(found.probability[rows]), drawn(chance, 3)[rows])
        assert line[1] == pytest.approx(1.0, abs=0.12) and line[0] == pytest.approx(0.0, abs=0.12)
    assert np.corrcoef(found.probability, chance)[0, 1] > 0.9
    assert np.corrcoef(np.argsort(np.argsort(found.probability)), found.rank)[0, 1] > 0.99
    assert 0 <= found.rank.min() < 0.02 and 0.98 < found.rank.max() <= 1


class Spoiled(predictor_class("logistic")):  # type: ignore[misc]
    """Takes shoppers from France for much keener than they are."""

    def log_odds(self, x: Matrix) -> Vector:
        return super().log_odds(x) + 2.0 * x[:, 1]


def test_what_is_spoiled_on_purpose_is_a_rank_only() -> None:
    users, chance = people(0)
    head = fit_head(TARGET, users, drawn(chance, 1), ["country"], Spoiled, 0)
    assert head.encoder.names[1] == "country=FR"
    verdicts = {judgement.segment: judgement for judgement in head.judged.judgements}
    assert not verdicts["country=FR"].probability and verdicts["country=FR"].reason == "mean_off"
    french, found = (users["country"] == "FR").to_numpy(), head.chances(users)
    assert np.isnan(found.probability[french]).all() and (found.refused[french] != "").all()
    assert np.isfinite(found.rank).all()


def test_the_predictor_that_is_right_is_chosen() -> None:
    """Where the truth is a line the line is served, by its log loss on users that it had not learned from."""
    users, chance = people(0, 1_200)
    did = drawn(chance, 1)
    makers = build_predictors({"line": {"predictor": "logistic"}, "flat": {"predictor": "logistic", "ridge": 1e9}})
    heads = {name: fit_head(TARGET, users, did, [], make, 0) for name, make in makers.items()}
    contest = Contest(7, {"buy_7d": heads})
    assert contest.chosen == {"buy_7d": "line"} and contest.won.heads["buy_7d"] is heads["line"]
    assert contest.won.as_of_ms == 7
    # Without anything to go by the loss is the entropy of the share.
    share = did.mean()
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert heads["flat"].judged.log_loss == pytest.approx(entropy, rel=0.01)
    truth = -(did * np.log(chance) + (1 - did) * np.log(1 - chance)).mean()
    assert truth < heads["line"].judged.log_loss < truth + 0.02 < entropy


def test_predictors_that_cannot_be_made_are_refused_before_anything_is_fitted() -> None:
    with pytest.raises(ConfigError, match=r"predictors must name at least one"):
        build_predictors({})
    with pytest.raises(ConfigError, match=r"predictors.tall.predictor is required"):
        build_predictors({"tall": {"depth": 3}})
    with pytest.raises(NotFoundError, match="forest"):
        build_predictors({"tall": {"predictor": "forest"}})
    with pytest.raises(ConfigError, match="height is not a known key"):
        build_predictors({"tall": {"predictor": "boosting", "height": 3}})


class Remembers(predictor_class("logistic")):  # type: ignore[misc]
    """Knows what everybody did whom it has learned from, and nothing of others."""

    def fit(self, x: Matrix, y: Vector, weight: Vector | None = None) -> Remembers:
        super().fit(x, y, weight)
        self.did = dict(zip(x[:, 0].tolist(), y.tolist(), strict=True))
        return self

    def log_odds(self, x: Matrix) -> Vector:
        return np.array([4.0 * (2 * self.did[who] - 1) if who in self.did else 0.0 for who in x[:, 0].tolist()])


def test_who_is_left_out_is_left_out_of_all_windows() -> None:
    """Each does the same in all windows: from another window, it would be known."""
    users = pd.DataFrame({"number": np.arange(600.0)}, index=pd.Index([f"u{row}" for row in range(600)]))
    did = drawn(np.full(600, 0.4), 1)
    earlier = [(users.iloc[order], did[order]) for order in (np.arange(600)[::-1], np.arange(0, 600, 2))]
    head = fit_head(TARGET, users, did, [], Remembers, 0, earlier)
    assert (head.judged.quantiles == 0).all() and head.judged.judgements[0].n == 600
    assert (head.predictor.log_odds(head.encoder.transform(users)) == 4 * (2 * did - 1)).all()


def test_earlier_windows_make_the_numbers_more_right() -> None:
    """With four times the outcomes, the mean error of planted chances is a good deal smaller."""
    small = 1_500
    errors = {}
    asked, chance = people(50, N)
    for windows in (1, 4):
        rows, outcomes = zip(
            *((users, drawn(true, 70 + n)) for n in range(windows) for users, true in [people(60 + n, small)]),
            strict=True,
        )
        earlier = list(zip(rows[1:], outcomes[1:], strict=True))
        head = fit_head(TARGET, rows[0], outcomes[0], [], predictor_class("logistic"), 0, earlier)
        p = head.judged.calibrator.apply(head.predictor.predict(head.encoder.transform(asked)))
        errors[windows] = float(np.abs(p - chance).mean())
    assert errors[4] < 0.7 * errors[1]


@pytest.mark.parametrize(
    ("days", "known_days", "windows"),
    [
        (7, 90, [7, 14, 21, 28]),
        (7, 20, [7]),
        (7, 21, [7, 14]),
        (30, 90, [30]),
        (14, 90, [14, 28]),
        (3, 15, [3, 6, 9, 12]),
    ],
)
def test_windows_lie_within_reach_and_have_data_before_them(days: float, known_days: int, windows: list[int]) -> None:
    data = Dataset(Path("nowhere"), {"first_ms": 1_000 * DAY_MS})
    as_of_ms = data.first_ms + known_days * DAY_MS
    target = Target(name="buy", events=(EventType.PURCHASE,), horizon_days=days)
    assert origins_ms(data, target, as_of_ms) == [as_of_ms - back * DAY_MS for back in windows]
    with pytest.raises(ConfigError, match="as_of must leave the horizon of buy"):
        origins_ms(data, target, data.first_ms + target.horizon_ms)


def test_reasons_are_columns_that_moved_it(head: Head) -> None:
    users, _ = people(4, 50)
    users.loc["u0", ["views_7d", "recency_days", "country"]] = [15, 0, "FR"]
    told = head.moved_most(users)
    assert len(told) == 50 and {len(each) for each in told} == {3}
    assert told[0][0].column == "views_7d" and told[0][0].value == 15 and told[0][0].log_odds > 0.5
    assert all(abs(a.log_odds) >= abs(b.log_odds) for each in told for a, b in pairwise(each))
    x = head.encoder.transform(users)
    everything = head.moved_most(users, most=4)
    added = [sum(moved.log_odds for moved in each) for each in everything]
    assert head.predictor.base + np.array(added) == pytest.approx(head.predictor.log_odds(x), abs=1e-6)


def test_what_is_saved_answers_equally(head: Head, tmp_path: Path) -> None:
    UserIntent(5, {"buy_7d": head}).save(tmp_path / "intent")
    again = UserIntent.load(tmp_path / "intent")
    assert again.as_of_ms == 5 and again.heads["buy_7d"].target == TARGET
    users, _ = people(6, 300)
    before, after = head.chances(users), again.heads["buy_7d"].chances(users)
    assert np.array_equal(before.probability, after.probability) and np.array_equal(before.rank, after.rank)
    assert head.moved_most(users.head(3)) == again.heads["buy_7d"].moved_most(users.head(3))
    assert not [path for path in tmp_path.rglob("*") if path.suffix in {".pkl", ".pickle", ".joblib"}]


def test_single_affinities_are_not_read() -> None:
    users, _ = people(0, 5)
    assert list(readable_columns(users.assign(**{"affinity:mugs": 0.5}))) == list(users.columns)


def test_nobody_is_an_error() -> None:
    users, _ = people(0, 100)
    with pytest.raises(InputError, match="both must occur"):
        fit_head(TARGET, users, np.zeros(100), ["country"], predictor_class("logistic"), 0)


def test_one_user_is_answered_like_many(head: Head) -> None:
    users, _ = people(7, 40)
    many, reasons = head.chances(users), head.moved_most(users)
    for row in range(40):
        one, moved = head.answer({name: users[name].iloc[row] for name in users})
        assert one.probability == pytest.approx(many.probability[row], rel=1e-12) and one.refused is None
        assert one.rank == pytest.approx(many.rank[row], abs=2e-3)
        assert [each.column for each in moved] == [each.column for each in reasons[row]]
        assert [each.value for each in moved] == [each.value for each in reasons[row]]

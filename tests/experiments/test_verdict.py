"""What an interval decides, and how it is drawn."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import plots
from experiments.statistics import Lift
from experiments.verdict import Verdict, judge
from features.errors import ConfigError

LIFT = Lift(
    mean_control=0.1,
    mean_arm=0.12,
    difference=0.02,
    low=0.01,
    high=0.03,
    relative=0.2,
    relative_low=0.1,
    relative_high=0.3,
    p_value=0.001,
    n_users=1000,
    n_changed=400,
)


def lift(**changes: float | None) -> Lift:
    return dataclasses.replace(LIFT, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.001, 0.03, Verdict.SHIP),
        (0.0, 0.03, Verdict.CANNOT_TELL),
        (-0.01, 0.03, Verdict.CANNOT_TELL),
        (0.0, 0.0, Verdict.CANNOT_TELL),
        (-0.03, 0.0, Verdict.CANNOT_TELL),
        (-0.03, -0.001, Verdict.HOLD),
    ],
)
def test_the_interval_decides(low: float, high: float, verdict: Verdict) -> None:
    judgement = judge(lift(low=low, high=high))
    assert judgement.verdict == verdict
    assert judgement.judged
    assert f"{low:+.4g} to {high:+.4g}" in judgement.reason


def test_few_users_are_not_judged() -> None:
    judgement = judge(lift(n_users=499))
    assert (judgement.verdict, judgement.judged) == (Verdict.CANNOT_TELL, False)
    assert judgement.reason == "not judged: 499 users, 500 are needed"
    assert judge(lift(n_users=500)).judged
    assert judge(lift(n_users=50), min_users=50).verdict == Verdict.SHIP


def test_few_changed_users_cannot_tell() -> None:
    assert judge(lift(n_changed=49)).verdict == Verdict.CANNOT_TELL
    assert "only 49 users" in judge(lift(n_changed=49)).reason
    assert judge(lift(n_changed=50)).verdict == Verdict.SHIP


def test_verdicts_are_written_as_in_the_tags() -> None:
    assert [str(each) for each in Verdict] == ["ship", "hold", "cannot_tell"]


def drawn_words(lifts: dict[str, Lift]) -> str:
    figure = plots.lift_plot(lifts, metric="NDCG@20", title="Lifts", control="popularity")
    (axes,) = figure.axes
    return "\n".join([text.get_text() for text in axes.texts] + [label.get_text() for label in axes.get_yticklabels()])


def test_the_plot_shows_every_arm_with_its_numbers_and_verdict() -> None:
    worse = lift(relative=-0.2, relative_low=-0.3, relative_high=-0.1, low=-0.03, high=-0.01)
    words = drawn_words({"blend": LIFT, "worse": worse})
    for expected in ("blend", "ship", "+20.0 %  [+10.0, +30.0]", "worse", "hold", "−20.0 %  [−30.0, −10.0]"):
        assert expected in words
    assert "NDCG@20 against popularity · 1,000 users" in words


def test_the_plot_is_absolute_where_a_relative_lift_is_unknown() -> None:
    words = drawn_words({"a": LIFT, "b": lift(relative=None, relative_low=None, relative_high=None)})
    assert words.count("+0.0200  [+0.0100, +0.0300]") == 2


def test_an_unbounded_interval_is_drawn_as_a_point() -> None:
    unbounded = lift(low=-math.inf, high=math.inf, relative_low=None, relative_high=None, n_users=1)
    assert "not judged" in drawn_words({"a": unbounded})


def test_the_best_arm_is_on_top() -> None:
    arms = {name: lift(relative=value) for name, value in (("middle", 0.2), ("best", 0.3), ("worst", 0.1))}
    (axes,) = plots.lift_plot(arms, metric="NDCG@20", title="Lifts").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["worst", "middle", "best"]


def test_saved_pictures_are_reproducible(tmp_path: Path) -> None:
    paths = [tmp_path / "new" / "lifts.png", tmp_path / "new" / "lifts.svg"]
    contents = []
    for _ in range(2):
        plots.save_plot(plots.lift_plot({"a": LIFT}, metric="NDCG@20", title="Lifts"), paths)
        contents.append([path.read_bytes() for path in paths])
    assert contents[0] == contents[1]
    assert contents[0][0].startswith(b"\x89PNG")
    assert b"<svg" in contents[0][1]


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one arm"):
        plots.lift_plot({}, metric="NDCG@20", title="Lifts")


def test_plots_leave_pyplot_alone() -> None:
    code = (
        "import sys; from experiments import plots; from tests.experiments.test_verdict import LIFT;"
        "plots.lift_plot({'a': LIFT}, metric='m', title='t'); sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    root = Path(plots.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0

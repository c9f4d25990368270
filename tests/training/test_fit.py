"""The training loop: what it keeps, when it stops, what it refuses."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from features.errors import ConfigError, InputError
from training.fit import RECENT, Average, FitConfig, choose_device, fit, seed_everything, warmed_up
from training.fit_checkpoint import FILE, Checkpoint
from training.recommender import Curve


def drift(
    module: nn.Linear,
    config: FitConfig,
    scores: list[float] | None,
    least_gain: float = 0.0,
    stop_after: int | None = None,
) -> tuple[list[torch.Tensor], Curve]:
    """Train towards a far away bias; the weights after each epoch, and the curve."""
    after: list[torch.Tensor] = []
    remaining = iter(scores or [])
    curve = fit(
        module,
        config,
        batches=lambda rng: [torch.zeros(1, 1)] * 3,
        loss=lambda batch: (module(batch) - 100).square().mean(),
        validate=None if scores is None else lambda: next(remaining),
        progress=lambda done, of, metrics: after.append(module.bias.detach().clone()),
        least_gain=least_gain,
        stop_after=stop_after,
    )
    return after, curve


def test_the_best_epochs_weights_are_kept() -> None:
    module = nn.Linear(1, 1)
    after, curve = drift(module, FitConfig(epochs=8, patience=2), [0.1, 0.5, 0.5, 0.2, 0.9])
    assert curve.best_epoch == 2  # a tie is no improvement
    assert curve.validation == [0.1, 0.5, 0.5, 0.2]  # two epochs without a better one end it
    assert len(curve.loss) == len(curve.seconds) == 4
    assert torch.equal(module.bias, after[1])
    assert not torch.equal(module.bias, after[3])
    assert not module.training


def test_without_validation_all_epochs_are_run_and_the_last_is_kept() -> None:
    module = nn.Linear(1, 1)
    after, curve = drift(module, FitConfig(epochs=4, patience=1), None)
    assert curve.best_epoch == 4 and curve.validation == []
    assert torch.equal(module.bias, after[3])
    assert curve.loss == sorted(curve.loss, reverse=True)


def test_no_epoch_begins_after_so_many_steps_unless_it_was_chosen() -> None:
    config = FitConfig(epochs=8, steps=7)
    after, _ = drift(nn.Linear(1, 1), config, None)
    assert len(after) == 3  # of three steps each: the third begins after six
    assert len(drift(nn.Linear(1, 1), config, None, stop_after=5)[0]) == 5


def test_patience_outlasts_a_dip() -> None:
    _, curve = drift(nn.Linear(1, 1), FitConfig(epochs=6, patience=3), [0.5, 0.1, 0.1, 0.6, 0.2, 0.2])
    assert curve.best_epoch == 4
    assert len(curve.validation) == 6


def test_small_gains_do_not_count() -> None:
    module = nn.Linear(1, 1)
    after, curve = drift(
        module, FitConfig(epochs=9, patience=2), [0.1, 0.5, 0.53, 0.56, 0.9, 0.9, 0.9], least_gain=0.05
    )
    # The third epoch is as good as the second, the fourth is not: small gains add up.
    assert curve.best_epoch == 5 and len(curve.validation) == 7
    module = nn.Linear(1, 1)
    after, curve = drift(module, FitConfig(epochs=9, patience=2), [0.1, 0.5, 0.53, 0.54, 0.9], least_gain=0.05)
    assert curve.best_epoch == 2 and len(curve.validation) == 4
    assert torch.equal(module.bias, after[1])


def test_without_any_batch_nothing_changes() -> None:
    module = nn.Linear(1, 1)
    before = module.bias.detach().clone()
    curve = fit(module, FitConfig(), batches=lambda rng: [], loss=lambda batch: module(batch).sum())
    assert curve.loss == [] and curve.best_epoch == 0
    assert torch.equal(module.bias, before)
    assert not module.training


def test_the_learning_rate_rises_through_the_first_epoch_and_stays() -> None:
    rates = [warmed_up(step / 100) for step in range(301)]
    assert rates[0] == 0.04 and rates == sorted(rates)
    assert set(rates[100:]) == {1.0} and max(rates[:100]) < 1.0


def test_the_average_weighs_steps_by_a_polynomial() -> None:
    """Weights of a polynomial-decay average written out: those of step t grow like t ** RECENT."""
    module, steps = nn.Linear(1, 1), 50
    average, values = Average(module), torch.randn(steps, dtype=torch.float64)
    for value in values.tolist():
        nn.init.constant_(module.bias, value)
        average.add()
    shares = torch.ones(steps, dtype=torch.float64)
    for t in range(2, steps + 1):
        newest = (RECENT + 1) / (t + RECENT)
        shares[: t - 1] *= 1 - newest
        shares[t - 1] = newest
    average.swap()
    assert module.bias.item() == pytest.approx(float(shares @ values), abs=1e-5)
    assert shares.sum().item() == pytest.approx(1) and shares[-1] > 10 * shares[steps // 2]
    average.swap()
    assert module.bias.item() == pytest.approx(values[-1].item())


def test_equal_seeds_draw_equally() -> None:
    def draw() -> tuple[list[float], list[float]]:
        rng = seed_everything(5)
        return rng.random(3).tolist(), torch.rand(3).tolist()

    assert draw() == draw()


def test_auto_is_a_device_that_works() -> None:
    assert torch.ones(2, device=choose_device("auto")).sum().item() == 2
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("device", ["nosuch", "cuda:999", "meta", ""])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match="device must be one that this machine has"):
        choose_device(device)


class KilledError(Exception):
    """Stands for a process that ends in the middle of a training."""


def train(checkpoint: Checkpoint | None, die_after: int | None = None, epochs: int = 6) -> tuple[nn.Module, Curve]:
    """A regression with dropout and drawn batches; validation says that the fourth epoch is the best."""
    seed_everything(3)
    module = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.Linear(8, 1))
    scores = [0.1, 0.2, 0.3, 0.6, 0.5, 0.4]
    done: list[int] = [0]

    def validate() -> float:
        return scores[done[0]]

    def progress(epoch: int, of: int, metrics: dict[str, float]) -> None:
        done[0] = epoch
        if epoch == die_after:
            raise KilledError

    if checkpoint is not None and (saved := checkpoint.load()) is not None:
        done[0] = saved.epoch
    curve = fit(
        module,
        FitConfig(epochs=epochs, patience=3, learning_rate=0.05, seed=4),
        batches=lambda rng: [torch.from_numpy(rng.normal(size=(5, 3)).astype(np.float32)) for _ in range(7)],
        loss=lambda batch: (module(batch)[:, 0] - batch.sum(1)).square().mean(),
        validate=validate,
        progress=progress,
        checkpoint=checkpoint,
    )
    return module, curve


@pytest.mark.parametrize("die_after", [1, 4, 5])
def test_a_killed_training_goes_on_as_if_nothing_had_happened(die_after: int, tmp_path: Path) -> None:
    whole, curve = train(None)
    checkpoint = Checkpoint(tmp_path / "run", {"seed": 4})
    with pytest.raises(KilledError):
        train(checkpoint, die_after)
    resumed, resumed_curve = train(checkpoint)
    assert resumed_curve.loss == curve.loss and resumed_curve.validation == curve.validation
    assert resumed_curve.best_epoch == curve.best_epoch == 4
    for one, other in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(one, other)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [FILE]


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, {})
    module, curve = train(checkpoint)
    again, curve_again = train(checkpoint, die_after=1)  # never gets there
    assert curve_again == curve
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), again.parameters(), strict=True))


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    train(Checkpoint(tmp_path, {"width": 8, "data": "a"}))
    with pytest.raises(InputError, match=r"must be of the same data.*received 'a'"):
        train(Checkpoint(tmp_path, {"width": 8, "data": "b"}))
    (tmp_path / FILE).write_bytes(b"damaged")
    with pytest.raises(InputError, match="must be a checkpoint"):
        train(Checkpoint(tmp_path, {"width": 8, "data": "a"}))


#: Learns a planted order of items, in as many processes as there are, and writes what each of them has in the end.
SCRIPT = """
import json, os, sys
from pathlib import Path
import numpy as np, pandas as pd, torch
from safetensors.torch import save_file
from features.schema import DAY_MS, EventType
from features.sequences import Histories
from features.snapshot import Snapshot
from training.recommender import TrainingSet
from training.transformer import SequenceTransformer

torch.set_num_threads(1)
out, rank = Path(sys.argv[1]), os.environ.get("RANK", "0")
n, length, n_items, now = 120, 8, 12, 100 * DAY_MS
rng = np.random.default_rng(0)
items = (rng.integers(n_items, size=(n, 1)) + 5 * np.arange(length)) % n_items
days = np.cumsum(1 + rng.integers(3, size=(n, length)), axis=1)
sequences = Histories(
    user_ids=np.array([f"u{row}" for row in range(n)], dtype=object), as_of_ms=np.full(n, now),
    snapshot_ms=np.full(n, now), offsets=np.arange(n + 1) * length, items=items.astype(np.int32).ravel(),
    event_types=np.full(n * length, EventType.VIEW.code, np.int8), ts=(days * DAY_MS).ravel(), attributes={},
)
catalogue = pd.DataFrame({"category": "all"}, index=[f"i{item:02}" for item in range(n_items)])
snapshot = Snapshot(now, "0", (), pd.DataFrame(index=sequences.user_ids), catalogue, sequences)
model = SequenceTransformer(width=16, length=8, dropout=0.1, epochs=12, learning_rate=1e-2, horizon_days=1.0)
model.fit(TrainingSet(snapshot))
asked = sequences.tail(4)
right = (items[:, -1] + 5) % n_items
hits = float((model.recommend(asked, 1)[0][:, 0] == right).mean())
(out / f"{rank}.json").write_text(json.dumps({"loss": model.curve.loss, "hits": hits}))
save_file(model._network.state_dict(), out / f"{rank}.safetensors")
"""


def test_two_processes_learn_what_one_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / "one")])
    runpy.run_path(str(script))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    launched = subprocess.run(
        [*launcher, str(script), str(tmp_path / "two")], env=environment, capture_output=True, text=True, check=False
    )
    assert launched.returncode == 0, launched.stderr
    found = {name: json.loads((tmp_path / name / "0.json").read_text()) for name in ("one", "two")}
    first, second = (load_file(tmp_path / "two" / f"{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    for name in ("one", "two"):  # seeds alone make the last loss one of 0.06 to 0.23
        assert found[name]["hits"] >= 0.95 and found[name]["loss"][-1] < 0.1 * found[name]["loss"][0]

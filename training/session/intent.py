"""Session intent: calibrated chances of what still happens in a session, what comes next, and which events said so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors.torch import load_file, save_file
from scipy import sparse
from torch.nn import functional as F

from features.schema import EventType
from features.sequences import Histories, Int64s
from features.snapshot import Snapshot
from training.configured import Configured
from training.fit import FitConfig, choose_device, fit, seed_everything
from training.intent.contract import OVERALL
from training.intent.judged import Chances, Judged
from training.intent.piecewise import PiecewiseLinear
from training.recommender import Curve, Progress
from training.session.batches import Inputs, draw
from training.session.followers import Known, known_elsewhere, rows_of
from training.session.groups import are_found, item_groups
from training.session.learning import FEWEST_SESSIONS, batch_events, finished, session_loss
from training.session.network import Logits, SessionNetwork, Sessions
from training.session.outcomes import (
    NEXT,
    SESSION_TARGETS,
    SessionOutcomes,
    SessionTarget,
    groups_of,
    next_groups,
    outcomes_of,
)
from training.session.steps import Steps, steps_of

Floats = NDArray[np.float64]

#: Shares of the sessions, by the time they begin: what is learned from, what decides when to stop, what calibrates.
LEARN, STOP = 0.7, 0.8
#: Nats per event that an epoch has to gain. On the simulated shop of the demo the sixth to the eighth gain so much
#: together: .001 to .002 in ROC-AUC two weeks later, nothing in the next group.
LEAST_GAIN = 0.003
#: The first event of a session is asked about with this chance, else the second with this chance, and so on.
ASKED = 0.4
#: One event of a session makes a thousand rows of two thousand sessions: what a calibrator learns from so few may be
#: noise. With a temperature whatever it gains, errors on 60 to 80 % of Retailrocket's time were twice as large.
CALIBRATED_BY = "best"
#: Segments of the contract: by events so far, and by what lies in the cart.
_FEW = 3


@dataclass(frozen=True, slots=True)
class AfterEach:
    """What the network says after each of q events, before calibration.

    Attributes:
        events: (q,) int64 flat positions in the steps.
        log_odds: Target to (q,) float64.
        next_group: (q, groups) float64 log-odds of the next item's group.
    """

    events: Int64s
    log_odds: dict[str, Floats]
    next_group: Floats


@dataclass(frozen=True, slots=True)
class SessionChances:
    """Answers about the last session of n histories; NaN where there is none.

    Attributes:
        happens: Target to its chances.
        next_type: (n, len(NEXT)) float64 probabilities.
        next_group: (n, groups) float64 probabilities, given that another event about a known group follows.
        moved: Target to (n, length) float64: what each of the session's last events added to the log-odds.
        places: (n, length) int64: flat positions of those events in the histories, -1 for padding.
    """

    happens: dict[str, Chances]
    next_type: Floats
    next_group: Floats
    moved: dict[str, Floats]
    places: Int64s


class SessionIntent(Configured):
    """A network over the events so far, and a calibrator per target."""

    kind = "session intent"
    name = "session_network"

    class Config(FitConfig):
        """Of the network and its training.

        Attributes:
            length: How many of a session's last events are read.
            pieces: Quantile pieces that each number is cut into.
            batch_events: Events in a batch, about, at most: an epoch has at least ``learning.FEWEST_BATCHES``, if there
                are enough events.
            most_sessions: The latest so many are learned from.
        """

        width: int = Field(default=64, ge=4)
        dropout: float = Field(default=0.2, ge=0, lt=1)
        length: int = Field(default=50, ge=1)
        epochs: int = Field(default=12, ge=1)
        patience: int = Field(default=2, ge=1)
        learning_rate: float = Field(default=1e-2, gt=0)
        pieces: int = Field(default=8, ge=0)
        batch_events: int = Field(default=2_048, ge=1)
        most_sessions: int = Field(default=200_000, ge=FEWEST_SESSIONS)

    def __init__(self, targets: Sequence[SessionTarget] = SESSION_TARGETS, **hyper_parameters: Any) -> None:
        super().__init__(**hyper_parameters)
        self.targets = tuple(targets)
        self.group_names: tuple[str, ...] = ()
        self.judged: dict[str, Judged] = {}
        self.curve = Curve()
        #: (n_items,) int32 group of each item, -1 for none.
        self.groups: NDArray[np.int32]
        self._near: sparse.csr_array  # (n_items + 1, groups)
        self._basis: PiecewiseLinear
        self._network: SessionNetwork

    def fit(self, snapshot: Snapshot, progress: Progress | None = None) -> Self:
        """Learn from the snapshot's finished sessions; later ones decide when to stop, and calibrate.

        Raises:
            InputError: There are fewer than ``FEWEST_SESSIONS`` of them.
        """
        self.groups, self.group_names = item_groups(snapshot)
        steps = steps_of(snapshot.sequences)
        chosen = finished(steps, snapshot.as_of_ms)[-self.config.most_sessions :]
        self._basis = PiecewiseLinear.fit(steps.numbers, self.config.pieces)
        outcomes = outcomes_of(steps, self.groups, self.targets)
        learn, stop = (round(share * len(chosen)) for share in (LEARN, STOP))
        found = are_found(snapshot)
        self.curve, known = self._train(steps, outcomes, chosen[:learn], chosen[learn:stop], found, progress)
        self.judged = self._judge(steps, outcomes, known, chosen[stop:])
        # What was chosen and judged is repeated with the latest sessions among what is learned from.
        self._train(steps, outcomes, chosen, None, found, progress)
        return self

    def _train(
        self,
        steps: Steps,
        outcomes: SessionOutcomes,
        learned: Int64s,
        stopping: Int64s | None,
        groups_are_found: bool,
        progress: Progress | None,
    ) -> tuple[Curve, Known]:
        """A new network, stopped by the sessions ``stopping``, or where ``curve`` was best; and what it was told."""
        sizes = len(self.group_names), learned, self.config.seed
        self._near, known = known_elsewhere(steps, self.groups, *sizes, groups_are_found)
        outcomes = replace(outcomes, next_group=next_groups(steps, known.groups))
        inputs = Inputs.of(steps, known, self._basis)
        device = choose_device(self.config.device)
        seed_everything(self.config.seed)
        self._network = self._empty().to(device)
        following = outcomes.next_group[np.isin(steps.session, learned) & (outcomes.next_group >= 0)]
        self._network.expect(torch.from_numpy(np.bincount(following, minlength=len(self.group_names))))
        of_batch = self.config.length, batch_events(steps, learned, self.config.batch_events)
        curve = fit(
            self._network,
            self.config,
            batches=lambda rng: draw(inputs, outcomes, learned, *of_batch, rng),
            loss=lambda batch: session_loss(self._network, batch, device),
            validate=None if stopping is None else lambda: -self._mean_loss(inputs, outcomes, stopping, device),
            progress=progress,
            stop_after=None if stopping is not None else self.curve.best_epoch or None,
            least_gain=LEAST_GAIN,
        )
        self._network.to("cpu")
        return curve, known

    def answer(self, histories: Histories) -> SessionChances:
        """About the last session of each history, after its last event."""
        steps = steps_of(histories)
        n = len(histories)
        last = np.full(n, -1, dtype=np.int64)
        last[steps.row] = np.arange(len(steps))  # sessions are in order of time: the last one stays
        rows = np.flatnonzero(last >= 0)
        inputs = self._inputs(steps)
        logits, sessions, place = self._read(inputs, last[rows])
        row, column = rows[sessions.row.numpy()], sessions.column.numpy()
        places = np.full((n, int(column.max(initial=-1)) + 1), -1, dtype=np.int64)
        places[row, column] = place
        first = column == 0
        ends = np.flatnonzero(np.append(first[1:], True)) if len(column) else column
        happens, moved = {}, {}
        segments = _segments(steps, place[ends])
        for number, target in enumerate(self.targets):
            odds = logits.happens[:, number].double().numpy()
            judged = self.judged[target.name]
            chances = judged.chances(odds[ends], segments.__getitem__)
            refused = np.full(n, "", dtype=object)
            refused[rows] = chances.refused
            happens[target.name] = Chances(
                _spread(n, rows, chances.probability), _spread(n, rows, chances.rank), refused
            )
            # The first event is compared with the middle of all that it was judged on.
            before = np.where(first, judged.quantiles[len(judged.quantiles) // 2], np.roll(odds, 1))
            moved[target.name] = np.zeros(places.shape)
            moved[target.name][row, column] = odds - before
        next_type = F.softmax(logits.next_type[ends].double(), dim=-1).numpy()
        next_group = F.softmax(logits.next_group[ends].double(), dim=-1).numpy()
        return SessionChances(happens, _spread(n, rows, next_type), _spread(n, rows, next_group), moved, places)

    def after_each(self, steps: Steps, sessions: Int64s) -> AfterEach:
        """What is said after each of the last events of some sessions."""
        return self._after_each(self._inputs(steps), sessions)

    def _after_each(self, inputs: Inputs, sessions: Int64s) -> AfterEach:
        chunks = np.array_split(sessions, max(len(sessions) // 1_024, 1))
        logits, _, events = zip(*(self._read(inputs, chunk) for chunk in chunks), strict=True)
        odds = np.concatenate([each.happens.double().numpy() for each in logits])
        return AfterEach(
            np.concatenate(events),
            {target.name: odds[:, at] for at, target in enumerate(self.targets)},
            np.concatenate([each.next_group.double().numpy() for each in logits]),
        )

    def save(self, folder: Path) -> None:
        """JSON, npz and safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        about = {
            "config": self.config.model_dump(mode="json"),
            "targets": [target.model_dump(mode="json") for target in self.targets],
            "groups": list(self.group_names),
            "judged": {name: judged.to_json() for name, judged in self.judged.items()},
        }
        (folder / "session.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
        basis = {f"basis.{name}": values for name, values in self._basis.arrays().items()}
        np.savez(folder / "session.npz", allow_pickle=False, groups=self.groups, **basis)
        sparse.save_npz(folder / "followers.npz", sparse.csr_matrix(self._near))
        save_file(self._network.state_dict(), folder / "session.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        about = json.loads((folder / "session.json").read_text(encoding="utf-8"))
        targets = tuple(SessionTarget.model_validate(each) for each in about["targets"])
        model = cls(targets, **about["config"])
        model.group_names = tuple(about["groups"])
        with np.load(folder / "session.npz", allow_pickle=False) as arrays:
            model.groups = arrays["groups"]
            found = {name.removeprefix("basis."): arrays[name] for name in arrays if name.startswith("basis.")}
            model._basis = PiecewiseLinear(**found)
        model._near = sparse.csr_array(sparse.load_npz(folder / "followers.npz"))
        model._network = model._empty()
        model._network.load_state_dict(load_file(folder / "session.safetensors"))
        model._network.eval()
        model.judged = {name: Judged.from_json(stored) for name, stored in about["judged"].items()}
        return model

    def _empty(self) -> SessionNetwork:
        sizes = len(self._basis.source), len(EventType), len(NEXT), len(self.group_names), len(self.targets)
        return SessionNetwork(*sizes, width=self.config.width, dropout=self.config.dropout)

    def _inputs(self, steps: Steps) -> Inputs:
        known = Known(self._near, rows_of(steps, len(self.groups)), groups_of(self.groups, steps.items))
        return Inputs.of(steps, known, self._basis)

    @torch.inference_mode()
    def _mean_loss(self, inputs: Inputs, outcomes: SessionOutcomes, chosen: Int64s, device: torch.device) -> float:
        epoch = draw(inputs, outcomes, chosen, self.config.length, 4_096, np.random.default_rng(0))
        losses = [(float(session_loss(self._network, batch, device)), len(batch.next_type)) for batch in epoch]
        return float(np.average([loss for loss, _ in losses], weights=[n for _, n in losses]))

    @torch.inference_mode()
    def _read(self, inputs: Inputs, chosen: Int64s) -> tuple[Logits, Sessions, Int64s]:
        """After each event, the sessions as they were read, and (q,) int64 flat positions of their events."""
        sessions, place = inputs.sessions(chosen, self.config.length)
        return self._network(sessions), sessions, place

    def _judge(self, steps: Steps, outcomes: SessionOutcomes, known: Known, held_out: Int64s) -> dict[str, Judged]:
        """Calibrators, where they gain, from sessions that nothing was learned from; each half judges the other's.

        At most one event of a session is asked about, as events of one session share their answer. Its number is drawn
        without a look at the session: one event drawn of each would favour short sessions, and how long a session is
        says how it ended.
        """
        said = self._after_each(Inputs.of(steps, known, self._basis), held_out)
        events = said.events
        session = steps.session[events]
        rng = np.random.default_rng(self.config.seed)
        number = np.zeros(len(steps), dtype=np.int64)
        number[held_out] = rng.geometric(ASKED, len(held_out)) - 1
        drawn = np.flatnonzero(events - steps.offsets[session] == number[session])
        half = rng.permutation(len(drawn)) % 2
        segments = {name: rows for name, rows in _segments(steps, events[drawn]).items() if name != OVERALL}
        of_drawn = {name: values[events[drawn]].astype(np.float64) for name, values in outcomes.happened.items()}
        return {
            name: Judged.of(found[drawn], of_drawn[name], half, segments, calibrated_by=CALIBRATED_BY)
            for name, found in said.log_odds.items()
        }


def _segments(steps: Steps, events: Int64s) -> dict[str, NDArray[np.bool_]]:
    """Name to (q,) membership of some events."""
    number = events - steps.offsets[steps.session[events]] + 1
    full = steps.cart[events] > 0
    return {
        OVERALL: np.ones(len(events), dtype=bool),
        "events=1": number == 1,
        f"events=2..{_FEW}": (number > 1) & (number <= _FEW),
        f"events>{_FEW}": number > _FEW,
        "cart=empty": ~full,
        "cart=full": full,
    }


def _spread(n: int, rows: Int64s, values: Floats) -> Floats:
    out = np.full((n, *values.shape[1:]), np.nan)
    out[rows] = values
    return out


__all__ = ["AfterEach", "SessionChances", "SessionIntent"]

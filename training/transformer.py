"""L3: a causal transformer that reads a user's events and predicts what they take next, or buy within a horizon."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from safetensors.torch import load_file, save_file
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

from features.schema import EventType, Level
from features.sequences import Histories, Ragged
from features.snapshot import Snapshot
from features.split import Labelled
from training.by_vectors import ByVectors, Wanted
from training.fit import FitConfig, choose_device, fit, seed_everything
from training.fit_checkpoint import Checkpoint
from training.fit_processes import n_processes
from training.item_tokens import item_tokens
from training.metrics import ranking_metrics
from training.reasons import Reason
from training.recommender import Ids, Progress, Scores, TrainingSet, register
from training.sampled_sum import SampledSum
from training.search_space import Between, OneOf, Space
from training.sequence_batches import Batch, Epoch, draw_batches, padded, supervise
from training.sequence_encoder import SequenceEncoder
from training.sequence_loss import Bonus, softmax_loss

VALIDATION_USERS = 2_000


@register
class SequenceTransformer(ByVectors):
    """SASRec-like network trained on what is bought in the horizon after each visit, or on what comes next.

    Which of the two is asked, how many items stand against the right one and for how long it is trained follows from
    the data: see ``supervise``, ``negatives`` and ``fit``.
    """

    name = "transformer"
    level = Level.PREFERENCE
    space: ClassVar[Space] = {
        # Every width is a multiple of every number of heads.
        "width": OneOf((32, 64, 96, 128, 192)),
        "heads": OneOf((1, 2, 4)),
        "blocks": Between(1, 3),
        "dropout": Between(0.1, 0.7),
        "forget": Between(0.0, 0.5),
        "learning_rate": Between(3e-4, 1e-2, log=True),
        "horizon_days": Between(1.0, 90.0, log=True),
    }

    class Config(FitConfig):
        """Of the network, of what it reads and of what it is asked.

        Attributes:
            length: How many of a user's last events are read.
            forget: The share of events whose item is hidden from the network in training, anew in every epoch.
            batch_size, batch_events: The most windows and the most events in one batch.
            horizon_days: What is bought this long after a visit answers it.
            answers: How many of a visit's answers are drawn per epoch.
            negatives: Shared negatives per batch where the catalogue is larger than twice that, else all items.
        """

        width: int = Field(default=64, ge=8)
        blocks: int = Field(default=1, ge=1)
        heads: int = Field(default=2, ge=1)
        length: int = Field(default=200, ge=2)
        dropout: float = Field(default=0.4, ge=0, lt=1)
        forget: float = Field(default=0.1, ge=0, lt=1)
        epochs: int = Field(default=64, ge=1)
        patience: int = Field(default=4, ge=1)
        learning_rate: float = Field(default=2e-3, gt=0)
        batch_size: int = Field(default=512, ge=1)
        batch_events: int = Field(default=1_536, ge=1)
        horizon_days: float = Field(default=30.0, gt=0)
        answers: int = Field(default=4, ge=1)
        negatives: int = Field(default=2_048, ge=1)

        @model_validator(mode="after")
        def _heads_share_the_width(self) -> Self:
            if self.width % self.heads:
                raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
            return self

    def __init__(self, **hyper_parameters: Any) -> None:
        super().__init__(**hyper_parameters)
        self._device = torch.device("cpu")
        self._network: SequenceEncoder
        self._tokens: sparse.csr_array
        self._stop_after: int | None = None
        self._sum: SampledSum | None = None
        #: Folder in which trainings that are killed leave what they go on from; set it before ``fit``.
        self.checkpoints: Path | None = None

    def fit(self, training_set: TrainingSet, progress: Progress | None = None) -> Self:
        """Train; with a validation slice, stop when its NDCG@20 no longer improves."""
        snapshot = training_set.snapshot
        self.n_items = len(snapshot.items)
        self._device = choose_device(self.config.device)
        seed_everything(self.config.seed)
        self._nearest = self._sum = None
        self._tokens = item_tokens(snapshot).matrix
        histories = snapshot.sequences.where(snapshot.sequences.items >= 0)
        self._network = self._build()
        self._network.items.count(histories.items)
        supervision = supervise(histories, self.config.horizon_days)
        sizes = {name: getattr(self.config, name) for name in ("length", "batch_size", "batch_events", "answers")}

        def epoch(rng: np.random.Generator) -> Epoch:
            return draw_batches(histories, supervision, self.n_items, rng, **sizes, processes=n_processes())

        validation = training_set.validation
        self.curve = fit(
            self._network,
            self.config,
            batches=epoch,
            loss=self._loss,
            validate=None if validation is None else lambda: self._validate(validation),
            progress=progress,
            stop_after=self._stop_after,
            checkpoint=self._checkpoint(snapshot, training_set.validation),
        )
        self.index(histories)
        return self

    def refit(self, training_set: TrainingSet, progress: Progress | None = None) -> Self:
        """The same model on a later snapshot: the same schedule, stopped after the epoch that validation chose."""
        again = type(self)(**self.config.model_dump())
        again._stop_after = (self.curve.best_epoch if self.curve else 0) or None
        again.checkpoints = self.checkpoints
        return again.fit(training_set, progress)

    def _checkpoint(self, snapshot: Snapshot, validation: Labelled | None) -> Checkpoint | None:
        if self.checkpoints is None:
            return None
        identity = {
            "configuration": self.config.model_dump(),
            "snapshot": snapshot.digest,
            "validation": 0 if validation is None else len(validation),
            "last epoch": self._stop_after,
        }
        return Checkpoint.within(self.checkpoints, identity)

    def _build(self) -> SequenceEncoder:
        sizes = {name: getattr(self.config, name) for name in ("width", "blocks", "heads", "length", "dropout")}
        return SequenceEncoder(self._tokens, len(EventType), **sizes).to(self._device)

    def _loss(self, batch: Batch) -> Tensor:
        """Cross entropy of the drawn answers against the batch's items and shared negatives, or against all items."""
        batch, network = batch.to(self._device), self._network
        used, correction = self._candidates(batch)
        table = network.items(used)
        hidden = torch.rand(batch.items.shape, device=self._device) < self.config.forget
        read = batch.items.masked_fill(hidden, self.n_items)
        vectors = network(network.embed(read, used, table), batch.types, batch.gaps_ms)[batch.row, batch.column]
        values = network.copies(vectors, batch.items, batch.types, batch.row, batch.column)
        places = torch.searchsorted(used, batch.items).clamp(max=len(used) - 1)
        bonus = Bonus(places[batch.row], values * (batch.items < self.n_items)[batch.row])
        answers = torch.searchsorted(used, batch.answers)
        return softmax_loss(vectors, F.normalize(table, dim=-1), network.bias[used] + correction, bonus, answers)

    def _candidates(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(u,) sorted items that stand against each other, and (u,) what is added to their logits.

        Every answer, every item of the windows and uniform negatives. The negatives' logits are corrected for how few
        of their kind were drawn (Jean et al. 2015); the others are there for certain.
        """
        if self.n_items <= 2 * self.config.negatives:
            return torch.arange(self.n_items, device=self._device), torch.zeros(self.n_items, device=self._device)
        is_certain = torch.zeros(self.n_items + 1, dtype=torch.bool, device=self._device)
        is_certain[batch.items] = True
        is_certain[batch.answers] = True
        is_used = is_certain.clone()
        is_used[torch.randint(self.n_items, (self.config.negatives,), device=self._device)] = True
        used = is_used[:-1].nonzero()[:, 0]
        certain = is_certain[used]
        n_certain = int(certain.sum())
        one_for_many = math.log(max(self.n_items - n_certain, 1) / max(len(used) - n_certain, 1))
        return used, torch.where(certain, 0.0, one_for_many)

    def _validate(self, validation: Labelled) -> float:
        subset = validation.spread(VALIDATION_USERS)
        ids, _ = self.recommend(subset.histories.past(), 20)
        return float(ranking_metrics(ids, subset.labels)["ndcg@20"].mean())

    @torch.inference_mode()
    def score_all(self, histories: Histories) -> Scores:
        """(n, n_items): probabilities over the catalogue; 0 for users without events."""
        scores = np.zeros((len(histories), self.n_items), dtype=np.float32)
        known, recent = self._recent(histories)
        if len(known):
            network, last = self._network, self._last(recent)
            vectors = network(self._embedded(last.items), last.types, last.gaps_ms)[last.row, last.column]
            logits = torch.addmm(network.bias, vectors, network.catalogue()[1].T)
            values = network.copies(vectors, last.items, last.types, last.row, last.column)
            logits.scatter_add_(1, last.items.clamp(max=self.n_items - 1), values * (last.items < self.n_items))
            scores[known] = F.softmax(logits, dim=-1).cpu().numpy()
        return scores

    @torch.inference_mode()
    def wanted(self, histories: Histories) -> Wanted:
        """Vectors with a last place for the items' bias, and a bonus for what was seen before."""
        n, width = len(histories), self.config.width
        vectors = np.zeros((n, width + 1), dtype=np.float32)
        own, bonus = Ragged(np.zeros(n + 1, np.int64), np.zeros(0, np.int32)), np.zeros(0, np.float32)
        known, recent = self._recent(histories)
        if len(known):
            network, last = self._network, self._last(recent)
            read = network(self._embedded(last.items), last.types, last.gaps_ms)[last.row, last.column]
            values = network.copies(read, last.items, last.types, last.row, last.column)
            vectors[known] = F.pad(read, (0, 1), value=1.0).cpu().numpy()
            items = last.items.cpu().numpy()
            rows, places = np.nonzero(items < self.n_items)
            keys, of = np.unique(known[rows] * self.n_items + items[rows, places], return_inverse=True)
            # An item that came several times has its bonus at the first of its places, and 0 at the others.
            bonus = np.bincount(of, values.cpu().numpy()[rows, places]).astype(np.float32)
            own = Ragged.from_rows(keys // self.n_items, (keys % self.n_items).astype(np.int32), n)
        return Wanted(vectors, own, bonus)

    @torch.inference_mode()
    def item_vectors(self, items: Ids | None = None) -> Scores:
        """(m, width + 1) float32 directions and, in the last place, the bias."""
        rows = slice(None) if items is None else torch.from_numpy(items.astype(np.int64)).to(self._device)
        directions, bias = self._network.catalogue()[1][rows], self._network.bias[rows, None]
        return torch.cat([directions, bias], dim=1).cpu().numpy().astype(np.float32)

    def scored(self, wanted: Wanted, best: Ragged, rows: NDArray[np.int64], logits: Scores) -> Scores:
        """Probabilities over the catalogue, whose sum is estimated; 0 where nothing is known."""
        if self._sum is None:
            drawn = SampledSum.drawn(self.n_items, self.config.seed)
            self._sum = SampledSum(drawn, self.item_vectors(drawn), self.n_items)
        log_sums = self._sum.log(wanted.vectors, best, self.logits(wanted, best))
        known = np.asarray(wanted.vectors.any(axis=1))
        return np.where(known[rows], np.exp(logits - log_sums[rows]), 0).astype(np.float32)

    def _recent(self, histories: Histories) -> tuple[NDArray[np.int64], Histories]:
        """Rows with known items, and the last events of each of these."""
        recent = histories.where(histories.items >= 0).tail(self.config.length)
        known = np.flatnonzero(recent.lengths)
        return known, recent.take(known)

    def _last(self, recent: Histories) -> Batch:
        """One question per row, after its last event."""
        items, types, gaps_ms = padded(recent, recent.offsets[:-1], recent.offsets[1:], self.n_items)
        row, column = torch.arange(len(recent)), torch.from_numpy(recent.lengths - 1)
        return Batch(items, types, gaps_ms, row, column, torch.zeros(len(recent), 0).long()).to(self._device)

    def _embedded(self, items: Tensor) -> Tensor:
        # Never a copy of the whole catalogue with a row for what is unknown: that costs more than the network.
        known = items < self.n_items
        found = F.embedding(items.clamp(max=self.n_items - 1), self._network.catalogue()[0])
        return found.masked_fill(~known[..., None], 0.0)

    def explain(self, histories: Histories, items: Ids) -> list[Reason]:
        """A network gives no single cause: the order of what the user did."""
        return [Reason("predicted_from_history")] * len(items)

    def save(self, folder: Path) -> None:
        """Weights as safetensors, the items' tokens as npz, the rest as JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: value.contiguous() for name, value in self._network.state_dict().items()},
            folder / "weights.safetensors",
        )
        sparse.save_npz(folder / "tokens.npz", sparse.csr_matrix(self._tokens))
        about = {"config": self.config.model_dump(), "n_items": self.n_items}
        (folder / "model.json").write_text(json.dumps(about), encoding="utf-8")
        self.save_index(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote, onto the CPU."""
        about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        model = cls(**about["config"])
        model.n_items = about["n_items"]
        model._tokens = sparse.csr_array(sparse.load_npz(folder / "tokens.npz"))
        model._network = model._build()
        model._network.load_state_dict(load_file(folder / "weights.safetensors"))
        model._network.eval()
        model.load_index(folder)
        return model


__all__ = ["SequenceTransformer"]

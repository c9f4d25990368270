"""L3: a causal transformer that reads a user's events and predicts what they will buy within the horizon."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from features.schema import EventType, Level
from features.sequences import Histories
from features.split import Labelled
from training.fit import FitConfig, choose_device, fit, seed_everything
from training.metrics import ranking_metrics
from training.recommender import Ids, Progress, Reason, Recommender, Scores, TrainingSet, register
from training.sequence_batches import Batch, draw_batches, padded, supervise
from training.sequence_encoder import SequenceEncoder

VALIDATION_USERS = 1_000


@register
class SequenceTransformer(Recommender):
    """SASRec-like network trained on what is bought in the horizon after each visit."""

    name = "transformer"
    level = Level.PREFERENCE

    class Config(FitConfig):
        """Of the network, of what it reads and of what it is asked.

        Attributes:
            length: How many of a user's last events are read.
            horizon_days: What is bought this long after a visit answers it.
            answers: How many of a visit's answers are drawn per epoch.
            negatives: Shared negatives per batch where the catalogue is larger than that, else all items.
        """

        width: int = Field(default=64, ge=8)
        blocks: int = Field(default=1, ge=1)
        heads: int = Field(default=2, ge=1)
        length: int = Field(default=200, ge=2)
        dropout: float = Field(default=0.2, ge=0, lt=1)
        batch_size: int = Field(default=32, ge=1)
        horizon_days: float = Field(default=30.0, gt=0)
        answers: int = Field(default=4, ge=1)
        negatives: int = Field(default=8_192, ge=1)

        @model_validator(mode="after")
        def _heads_share_the_width(self) -> Self:
            if self.width % self.heads:
                raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
            return self

    def __init__(self, **hyper_parameters: Any) -> None:
        super().__init__(**hyper_parameters)
        self._device = torch.device("cpu")
        self._network: SequenceEncoder
        self._stop_after: int | None = None

    def fit(self, training_set: TrainingSet, progress: Progress | None = None) -> Self:
        """Train; with a validation slice, stop when its NDCG@20 no longer improves."""
        snapshot = training_set.snapshot
        self.n_items = len(snapshot.items)
        self._device = choose_device(self.config.device)
        rng = seed_everything(self.config.seed)
        self._network = self._build()
        histories = snapshot.sequences
        supervision = supervise(histories, self.config.horizon_days)
        sizes = {name: getattr(self.config, name) for name in ("length", "batch_size", "answers")}

        def epoch() -> Iterator[Batch]:
            for batch in draw_batches(histories, supervision, self.n_items, rng, **sizes):
                yield batch.to(self._device)

        validation = training_set.validation
        self.curve = fit(
            self._network,
            self.config,
            batches=epoch,
            loss=self._loss,
            validate=None if validation is None else lambda: self._validate(validation),
            progress=progress,
            stop_after=self._stop_after,
        )
        return self

    def refit(self, training_set: TrainingSet, progress: Progress | None = None) -> Self:
        """The same model on a later snapshot: the same schedule, stopped after the epoch that validation chose."""
        again = type(self)(**self.config.model_dump())
        again._stop_after = (self.curve.best_epoch if self.curve else 0) or None
        return again.fit(training_set, progress)

    def _build(self) -> SequenceEncoder:
        c = self.config
        network = SequenceEncoder(self.n_items, len(EventType), c.width, c.blocks, c.heads, c.length, c.dropout)
        return network.to(self._device)

    def _loss(self, batch: Batch) -> Tensor:
        """Cross entropy of the drawn answers, against all items or against shared uniform negatives."""
        network = self._network
        vectors = network(batch.items, batch.types, batch.gaps_ms)[batch.row, batch.column]
        later = torch.arange(batch.items.shape[1], device=self._device) > batch.column[:, None]
        seen = batch.items[batch.row].masked_fill(later, self.n_items)
        types = batch.types[batch.row]
        if self.n_items <= self.config.negatives:
            log_p = F.log_softmax(network.logits(vectors, seen, types), dim=-1)
            return -log_p.gather(1, batch.answers).mean()
        # Every answer, every item of the windows and uniform negatives. The negatives' logits are corrected for how few
        # of their kind were drawn (Jean et al. 2015); the others are there for certain.
        certain = torch.cat([batch.answers.flatten(), batch.items.flatten()]).unique()
        certain = certain[certain < self.n_items]
        drawn = torch.randint(self.n_items, (self.config.negatives,), device=self._device).unique()
        negatives = drawn[~torch.isin(drawn, certain)]
        candidates, order = torch.cat([certain, negatives]).sort()
        one_for_many = float(np.log(max(self.n_items - len(certain), 1) / max(len(negatives), 1)))
        correction = torch.where(order < len(certain), 0.0, one_for_many)
        log_p = F.log_softmax(network.logits(vectors, seen, types, candidates) + correction, dim=-1)
        return -log_p.gather(1, torch.searchsorted(candidates, batch.answers)).mean()

    def _validate(self, validation: Labelled) -> float:
        n = min(len(validation), VALIDATION_USERS)
        subset = validation.take(np.linspace(0, len(validation) - 1, n).astype(np.int64))
        ids, _ = self.recommend(subset.histories.past(), 20)
        return float(ranking_metrics(ids, subset.labels)["ndcg@20"].mean())

    @torch.inference_mode()
    def score_all(self, histories: Histories) -> Scores:
        """(n, n_items): probabilities over the catalogue; 0 for users without events."""
        recent = histories.where(histories.items >= 0).tail(self.config.length)
        scores = np.zeros((len(histories), self.n_items), dtype=np.float32)
        known = np.flatnonzero(recent.lengths)
        if len(known):
            begins, stops = recent.offsets[:-1][known], recent.offsets[1:][known]
            items, types, gaps_ms = (part.to(self._device) for part in padded(recent, begins, stops, self.n_items))
            vectors = self._network(items, types, gaps_ms)
            last = vectors[torch.arange(len(known)), torch.from_numpy(stops - begins - 1)]
            scores[known] = F.softmax(self._network.logits(last, items, types), dim=-1).cpu().numpy()
        return scores

    def explain(self, histories: Histories, items: Ids) -> list[Reason]:
        """A network gives no single cause: the order of what the user did."""
        return [Reason("predicted_from_history")] * len(items)

    def save(self, folder: Path) -> None:
        """Weights as safetensors, the rest as JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: value.contiguous() for name, value in self._network.state_dict().items()},
            folder / "weights.safetensors",
        )
        about = {"config": self.config.model_dump(), "n_items": self.n_items}
        (folder / "model.json").write_text(json.dumps(about), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote, onto the CPU."""
        about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        model = cls(**about["config"])
        model.n_items = about["n_items"]
        model._network = model._build()
        model._network.load_state_dict(load_file(folder / "weights.safetensors"))
        model._network.eval()
        return model


__all__ = ["SequenceTransformer"]

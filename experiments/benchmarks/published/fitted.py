"""Fitting the arms of a published benchmark twice: to decide on validation, and again on what that knows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from experiments.benchmarks.machine import forget_peak, peak_mb
from experiments.benchmarks.published.arms import depends_on_seed
from experiments.benchmarks.published.questions import REPEATS, seen_share
from features.snapshot import Snapshot
from features.split import Labelled
from training.blend import Blend
from training.recommender import Progress, Recommender, TrainingSet
from training.train import Notify


@dataclass(frozen=True, slots=True)
class Material:
    """What arms learn from.

    Attributes:
        early: What is known without the validation's answers.
        validation: Questions about ``early``.
        late: What is known with them.
    """

    early: Snapshot
    validation: Labelled
    late: Snapshot

    @property
    def again(self) -> bool:
        """Whether items that the user has seen may be answers: enough of validation's answers had been."""
        return seen_share(self.validation) >= REPEATS

    @property
    def stopping(self) -> Labelled:
        """Half of the validation users: single models decide on them when to stop, and whatever else they decide."""
        return self.validation.take(np.arange(0, len(self.validation), 2))

    @property
    def blending(self) -> Labelled:
        """The other half: blends learn their weights from them, so that no model is weighted by users it knows."""
        return self.validation.take(np.arange(1, len(self.validation), 2))


@dataclass
class FittedTwice:
    """One arm: what decided on ``early``, and the same fitted again on ``late``.

    Attributes:
        seconds, cpu_seconds: By stage: ``fit``, ``refit`` and, of a blend, ``weights``; ``answer``.
        peak_mb: The most memory that the process held in any of these stages, the data and earlier models included.
    """

    decided: Recommender
    final: Recommender
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    peak_mb: float = 0.0

    def timed(self, stage: str, clock: Clock) -> None:
        """Write down what a stage took."""
        self.seconds[stage], self.cpu_seconds[stage] = clock.read()
        self.peak_mb = max(self.peak_mb, peak_mb())


class Clock:
    """Wall and processor time, and the most memory, since it was made."""

    def __init__(self) -> None:
        forget_peak()
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Seconds of the wall clock and of all threads."""
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


def fit_twice(
    models: Mapping[str, Recommender], material: Material, known: Mapping[str, FittedTwice], label: str, notify: Notify
) -> dict[str, FittedTwice]:
    """All arms fitted on ``material``, blends after their parts.

    Args:
        models: Unfitted, in the order of ``build_models``.
        known: Of another seed: arms that do not depend on it are taken from here.
        label: What the progress is about.
    """
    fitted: dict[str, FittedTwice] = {}
    for name, model in models.items():
        if name in known and not depends_on_seed(name, models):
            fitted[name] = known[name]
        elif isinstance(model, Blend):
            fitted[name] = _blended(model, fitted, material, f"{label}{name}", notify)
        else:
            fitted[name] = _single(model, material, f"{label}{name}", notify)
    return fitted


def _single(model: Recommender, material: Material, stage: str, notify: Notify) -> FittedTwice:
    def progress(of_stage: str) -> Progress:
        notify(of_stage, 0, 1, {})
        return lambda done, of, metrics: notify(of_stage, done, of, metrics)

    clock = Clock()
    decided = model.fit(TrainingSet(material.early, material.stopping), progress(stage))
    notify(stage, 1, 1, {})
    arm = FittedTwice(decided, decided)
    arm.timed("fit", clock)
    clock = Clock()
    arm.final = decided.refit(TrainingSet(material.late), progress(f"{stage}, refit"))
    notify(f"{stage}, refit", 1, 1, {})
    arm.timed("refit", clock)
    return arm


def _blended(
    model: Blend, fitted: Mapping[str, FittedTwice], material: Material, stage: str, notify: Notify
) -> FittedTwice:
    notify(stage, 0, 1, {})
    clock = Clock()
    decided = model.with_parts({name: arm.decided for name, arm in fitted.items()}, material.early)
    decided.learn(material.blending, again=material.again)
    final = decided.reweighted({name: arm.final for name, arm in fitted.items()}, material.late)
    arm = FittedTwice(decided, final)
    arm.timed("weights", clock)
    notify(stage, 1, 1, {})
    return arm


__all__ = ["Clock", "FittedTwice", "Material", "fit_twice"]

"""The models that take part in published benchmarks: by name, with their defaults, the same ones on all data.

``wide`` and ``another`` are the exceptions, so that blends hold networks that err differently: on Beauty's validation
NDCG@10 of the blend is .0869 with one network of width 64, .0873 with one of 128, .0888 with two of 64, .0890 with one
of each and .0894 with two of 64 and one of 128.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.blend import Blend
from training.recommender import Recommender
from training.train import build_models

Arms = Mapping[str, Mapping[str, Any]]

#: No benchmark has as many seeds: beyond them lie those of a second network like the first.
SEEDS_APART = 1_000

#: Sequences in time order, each user's last item held out.
LEAVE_ONE_OUT: Arms = {
    "bestsellers": {"model": "bestsellers"},
    "linear": {"model": "linear"},
    "transformer": {"model": "transformer"},
    "another": {"model": "transformer", "seed": SEEDS_APART},
    "wide": {"model": "transformer", "width": 128},
    "blend": {"model": "blend", "parts": ("linear", "transformer", "another", "wide")},
}

#: Pairs without an order.
SPLIT: Arms = {
    "bestsellers": {"model": "bestsellers"},
    "factorization": {"model": "factorization"},
    "spectral": {"model": "spectral"},
}


#: Anonymous sessions of clicks.
SESSIONS: Arms = {
    "bestsellers": {"model": "bestsellers"},
    "neighbours": {"model": "neighbours"},
    "walk": {"model": "walk"},
    "transformer": {"model": "transformer"},
    "wide": {"model": "transformer", "width": 128},
    "blend": {"model": "blend", "parts": ("neighbours", "walk", "transformer", "wide")},
}


def seeded(arms: Arms, seed: int) -> dict[str, Recommender]:
    """Unfitted models in the order in which they are fitted; ``seed`` is added to that of each random one."""

    def of_seed(model: Recommender) -> Recommender:
        told = model.config.model_dump()
        return type(model)(**{**told, "seed": told["seed"] + seed}) if is_random(model) else model

    return {name: of_seed(model) for name, model in build_models(arms).items()}


def is_random(model: Recommender) -> bool:
    """Whether another seed gives another model; a blend is as random as its parts."""
    return "seed" in type(model.config).model_fields


def depends_on_seed(name: str, models: Mapping[str, Recommender]) -> bool:
    """Whether the model, or a part that it blends, is random."""
    model = models[name]
    parts = model.config.parts if isinstance(model, Blend) else ()
    return is_random(model) or any(is_random(models[part]) for part in parts)


__all__ = ["LEAVE_ONE_OUT", "SESSIONS", "SPLIT", "Arms", "depends_on_seed", "is_random", "seeded"]

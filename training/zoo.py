"""Every preference model: importing this file registers them by name."""

from training.bestsellers import Bestsellers
from training.blend import Blend
from training.cooccurrence import Cooccurrence
from training.factorization import Factorization
from training.history import PersonalHistory
from training.linear import Linear
from training.live import LiveCooccurrence
from training.neighbours import Neighbours
from training.ranker import Ranker
from training.spectral import Spectral
from training.transformer import SequenceTransformer
from training.walk import Walk

__all__ = [
    "Bestsellers",
    "Blend",
    "Cooccurrence",
    "Factorization",
    "Linear",
    "LiveCooccurrence",
    "Neighbours",
    "PersonalHistory",
    "Ranker",
    "SequenceTransformer",
    "Spectral",
    "Walk",
]

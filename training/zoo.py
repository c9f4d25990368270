"""Every preference model: importing this file registers them by name."""

from training.bestsellers import Bestsellers
from training.blend import Blend
from training.cooccurrence import Cooccurrence
from training.history import PersonalHistory
from training.linear import Linear
from training.live import LiveCooccurrence
from training.spectral import Spectral
from training.transformer import SequenceTransformer

__all__ = [
    "Bestsellers",
    "Blend",
    "Cooccurrence",
    "Linear",
    "LiveCooccurrence",
    "PersonalHistory",
    "SequenceTransformer",
    "Spectral",
]

"""Every preference model: importing this file registers them by name."""

from training.bestsellers import Bestsellers
from training.blend import Blend
from training.cooccurrence import Cooccurrence
from training.history import PersonalHistory
from training.live import LiveCooccurrence
from training.transformer import SequenceTransformer

__all__ = ["Bestsellers", "Blend", "Cooccurrence", "LiveCooccurrence", "PersonalHistory", "SequenceTransformer"]

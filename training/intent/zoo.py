"""Every predictor of intent: importing this module makes all of them known by name."""

from training.intent.average import Average
from training.intent.boosting import Boosting
from training.intent.logistic import Logistic
from training.intent.network import Network

__all__ = ["Average", "Boosting", "Logistic", "Network"]

"""A simulated shop whose truth is known: planted tastes, habits, seasons and projects behind an ordinary event log."""

from features.shop.behaviour import Intents, Responses
from features.shop.config import ShopConfig
from features.shop.shop import Shop

__all__ = ["Intents", "Responses", "Shop", "ShopConfig"]

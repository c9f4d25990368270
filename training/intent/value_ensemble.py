"""Several trained networks asked at once, without PyTorch: for a handful of rows its calls cost more than the sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from training.intent.value_network import CUT, ValueNetwork

Floats = NDArray[np.float64]

#: Asked at once, for the memory's sake.
_ROWS = 65_536


class Ensemble:
    """The weights of k networks of one shape, as float64 arrays whose first axis is the network."""

    def __init__(self, weights: dict[str, Floats]) -> None:
        self._w = weights

    @classmethod
    def of(cls, members: Sequence[ValueNetwork]) -> Self:
        """Of trained networks; what becomes of them afterwards does not matter."""
        states = [member.state_dict() for member in members]

        def stacked(name: str) -> Floats:
            return np.stack([state[name].detach().numpy().astype(np.float64) for state in states])

        return cls(
            {
                "mean": stacked("mean")[:, None, :],
                "scale": stacked("scale")[:, None, :],
                "bound": stacked("bound")[:, None, :],
                "direct": stacked("direct.weight").transpose(0, 2, 1),
                "bias": stacked("direct.bias")[:, None, :],
                "hidden": stacked("hidden.weight").transpose(0, 2, 1),
                "hidden_bias": stacked("hidden.bias")[:, None, :],
                "output": stacked("output.weight").transpose(0, 2, 1),
            }
        )

    def factors(self, features: Floats) -> Floats:
        """(k, n, 2): ``ValueNetwork.factors`` of each network, from (n, d) features."""
        if len(features) > _ROWS:
            parts = range(0, len(features), _ROWS)
            return np.concatenate([self.factors(features[at : at + _ROWS]) for at in parts], axis=1)
        w = self._w
        z = ((features - w["mean"]) / w["scale"]).clip(-CUT, CUT)
        hidden = z @ w["hidden"] + w["hidden_bias"]
        free = z @ w["direct"] + w["bias"] + (hidden / (1 + np.exp(-hidden))) @ w["output"]
        found: Floats = np.exp(w["bound"] * np.tanh(free / w["bound"]))
        return found


__all__ = ["Ensemble"]

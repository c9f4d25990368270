"""What every model of every kind has in common: checked hyper-parameters, and a name by which it is found."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from features.errors import ConfigError, NotFoundError


class HyperParameters(BaseModel):
    """Base of all hyper-parameter sets: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Configured:
    """A model whose hyper-parameters are keywords, checked and kept in ``config``."""

    #: What kind of model it is, as errors say it.
    kind: ClassVar[str]
    #: The name in YAML files and bundles.
    name: ClassVar[str]

    class Config(HyperParameters):
        """Hyper-parameters."""

    config: Any

    def __init__(self, **hyper_parameters: Any) -> None:
        try:
            self.config = self.Config(**hyper_parameters)
        except ValidationError as error:
            raise config_error(f"{self.kind} {self.name}", error) from None


M = TypeVar("M", bound=Configured)
C = TypeVar("C", bound=type[Configured])


class Registry(Generic[M]):
    """The models of one kind by name.

    Args:
        kind: What they are, as errors say it.
        rule: What a name must be, as errors say it.
    """

    def __init__(self, kind: str, rule: str = "must be registered") -> None:
        self._kind, self._rule = kind, rule
        self._known: dict[str, Any] = {}

    def register(self, model: C) -> C:
        """Class decorator: make a model known by its name to YAML files, bundles and the contract test."""
        self._known[model.name] = model
        return model

    def all(self) -> dict[str, type[M]]:
        """The registered models by name; those whose modules have not been imported are not among them."""
        return dict(self._known)

    def find(self, name: str) -> type[M]:
        """The model of that name.

        Raises:
            NotFoundError: There is none; the error lists the known.
        """
        if name not in self._known:
            raise NotFoundError(self._kind, self._rule, name, f"choose one of {', '.join(sorted(self._known))}")
        return self._known[name]


def config_error(where: str, error: ValidationError) -> ConfigError:
    """The first complaint of a pydantic validation, in stellar's form."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"]) or "configuration"
    if first["type"] == "extra_forbidden":
        return ConfigError(
            f"{where}: {path}", "is not a known key", first["input"], "remove it or correct its spelling"
        )
    message = first["msg"][0].lower() + first["msg"][1:]
    received = None if first["type"] == "missing" else first["input"]
    return ConfigError(f"{where}: {path}", f"is not usable: {message}", received)


__all__ = ["Configured", "HyperParameters", "Registry", "config_error"]

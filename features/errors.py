"""One tree of errors: whatever a caller did wrong is a ``StellarError`` that says how to mend it.

The command line prints such an error in one line and exits with 2; the service answers 4xx with the field's path.
Anything else that is raised is a defect of stellar itself.
"""

from __future__ import annotations


class StellarError(Exception):
    """Base of all errors that a caller can cause, and mend.

    Args:
        field: What is wrong, by the name the caller used: a column, a flag, a YAML key, a JSON path, a file.
        rule: What must hold, as a phrase that follows the field's name ("must be at least 1").
        received: What was there instead.
        mend: What to do about it; one imperative sentence without a full stop.
    """

    def __init__(self, field: str, rule: str, received: object = None, mend: str = "") -> None:
        self.field, self.rule, self.received, self.mend = field, rule, received, mend
        message = f"{field} {rule}"
        if received is not None:
            message += f", received {_shorten(received)}"
        if mend:
            message += f"; {mend}"
        super().__init__(message)


class InputError(StellarError):
    """A file, column, row or value that breaks the data contract."""


class ConfigError(StellarError):
    """A flag, a YAML key or a hyper-parameter that cannot be used."""


class NotFoundError(StellarError):
    """Something named does not exist: a file, a source, a model, a champion."""


class ConflictError(StellarError):
    """The request is well formed, but the state forbids it: a verdict that is not ``ship``, an id used twice."""


class LeakageError(StellarError):
    """Data from at or after the as-of instant was about to reach a model."""


def _shorten(value: object, limit: int = 120) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


__all__ = ["ConfigError", "ConflictError", "InputError", "LeakageError", "NotFoundError", "StellarError"]

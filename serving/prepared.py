"""Questions to the state database whose text is made once, and not anew for every list of ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: The parameter that is a list.
IDS = "ids"

#: Texts of so many lengths of lists are kept.
_LONGEST = 16


class Prepared:
    """A select of SQLAlchemy, made in ``serving.state``, with the list ``ids`` among its parameters.

    SQLAlchemy puts the text of such a select together at every execution, which takes longer than SQLite takes to
    answer. Rows come as the driver gives them: only columns of texts and numbers are read like this.
    """

    def __init__(self, select: Any) -> None:
        self._select = select
        self._texts: dict[tuple[str, int], tuple[str, dict[str, Any], tuple[str, ...] | None]] = {}

    def rows(self, connection: Any, values: Mapping[str, Any]) -> Sequence[Any]:
        """The answer to ``values``, which hold all parameters and a list of at least one text as ``ids``."""
        ids = values[IDS]
        if len(ids) > _LONGEST:
            longer: Sequence[Any] = connection.execute(self._select, values).all()
            return longer
        text, constants, order = self._text(connection, len(ids), values)
        named = {**constants, **values, **{f"{IDS}_{place}": one for place, one in enumerate(ids, start=1)}}
        told = tuple(named[name] for name in order) if order is not None else named
        found: Sequence[Any] = connection.exec_driver_sql(text, told).all()
        return found

    def _text(
        self, connection: Any, n_ids: int, values: Mapping[str, Any]
    ) -> tuple[str, dict[str, Any], tuple[str, ...] | None]:
        """The text for this database, the parameters of its own, and the order of all where they are told in order."""
        key = connection.dialect.name, n_ids
        if key not in self._texts:
            compiled = self._select.compile(dialect=connection.dialect)
            made = compiled.construct_expanded_state(dict(values))
            order = tuple(made.positiontup or ()) if compiled.positional else None
            self._texts[key] = made.statement, dict(made.parameters), order
        return self._texts[key]


__all__ = ["IDS", "Prepared"]

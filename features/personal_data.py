"""Personal data stay out: what looks like a name, an address or a number of a person is refused or replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.contracts import CONTRACTS
from features.engine import Engine
from features.errors import InputError
from features.personal_kinds import SUSPICIOUS, PersonalKind, shape
from features.personal_policy import PersonalDataPolicy, Treatment
from features.personal_survey import Finding, as_texts, kinds_in, searched, survey, together_with
from features.personal_text import Find, handled
from features.schema import Columns

#: Rows that carry people's ids must keep them: joins go by them.
_IDS = (Columns.USER_ID, Columns.ANONYMOUS_ID)


@dataclass(frozen=True, slots=True)
class Guard:
    """Stands between a source and everything that is written.

    Attributes:
        engine: Runs the expressions.
        policy: What to do with personal data.
        scratch: A folder for tables that had to be changed; no personal value is written there.
        found: What was found by ``protect``, for the account.
    """

    engine: Engine
    policy: PersonalDataPolicy
    scratch: Path
    found: list[Finding] = field(default_factory=list)

    def protect(self, tables: Mapping[str, ir.Table]) -> dict[str, ir.Table]:
        """The tables without personal data; the very same where there are none.

        Equal values become equal tokens in all columns and tables, so that joins by them still work.

        Raises:
            InputError: There are personal data, and the policy refuses them, or they cannot be dropped.
        """
        self.found.extend(survey(self.engine, tables, self.policy))
        if not self.found:
            return dict(tables)
        if self.policy.treatment is Treatment.REFUSE:
            raise _refusal(self.found)
        if self.policy.treatment is Treatment.DROP:
            _refuse_to_drop(self.found)
        return {name: self._treated(name, rows, self.found) for name, rows in tables.items()}

    def conceal(self, raw: ir.Table) -> ir.Table:
        """Rows as they are in a file, for the account of rejects, without what is personal in them.

        The file may hold columns that the source does not read: whatever the policy is, nothing is refused here. Where
        it neither hashes nor drops, only the shape of a personal value is left.
        """
        known = [replace(one, table="rows") for one in self.found if one.column in raw.columns]
        found = [*survey(self.engine, {"rows": raw}, self.policy), *known]
        return self._treated("rows", raw, found) if found else raw

    def to_json(self) -> dict[str, Any]:
        """The account for ``dataset.json``: what was done where, and nothing of what was there."""
        found = [
            {"table": one.table, "place": one.place, "kind": one.kind.noun, "share": one.share} for one in self.found
        ]
        return {"treatment": self.policy.treatment.value, "allowed": sorted(self.policy.allowed), "found": found}

    def _treated(self, table: str, rows: ir.Table, found: list[Finding]) -> ir.Table:
        """The rows with everything replaced that is of a kind found in that place, in this table or another."""
        kinds = {(together_with(one.place), one.kind) for one in found}
        whole = {together_with(one.place) for one in found if one.whole and (one.table == table or one.column in _IDS)}
        touched = {together_with(one.column) for one in found}
        columns = [name for name in searched(table, rows) if together_with(name) in touched]
        columns = [name for name in columns if not self.policy.allows(table, name)]
        gone = [name for name in columns if name in whole and self.policy.treatment is Treatment.DROP]
        treatments: dict[str, _Values] = {
            name: self._whole() if together_with(name) in whole else self._inside(table, name, kinds)
            for name in columns
            if name not in gone
        }
        rows = rows.drop(*gone) if gone else rows
        return self._rewritten(table, rows, treatments) if treatments else rows

    def _whole(self) -> _Values:
        stand_in = shape if self.policy.treatment is Treatment.REFUSE else self.policy.token
        return lambda values: [None if value is None else stand_in(value) for value in values.to_pylist()]

    def _inside(self, table: str, column: str, kinds: set[tuple[str, PersonalKind]]) -> _Values:
        def answer(find: Find) -> str | None:
            known = (together_with(find.place), find.kind) in kinds and find.valid
            if not known or self.policy.allows(table, find.place):
                return find.text
            if self.policy.treatment is Treatment.DROP:
                return None
            return shape(find.text) if self.policy.treatment is Treatment.REFUSE else self.policy.token(find.text)

        def treat(values: pa.Array) -> list[str | None]:
            suspicious = pc.match_substring_regex(values, SUSPICIOUS)
            return [
                handled(text, column, answer, kinds_in(column)) if suspect and text is not None else text
                for text, suspect in zip(values.to_pylist(), suspicious.to_pylist(), strict=True)
            ]

        return treat

    def _rewritten(self, table: str, rows: ir.Table, treatments: Mapping[str, _Values]) -> ir.Table:
        """The rows with each column treated, value by different value, through a file: memory stays bounded."""
        texts = rows.mutate(as_texts(self.engine, rows, treatments))
        path = self.scratch / f"guarded-{table}-{len(list(self.scratch.glob('guarded-*')))}.parquet"
        with pq.ParquetWriter(path, texts.schema().to_pyarrow()) as writer:
            for batch in self.engine.batches(texts):
                arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
                for name, treat in treatments.items():
                    different = arrays[name].dictionary_encode()
                    arrays[name] = pa.array(treat(different.dictionary), pa.string()).take(different.indices)
                writer.write_batch(pa.record_batch(list(arrays.values()), schema=batch.schema))
        return self.engine.read(path)


#: From different texts to what stands in their place.
_Values = Callable[[pa.Array], list[str | None]]


def _refusal(found: list[Finding]) -> InputError:
    first, *others = found
    share = f"{first.share:.1%}" if first.share >= 0.001 else "under 0.1%"
    rule = f"must hold no personal data, but {share} of its values look like {first.kind.noun} such as {first.example}"
    also = "".join(f"; so does {one.table}.{one.place} ({one.kind.noun})" for one in others[:8])
    also += f"; and {len(others) - 8} more" if len(others) > 8 else ""
    mend = "leave it out, or let --personal-data hash or drop it; a false alarm is ended by --allow-column "
    return InputError(f"{first.table}: column {first.place!r}", rule + also, mend=f"{mend}{first.table}.{first.place}")


def _refuse_to_drop(found: list[Finding]) -> None:
    for one in found:
        required = one.table in CONTRACTS and one.column in CONTRACTS[one.table].required
        if required or one.column in _IDS:
            rule = f"cannot be dropped, but looks like {one.kind.noun} such as {one.example}"
            raise InputError(f"{one.table}: column {one.place!r}", rule, mend="use --personal-data hash")


__all__ = ["Guard"]

"""What tables hold, as one digest: equal for equal rows, in whatever order, files and deliveries they came."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import ibis
import numpy as np
import pyarrow as pa

from features.engine import Engine

_HEX_DIGITS = 32
_MODULUS = 16**_HEX_DIGITS


@dataclass(frozen=True, slots=True)
class Content:
    """A multiset of rows: how many, and the sum of their 128-bit hashes modulo 2^128.

    Sums add up: a table in parts is digested part by part, and what is appended costs only itself, where a hash over
    sorted rows would have to read everything again. Tables that differ by accident agree with a probability of 2^-128;
    who wants two to agree can find such rows, so this tells contents apart and is no seal.
    Clarke et al., Incremental Multiset Hash Functions, ASIACRYPT 2003 (MSet-Add-Hash).
    """

    rows: int = 0
    total: int = 0

    @classmethod
    def of(cls, engine: Engine, rows: ibis.Table) -> Content:
        """The content of all rows, by all their columns in the order of the columns' names."""
        n = total = 0
        for batch in engine.batches(rows.select(_text(rows).hexdigest("md5").name("hash"))):
            n += len(batch)
            total += _sum(batch["hash"])
        return cls(n, total % _MODULUS)

    @classmethod
    def parse(cls, rows: int, digest: str) -> Content:
        """The content that ``digest`` was taken of."""
        return cls(rows, int(digest, 16))

    @property
    def digest(self) -> str:
        """The sum as 32 hexadecimal digits."""
        return f"{self.total:0{_HEX_DIGITS}x}"

    def __add__(self, other: Content) -> Content:
        return Content(self.rows + other.rows, (self.total + other.total) % _MODULUS)


def content_digest(tables: Mapping[str, tuple[pa.Schema, Content]]) -> str:
    """sha256 over the tables' names, columns, types and contents; a table without rows counts as absent."""
    whole = hashlib.sha256()
    for name, (schema, content) in sorted(tables.items()):
        if content.rows:
            columns = ",".join(sorted(f"{column.name}:{column.type}" for column in schema))
            whole.update(f"{name}({columns}) {content.rows} {content.digest}\n".encode())
    return whole.hexdigest()


def _text(rows: ibis.Table) -> ibis.Value:
    """A row as text, from which it could be read back: ``~|`` between values, ``~0`` for none, ``~~`` for a tilde."""
    values = [rows[name] for name in sorted(rows.columns)]
    texts = [value.replace("~", "~~") if value.type().is_string() else value.cast("string") for value in values]
    return ibis.literal("~|").join([text.fill_null("~0") for text in texts])


def _sum(hashes: pa.StringArray) -> int:
    """The sum of hexadecimal numbers, 32 bits at a time: no sum of 2^32 of them leaves 64 bits."""
    digits = hashes.cast(pa.binary(_HEX_DIGITS)).buffers()[1].to_pybytes().decode("ascii")
    words = np.frombuffer(bytes.fromhex(digits), dtype=">u4").reshape(-1, _HEX_DIGITS // 8)
    return sum(int(word) << 32 * place for place, word in enumerate(words.sum(axis=0, dtype=np.uint64)[::-1]))


__all__ = ["Content", "content_digest"]

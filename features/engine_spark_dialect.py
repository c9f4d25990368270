"""Spark's answers made equal to DuckDB's, where Ibis lets the two differ."""

from __future__ import annotations

from typing import Any, ClassVar

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import sqlglot as sg
import sqlglot.expressions as sge
from ibis.backends.pyspark import Backend
from ibis.backends.sql.compilers.base import NULL
from ibis.backends.sql.compilers.pyspark import PySparkCompiler


class SparkCompiler(PySparkCompiler):  # type: ignore[misc]
    """Ibis to Spark SQL. Each method says what would differ without it."""

    __slots__ = ()

    #: Ibis makes a method of each entry; with the inherited ones it would replace those below.
    SIMPLE_OPS: ClassVar[dict[type[ops.Value], str]] = {}

    def visit_CountStar(self, op: ops.CountStar, *, arg: Any, where: Any) -> Any:  # noqa: N802
        """Where no row holds, or a condition is missing throughout, the count is 0 and not missing."""
        return super().visit_CountStar(op, arg=arg, where=None) if where is None else self.f.count_if(where)

    def visit_Cast(self, op: ops.Cast, *, arg: Any, to: dt.DataType) -> Any:  # noqa: N802
        """A float becomes the nearest integer, half to even, and is not cut off."""
        if op.arg.dtype.is_floating() and to.is_integer():
            arg = self.f.rint(arg)
        return super().visit_Cast(op, arg=arg, to=to)

    def visit_IsNull(self, op: ops.IsNull, *, arg: Any) -> Any:  # noqa: N802
        """NaN is a value."""
        return arg.is_(NULL)

    def visit_NotNull(self, op: ops.NotNull, *, arg: Any) -> Any:  # noqa: N802
        """NaN is a value."""
        return arg.is_(sg.not_(NULL))

    def visit_IsNan(self, op: ops.IsNan, *, arg: Any) -> Any:  # noqa: N802
        """Of a missing value it is not known."""
        return arg.eq(self.NAN)

    def visit_IsInf(self, op: ops.IsInf, *, arg: Any) -> Any:  # noqa: N802
        """Ibis compares the expression's text with infinity's, which is never equal."""
        return arg.isin(self.POS_INF, self.NEG_INF)

    def visit_StringSplit(self, op: ops.StringSplit, *, arg: Any, delimiter: Any) -> Any:  # noqa: N802
        """The delimiter is text, not a regular expression."""
        quoted = self.f.concat(sge.convert(r"\Q"), delimiter, sge.convert(r"\E"))
        return self.f.anon.split(arg, quoted)

    def visit_ArrayIndex(self, op: ops.ArrayIndex, *, arg: Any, index: Any) -> Any:  # noqa: N802
        """An index may be of any integer type; beyond the ends nothing is there, which is no error."""
        position = self.if_(index < 0, index, index + 1)
        return self.f.try_element_at(arg, self.cast(position, dt.int32))

    def visit_TimestampFromUNIX(self, op: ops.TimestampFromUNIX, *, arg: Any, unit: Any) -> Any:  # noqa: N802
        """Milliseconds are read too."""
        if unit.short == "ms":
            return self.f.timestamp_millis(arg)
        return super().visit_TimestampFromUNIX(op, arg=arg, unit=unit)

    def visit_JSONGetItem(self, op: ops.JSONGetItem, *, arg: Any, index: Any) -> Any:  # noqa: N802
        """What is taken out of JSON stays JSON: a text keeps its quotes."""
        key = f"[{op.index.value}]" if op.index.dtype.is_integer() else f"['{op.index.value}']"
        return self.f.to_json(self.f.variant_get(self.f.anon.parse_json(arg), f"${key}", "variant"))

    def visit_UnwrapJSONString(self, op: ops.UnwrapJSONString, *, arg: Any) -> Any:  # noqa: N802
        """By Spark's own parser, without a Python worker."""
        return self._unwrap(arg, "STRING", "string")

    def visit_UnwrapJSONInt64(self, op: ops.UnwrapJSONInt64, *, arg: Any) -> Any:  # noqa: N802
        """By Spark's own parser, without a Python worker."""
        return self._unwrap(arg, "BIGINT", "bigint")

    def visit_UnwrapJSONFloat64(self, op: ops.UnwrapJSONFloat64, *, arg: Any) -> Any:  # noqa: N802
        """By Spark's own parser, without a Python worker."""
        return self._unwrap(arg, "BIGINT|DECIMAL.*|DOUBLE", "double")

    def visit_UnwrapJSONBoolean(self, op: ops.UnwrapJSONBoolean, *, arg: Any) -> Any:  # noqa: N802
        """By Spark's own parser, without a Python worker."""
        return self._unwrap(arg, "BOOLEAN", "boolean")

    def _unwrap(self, arg: Any, kinds: str, spark_type: str) -> Any:
        """The value if it is of one of ``kinds`` (a regular expression of Spark's names), else missing."""
        value = self.f.anon.parse_json(arg)
        is_kind = self.f.anon.regexp_like(self.f.schema_of_variant(value), f"^({kinds})$")
        return self.if_(is_kind, self.f.variant_get(value, "$", spark_type), NULL)


class SparkIbis(Backend):  # type: ignore[misc]
    """Ibis on Spark, with the compiler above."""

    compiler = SparkCompiler()

    def _register_in_memory_table(self, op: ops.InMemoryTable) -> None:
        """As Arrow: by way of pandas, integers of which some are missing would be lost."""
        rows = op.data.to_pyarrow(op.schema)
        self._session.createDataFrame(rows).createOrReplaceTempView(op.name)


__all__ = ["SparkCompiler", "SparkIbis"]

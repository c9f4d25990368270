"""Named segments: rules over the columns of a user, each perhaps inside a parent, written in YAML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from features.errors import ConfigError, InputError, NotFoundError
from features.segments.columns import Schema, Type
from features.segments.expression import Expression, parse
from features.segments.nearest import nearest

#: Names of segments become values of columns and parts of reasons.
NAME = r"^[\w][\w .-]*$"


class SegmentRule(BaseModel):
    """One segment as it is written.

    Attributes:
        name: Letters, digits, space, ``_``, ``.`` and ``-``.
        where: A condition in the segment language.
        parent: The segment that it is a part of: only members of the parent can be members.
        description: For people.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(min_length=1, max_length=100, pattern=NAME)
    where: str
    parent: str | None = None
    description: str = ""


class _SegmentFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    segments: list[SegmentRule]


@dataclass(frozen=True, slots=True)
class Segment:
    """A rule that was read against a schema."""

    rule: SegmentRule
    where: Expression

    @property
    def name(self) -> str:
        """As it is written."""
        return self.rule.name

    @property
    def parent(self) -> str | None:
        """The segment that it is a part of."""
        return self.rule.parent

    @property
    def description(self) -> str:
        """For people."""
        return self.rule.description


class Segments:
    """Segments by name, in the order in which they were written."""

    def __init__(self, segments: Iterable[Segment]) -> None:
        self._by_name = {segment.name: segment for segment in segments}
        #: All names, so that each stands after its parent.
        self.parents_first = _parents_first({name: segment.parent for name, segment in self._by_name.items()})

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __getitem__(self, name: str) -> Segment:
        if name not in self._by_name:
            known = nearest(name, self._by_name)
            raise NotFoundError("segment", "must be a known segment", name, f"did you mean {known}?" if known else "")
        return self._by_name[name]

    @property
    def names(self) -> tuple[str, ...]:
        """All names, as written."""
        return tuple(self._by_name)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that any of the segments reads, sorted."""
        return tuple(sorted({column for segment in self for column in segment.where.columns}))

    def as_json(self) -> dict[str, Any]:
        """The rules as they were written and the types of the columns that they read: what ``from_json`` reads."""
        types = {column: of.value for segment in self for column, of in segment.where.schema.items()}
        return {"segments": [segment.rule.model_dump() for segment in self], "columns": types}

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Segments:
        """The same segments again.

        Raises:
            ConfigError, ExpressionError: As in ``make_segments``: it is not what ``as_json`` wrote.
        """
        return make_segments(written["segments"], {name: Type(of) for name, of in written["columns"].items()})

    def lineage(self, name: str) -> tuple[str, ...]:
        """The segment, its parent, the parent's parent and so on."""
        names = [self[name].name]
        while (parent := self[names[-1]].parent) is not None:
            names.append(parent)
        return tuple(names)


def make_segments(rules: Iterable[SegmentRule | Mapping[str, Any]], schema: Schema) -> Segments:
    """Segments from their rules.

    Raises:
        ConfigError: An unknown key, a name used twice, a parent that does not exist or is its own ancestor.
        ExpressionError: A ``where`` that is not a condition over the columns of ``schema``.
    """
    written = [rule.model_dump() if isinstance(rule, SegmentRule) else dict(rule) for rule in rules]
    return _checked({"segments": written}, schema, "segments")


def read_segments(path: Path, schema: Schema) -> Segments:
    """Segments from a YAML file with the one key ``segments``, a list of rules.

    Raises:
        NotFoundError, InputError: The file is missing, not YAML, or repeats a key.
        ConfigError, ExpressionError: As in ``make_segments``.
    """
    if not path.is_file():
        raise NotFoundError(str(path), "must be a file", mend="give the path of segments in YAML")
    try:
        fields = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or a 31st of February
        raise InputError(str(path), "must be YAML", " ".join(str(error).split()), "correct it") from None
    if not isinstance(fields, dict):
        mend = "write `segments:` and below it a list of rules"
        raise InputError(str(path), "must hold keys and values", type(fields).__name__, mend)
    return _checked(fields, schema, str(path))


def _checked(fields: dict[Any, Any], schema: Schema, origin: str) -> Segments:
    try:
        rules = _SegmentFile.model_validate(fields).segments
    except ValidationError as error:
        raise _first_complaint(origin, error) from None
    names: set[str] = set()
    for rule in rules:
        if rule.name in names:
            raise ConfigError(f"{origin}: name", "must not be used twice", rule.name, "rename one of the two")
        names.add(rule.name)
    for rule in rules:
        if rule.parent is not None and rule.parent not in names:
            mend = f"did you mean {nearest(rule.parent, names - {rule.name}) or 'none at all'}?"
            raise ConfigError(f"{origin}: {rule.name}.parent", "must be a segment of this file", rule.parent, mend)
    return Segments(
        Segment(rule, parse(rule.where, schema, field=f"{origin}: {rule.name}.where", want=Type.FLAG)) for rule in rules
    )


def _parents_first(parents: Mapping[str, str | None]) -> tuple[str, ...]:
    ordered: dict[str, None] = {}
    for name in parents:
        path: dict[str, None] = {}
        at: str | None = name
        while at is not None and at not in ordered:
            if at in path:
                circle = " -> ".join([*list(path)[list(path).index(at) :], at])
                raise ConfigError(f"segments: {at}.parent", "must not be its own ancestor", circle, "take one away")
            path[at] = None
            at = parents[at]
        ordered.update(dict.fromkeys(reversed(path)))
    return tuple(ordered)


def _first_complaint(origin: str, error: ValidationError) -> ConfigError:
    first = error.errors()[0]
    field = f"{origin}: {'.'.join(str(part) for part in first['loc'])}"
    if first["type"] == "extra_forbidden":
        known = ", ".join(SegmentRule.model_fields) if len(first["loc"]) > 1 else "segments"
        return ConfigError(field, "is not a known key", first["input"], f"known are {known}")
    if first["type"] == "string_pattern_mismatch":
        return ConfigError(field, "must be made of letters, digits, space, _, . and -", first["input"], "rename it")
    received = None if first["type"] == "missing" else first["input"]
    return ConfigError(field, f"is not usable: {first['msg'][0].lower()}{first['msg'][1:]}", received)


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a mapping that has a key twice, where YAML would take the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for at, key in enumerate(keys):
            if key in keys[:at]:
                raise yaml.YAMLError(f"line {node.start_mark.line + 1}: the key {key!r} stands twice")
        return super().construct_mapping(node, deep=deep)


__all__ = ["Segment", "SegmentRule", "Segments", "make_segments", "read_segments"]

"""What is done with personal data at ingest: they are refused, replaced by tokens of a keyed hash, or dropped."""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from features.errors import ConfigError, NotFoundError

#: Environment variables with the key of the hash, or the file that holds it. It is never stored or logged.
KEY_VARIABLE, KEY_FILE_VARIABLE = "STELLAR_PII_KEY", "STELLAR_PII_KEY_FILE"

#: Bytes; a shorter key can be tried out.
MIN_KEY = 16

TOKEN = re.compile(r"pii_[0-9a-f]{16}")


class Treatment(StrEnum):
    """What happens to personal data."""

    REFUSE = "refuse"
    HASH = "hash"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class PersonalDataPolicy:
    """How personal data are treated.

    Attributes:
        treatment: What happens to them.
        allowed: Columns that hold none, whatever they look like: ``column`` or ``table.column``, and of JSON content
            ``column.member`` with all that is in it.
        key: Of the hash; needed for ``HASH`` alone, and left out of every text form of the policy.
    """

    treatment: Treatment = Treatment.REFUSE
    allowed: frozenset[str] = frozenset()
    key: bytes | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.treatment is not Treatment.HASH:
            return
        mend = f"set {KEY_VARIABLE} to the output of `openssl rand -hex 32`, or {KEY_FILE_VARIABLE} to a file with it"
        if self.key is None:
            raise ConfigError("--personal-data hash", "needs a key", mend=mend)
        if len(self.key) < MIN_KEY:
            raise ConfigError("key", f"must have at least {MIN_KEY} bytes", f"{len(self.key)} bytes", mend)

    @classmethod
    def of(
        cls, treatment: str, allowed: Iterable[str] = (), environment: Mapping[str, str] = os.environ
    ) -> PersonalDataPolicy:
        """From the command line; the key comes from the environment, and is read only to hash.

        Raises:
            ConfigError: The treatment is unknown, or to hash there is no key or a short one.
            NotFoundError: The key's file cannot be read.
        """
        if treatment not in set(Treatment):
            raise ConfigError("--personal-data", f"must be one of {', '.join(Treatment)}", treatment)
        key = _key(environment) if treatment == Treatment.HASH else None
        return cls(Treatment(treatment), frozenset(allowed), key)

    @classmethod
    def mildest(cls, environment: Mapping[str, str] = os.environ) -> PersonalDataPolicy:
        """Of what needs no decision: personal data are hashed where there is a key, else dropped."""
        has_key = any(environment.get(name) for name in (KEY_VARIABLE, KEY_FILE_VARIABLE))
        return cls.of(Treatment.HASH if has_key else Treatment.DROP, (), environment)

    def allows(self, table: str, place: str) -> bool:
        """Whether a column, or a member of one (``column.member``), may hold what it holds."""
        names = (f"{place}.", f"{table}.{place}.")
        return any(name.startswith(f"{allowed}.") for allowed in self.allowed - {table} for name in names)

    def token(self, value: str) -> str:
        """``pii_`` and 16 hexadecimal digits of HMAC-SHA256 (RFC 2104): the same for the same value and key.

        With 5 million values two share a token with a probability below one in a million.
        """
        if TOKEN.fullmatch(value):
            return value
        if self.key is None:
            raise ConfigError("key", "is needed for tokens")
        return f"pii_{hmac.digest(self.key, value.encode(errors='surrogatepass'), 'sha256').hex()[:16]}"


def _key(environment: Mapping[str, str]) -> bytes | None:
    if environment.get(KEY_VARIABLE):
        return environment[KEY_VARIABLE].encode()
    if not environment.get(KEY_FILE_VARIABLE):
        return None
    path = Path(environment[KEY_FILE_VARIABLE])
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise NotFoundError(KEY_FILE_VARIABLE, "must name a readable file", error.strerror) from None


__all__ = ["KEY_FILE_VARIABLE", "KEY_VARIABLE", "MIN_KEY", "TOKEN", "PersonalDataPolicy", "Treatment"]

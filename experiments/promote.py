"""Making a registered bundle the champion: on the verdict ``ship`` only, or by force, which is recorded."""

from __future__ import annotations

import os
from dataclasses import dataclass

from experiments.tracked import VERDICT_TAG
from experiments.verdict import Verdict
from features.errors import ConflictError
from training.registry import Version, alias_version, get_version, set_alias, tag_version


@dataclass(frozen=True, slots=True)
class Promotion:
    """The new champion and what it rests on."""

    version: Version
    verdict: str
    forced: bool


def promote(number: int | None = None, *, force: bool = False) -> Promotion:
    """Point ``champion`` at a version, the ``challenger`` if none is named.

    Raises:
        NotFoundError: There is no such version.
        ConflictError: Its verdict is not ``ship`` and force was not asked for.
    """
    version = alias_version("challenger") if number is None else get_version(number)
    verdict = version.tags.get(VERDICT_TAG, "none")
    if verdict != Verdict.SHIP and not force:
        mend = "compare again with more data, or pass --force, which is recorded"
        raise ConflictError(f"version {version.number}", "must have the verdict ship to be promoted", verdict, mend)
    forced = verdict != Verdict.SHIP
    if forced:
        tag_version(version, {"forced": "true", "forced_by": os.environ.get("USER", str(os.getuid()))})
    set_alias("champion", version.number)
    return Promotion(version, verdict, forced)


__all__ = ["Promotion", "promote"]

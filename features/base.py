"""The data set that rows are added to; its files are shared by links and never changed, so it stays whole meanwhile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import ibis

from features.added import ADDED, read_added
from features.contracts import EVENTS, IMPRESSIONS, ITEMS, USERS, Contract
from features.dataset import INFO, REJECTS, Dataset, table_file
from features.engine import Engine
from features.errors import ConflictError, NotFoundError


@dataclass(frozen=True, slots=True)
class Base:
    """A data set as it was at one moment, whatever becomes of its folder.

    Attributes:
        dataset: In a folder of its own, on the same files.
    """

    dataset: Dataset

    @classmethod
    def pin(cls, folder: Path, scratch: Path) -> Base:
        """Take hold of the data set in ``folder``, in the new folder ``scratch``.

        Raises:
            NotFoundError: ``folder`` is no data set.
            InputError: It is damaged.
            ConflictError: It was replaced meanwhile.
        """
        dataset = Dataset.open(folder)
        try:
            share([folder / INFO, *dataset.files(), *_rejects(folder)], folder, scratch)
            unchanged = Dataset.open(folder).info == dataset.info
        except (FileNotFoundError, NotFoundError):
            unchanged = False
        if not unchanged:
            raise ConflictError(str(folder), "must stay as it is while it is read", "another one there", "run it again")
        return cls(Dataset.open(scratch))

    def hand_on(self, work: Path) -> str:
        """Share what stays as it is with the data set in ``work``: the parts of the logs and all rejects so far.

        Returns:
            The name of the next file of rejects.
        """
        logs = [part.path for log in (EVENTS, IMPRESSIONS) for part in self.dataset.parts(log.name)]
        rejects = _rejects(self.dataset.folder)
        share([*logs, *rejects], self.dataset.folder, work)
        return f"{Path(REJECTS).stem}-{len(rejects):05}.parquet"

    def known(self, engine: Engine) -> dict[str, ibis.Table]:
        """Table name to the rows that hold their keys."""
        known = {EVENTS.name: self.dataset.events(engine), **{c.name: self.given(engine, c) for c in (ITEMS, USERS)}}
        impressions = self.dataset.impressions(engine)
        return known if impressions is None else {**known, IMPRESSIONS.name: impressions}

    def given(self, engine: Engine, contract: Contract) -> ibis.Table:
        """The rows of items or users that the shop gave."""
        return self._rows(engine, contract).anti_join(self._keys(engine, contract), contract.key)

    def added(self, engine: Engine, contract: Contract) -> ibis.Table:
        """The rows of items or users that were made because events name them."""
        return self._rows(engine, contract).semi_join(self._keys(engine, contract), contract.key)

    def _rows(self, engine: Engine, contract: Contract) -> ibis.Table:
        return engine.read(table_file(self.dataset.folder, contract.name))

    def _keys(self, engine: Engine, contract: Contract) -> ibis.Table:
        return read_added(engine, self.dataset.folder / ADDED, contract)


def share(files: Iterable[Path], folder: Path, other: Path) -> None:
    """Have files below ``folder`` also below ``other``: as hard links, or as copies where there can be none."""
    for path in files:
        target = other / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except FileNotFoundError:
            raise
        except OSError:  # another file system, or one without links
            shutil.copyfile(path, target)


def _rejects(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{Path(REJECTS).stem}*.parquet"))


__all__ = ["Base", "share"]

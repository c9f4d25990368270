"""Batch recommendations: the policy's own answers, and a file that is whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from features.errors import ConfigError
from serving.batch import recommend_all
from serving.policy import Request, decide
from training.bundle import Bundle


def test_every_user_gets_the_answer_of_the_endpoint_for_the_same_instant(shop_bundle: Bundle, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    out = tmp_path / "new" / "lists.parquet"
    rows = recommend_all(shop_bundle, 5, out, lambda done, of: told.append((done, of)))
    frame = pd.read_parquet(out)
    users = shop_bundle.users.ids.tolist()
    assert rows == len(frame) == 5 * len(users)
    assert list(frame.columns) == ["user_id", "item_id", "rank", "score", "level", "reason"]
    assert frame["user_id"].drop_duplicates().tolist() == users
    assert told[-1] == (len(users), len(users))
    lists = dict(iter(frame.groupby("user_id", sort=False)))
    for user_id in users[::25]:
        slate = decide(Request(user_id, 5, now_ms=shop_bundle.as_of_ms), (), shop_bundle)
        answered = lists[user_id].drop(columns="user_id").to_dict("records")
        expected = [
            {"item_id": i.item_id, "rank": i.rank, "score": i.score, "level": i.level, "reason": i.reason}
            for i in slate.items
        ]
        assert answered == expected
    assert [path.name for path in out.parent.iterdir()] == ["lists.parquet"]


@pytest.mark.parametrize(("error", "told"), [(KeyboardInterrupt, KeyboardInterrupt), (OSError, ConfigError)])
def test_an_interrupted_run_leaves_what_was_there(
    shop_bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
    told: type[BaseException],
) -> None:
    monkeypatch.setattr("serving.batch._USERS_PER_GROUP", 10)

    def interrupt(done: int, of: int) -> None:
        raise error

    out = tmp_path / "lists.parquet"
    with pytest.raises(told):
        recommend_all(shop_bundle, 1, out, interrupt)
    assert list(tmp_path.iterdir()) == []
    out.write_bytes(b"earlier")
    with pytest.raises(told):
        recommend_all(shop_bundle, 1, out, interrupt)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("lists.parquet", b"earlier")]


def test_only_a_parquet_file_is_written(shop_bundle: Bundle, tmp_path: Path) -> None:
    """A pipe, a device or a folder stays what it is, and a link goes on pointing to what was written."""
    os.mkfifo(tmp_path / "pipe.parquet")
    (tmp_path / "folder.parquet").mkdir()
    for name in ("pipe.parquet", "folder.parquet", "lists.csv"):
        with pytest.raises(ConfigError, match=rf"--out must be a Parquet file, received .*{name}"):
            recommend_all(shop_bundle, 1, tmp_path / name)
    assert (tmp_path / "pipe.parquet").is_fifo() and (tmp_path / "folder.parquet").is_dir()
    (tmp_path / "link.parquet").symlink_to(tmp_path / "target.parquet")
    rows = recommend_all(shop_bundle, 1, tmp_path / "link.parquet")
    assert (tmp_path / "link.parquet").is_symlink() and len(pd.read_parquet(tmp_path / "target.parquet")) == rows

"""Equal content, equal digest; any other content, another."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from features.digest import Digest, digest_folder


def of(content: Any) -> str:
    return Digest().add("x", content).hexdigest()


FRAME = pd.DataFrame({"n": [1, 2], "t": ["a", None], "f": [0.5, np.nan]}, index=pd.Index(["u", "v"], name="id"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (np.arange(4, dtype="<i4"), np.arange(4, dtype=">i4")),
        (np.arange(12).reshape(3, 4).T, np.arange(12).reshape(3, 4).T.copy()),
        (FRAME, FRAME.astype({"n": "Int64", "t": object})),
        (
            sparse.csr_array(([1, 2], ([0, 0], [3, 1])), shape=(2, 4)),
            sparse.csr_array(([2, 1], ([0, 0], [1, 3])), shape=(2, 4)),
        ),
    ],
    ids=["key order", "byte order", "memory order", "storage types", "order of cells"],
)
def test_equal_content(one: Any, other: Any) -> None:
    assert of(one) == of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.array(["ab", "c"]), np.array(["a", "bc"])),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.zeros(2, np.int32), np.zeros(2, np.float32)),
        (FRAME, FRAME.iloc[::-1]),
        (FRAME, FRAME.rename(columns={"n": "m"})),
        (FRAME, FRAME.rename({"u": "w"})),
        (FRAME, FRAME.assign(t=["a", ""])),
        (FRAME, FRAME.assign(t=["b", None])),
        (FRAME, FRAME.assign(f=[np.nan, 0.5])),
        (sparse.csr_array((2, 4)), sparse.csr_array((4, 2))),
        ([1, 2], [2, 1]),
    ],
    ids=[
        *["text", "shape", "kind", "rows", "column", "index", "missing", "value", "place"],
        "matrix shape",
        "list order",
    ],
)
def test_other_content(one: Any, other: Any) -> None:
    assert of(one) != of(other)


def test_names_and_order_of_parts_count() -> None:
    first = Digest().add("a", 1).add("b", 2).hexdigest()
    assert len({first, Digest().add("b", 2).add("a", 1).hexdigest(), Digest().add("a", 2).add("b", 1).hexdigest()}) == 3
    assert len(first) == 64


def fill(folder: Path, *, compress: bool) -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "about.json").write_text(json.dumps({"a": [1], "b": 2}, indent=2 if compress else None))
    (np.savez_compressed if compress else np.savez)(folder / "sub" / "arrays.npz", p=np.arange(3), q=np.eye(2))
    FRAME.to_parquet(folder / "frame.parquet", compression="zstd" if compress else "none")
    (folder / "weights.safetensors").write_bytes(b"123")
    return folder


def test_a_folder_is_its_content_not_its_bytes(tmp_path: Path) -> None:
    one, other = fill(tmp_path / "one", compress=True), fill(tmp_path / "other", compress=False)
    assert (one / "frame.parquet").read_bytes() != (other / "frame.parquet").read_bytes()
    assert digest_folder(one) == digest_folder(other)
    (one / "digest.json").write_text("{}")
    assert digest_folder(one) != digest_folder(other)
    assert digest_folder(one, without=("digest.json",)) == digest_folder(other)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "about.json").write_text('{"a": [1], "b": 3}'),
        lambda folder: np.savez(folder / "sub" / "arrays.npz", p=np.arange(3), q=np.ones((2, 2))),
        lambda folder: FRAME.assign(n=[1, 3]).to_parquet(folder / "frame.parquet"),
        lambda folder: (folder / "weights.safetensors").write_bytes(b"124"),
        lambda folder: (folder / "weights.safetensors").rename(folder / "renamed.safetensors"),
        lambda folder: (folder / "about.json").unlink(),
    ],
    ids=["json", "npz", "parquet", "bytes", "rename", "delete"],
)
def test_each_file_of_a_folder_counts(tmp_path: Path, change: Callable[[Path], Any]) -> None:
    folder = fill(tmp_path / "one", compress=True)
    before = digest_folder(folder)
    change(folder)
    assert digest_folder(folder) != before

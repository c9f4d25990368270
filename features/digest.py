"""A sha256 over canonical content, so that equal content has an equal digest whatever wrote the bytes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import sparse


class Digest:
    """Accumulates named parts; the order of the calls matters, file formats, compression and time stamps do not."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, name: str, content: Any) -> Digest:
        """Add JSON-able content, an array, a sparse matrix or a data frame under ``name``."""
        self._hash.update(f"\x00{name}\x00".encode())
        if isinstance(content, pd.DataFrame):
            self._frame(content)
        elif isinstance(content, np.ndarray):
            self._array(content)
        elif sparse.issparse(content):
            matrix = sparse.csr_array(content).sorted_indices()
            for part in (np.array(matrix.shape), matrix.indptr.astype(np.int64), matrix.indices, matrix.data):
                self._array(part)
        else:
            text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
            self._hash.update(text.encode())
        return self

    def hexdigest(self) -> str:
        """64 hexadecimal characters."""
        return self._hash.hexdigest()

    def _array(self, values: np.ndarray) -> None:
        if values.dtype == object or values.dtype.kind in "US":
            flat = values.ravel()
            strings = flat if pd.api.types.infer_dtype(flat, skipna=False) == "string" else [str(text) for text in flat]
            self._texts(pa.array(strings, type=pa.large_string()), values.shape)
            return
        little_endian = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False)
        self._hash.update(f"{values.dtype.kind}{values.dtype.itemsize}{values.shape}".encode())
        self._hash.update(little_endian.tobytes())

    def _texts(self, texts: pa.LargeStringArray | pa.ChunkedArray, shape: tuple[int, ...]) -> None:
        """The lengths in bytes, then all bytes in UTF-8; nothing in it is missing."""
        whole = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
        self._hash.update(f"str{shape}".encode())
        _, offsets, data = whole.buffers()
        ends = np.frombuffer(offsets, dtype="<i8")[whole.offset : whole.offset + len(whole) + 1]
        self._hash.update(np.diff(ends).tobytes())
        self._hash.update(b"" if data is None else memoryview(data)[int(ends[0]) : int(ends[-1])])

    def _frame(self, frame: pd.DataFrame) -> None:
        index = frame.index
        if index.dtype.kind in "iuf":
            self._array(np.asarray(index))
        else:
            self._texts(_large(index.astype("str")), index.shape)
        for name in frame.columns:
            self._hash.update(f"\x00{name}\x00".encode())
            column = frame[name]
            missing = column.isna().to_numpy()
            if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
                self._array(column.to_numpy(dtype=np.float64, na_value=np.nan))
            else:
                self._texts(_large(column.astype("str").fillna("")), column.shape)
            self._array(missing)


def _large(texts: pd.Series | pd.Index) -> pa.LargeStringArray:
    return pa.array(texts.array, type=pa.large_string(), from_pandas=True)


def digest_folder(folder: Path, *, without: tuple[str, ...] = ()) -> str:
    """The digest of the JSON, npz, safetensors and Parquet files below ``folder``, by their content.

    Args:
        folder: Everything below it counts, in the order of the relative paths.
        without: Relative paths to leave out: the file that will hold the digest.
    """
    digest = Digest()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name in without:
            continue
        if path.suffix == ".json":
            digest.add(name, json.loads(path.read_text(encoding="utf-8")))
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                for key in sorted(arrays.files):
                    digest.add(f"{name}:{key}", arrays[key])
        elif path.suffix == ".parquet":
            digest.add(name, pd.read_parquet(path))
        else:
            digest.add(name, hashlib.sha256(path.read_bytes()).hexdigest())
    return digest.hexdigest()


__all__ = ["Digest", "digest_folder"]

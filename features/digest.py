"""A sha256 over canonical content, so that equal content has an equal digest whatever wrote the bytes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
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
            texts = [str(text).encode() for text in values.ravel()]
            self._hash.update(f"str{values.shape}".encode())
            self._hash.update(np.array([len(text) for text in texts], dtype="<i8").tobytes())
            self._hash.update(b"".join(texts))
            return
        little_endian = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False)
        self._hash.update(f"{values.dtype.kind}{values.dtype.itemsize}{values.shape}".encode())
        self._hash.update(little_endian.tobytes())

    def _frame(self, frame: pd.DataFrame) -> None:
        index = frame.index
        self._array(np.asarray(index, dtype=object if index.dtype.kind not in "iuf" else None))
        for name in frame.columns:
            self._hash.update(f"\x00{name}\x00".encode())
            column = frame[name]
            missing = column.isna().to_numpy()
            if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
                self._array(column.to_numpy(dtype=np.float64, na_value=np.nan))
            else:
                self._array(column.astype(object).where(~missing, "").astype(str).to_numpy(dtype=object))
            self._array(missing)


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

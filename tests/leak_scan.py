"""Looks for planted values in everything below a folder, whatever the format hides: compression, escapes, encodings."""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq


def leaks(folder: Path, needles: Iterable[str]) -> list[str]:
    """Where any of the needles stands, in any case: ``path: needle`` per file and needle.

    Read are names and bytes of all files, and what they say once decoded: cells and metadata of Parquet, members of zip
    and npz, gzip, all tables of SQLite with what waits in its log, texts of JSON and JSON lines. Anything else
    (safetensors, logs, YAML, model files) is searched as it is, in UTF-8, UTF-16 and UTF-32.
    """
    forms = {needle: _forms(needle) for needle in needles}
    found = set()
    for path in sorted(folder.rglob("*")):
        contents = [str(path.relative_to(folder)).lower().encode()]
        if path.is_file():
            contents += _contents(path)
        for content in contents:
            found |= {f"{path.relative_to(folder)}: {needle}" for needle in forms if _holds(content, forms[needle])}
    return sorted(found)


def _forms(needle: str) -> list[bytes]:
    texts = {needle.lower(), quote(needle).lower(), json.dumps(needle)[1:-1].lower()}
    return [text.encode(encoding) for text in sorted(texts) for encoding in ("utf-8", "utf-16-le", "utf-32-le")]


def _holds(content: bytes, forms: list[bytes]) -> bool:
    return any(form in content for form in forms)


def _contents(path: Path) -> Iterator[bytes]:
    """The bytes of a file and of everything in it, in lower case."""
    raw = path.read_bytes()
    yield raw.lower()
    if raw.startswith(b"SQLite format 3\0"):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (table,) in tables:
                yield repr(database.execute(f'SELECT * FROM "{table}"').fetchall()).lower().encode()
    else:
        yield from _inside(raw)


def _inside(raw: bytes) -> Iterator[bytes]:
    if raw[:4] == b"PAR1":
        table = pq.read_table(io.BytesIO(raw))
        yield repr(table.schema.metadata).lower().encode()
        for column in table.columns:
            yield "\n".join(map(str, column.to_pylist())).lower().encode(errors="surrogatepass")
    elif zipfile.is_zipfile(io.BytesIO(raw)):
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            for name in archive.namelist():
                inner = archive.read(name)
                yield name.lower().encode() + b"\n" + inner.lower()
                yield from _inside(inner)
    elif raw[:2] == b"\x1f\x8b":
        inner = gzip.decompress(raw)
        yield inner.lower()
        yield from _inside(inner)
    else:
        yield from _decoded_json(raw)


def _decoded_json(raw: bytes) -> Iterator[bytes]:
    for text in (raw, *raw.splitlines()):
        if text[:1] in (b"{", b"["):
            try:
                yield json.dumps(json.loads(text), ensure_ascii=False).lower().encode(errors="surrogatepass")
            except ValueError:
                continue


__all__ = ["leaks"]

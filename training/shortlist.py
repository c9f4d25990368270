"""What the parts of a blend say of the items worth ranking, where the catalogue is too large to rank all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from features.ids import UNKNOWN
from features.schema import Level
from features.sequences import Histories, Ragged
from training.recommender import Ids, Mask, Recommender, Scores, top_k


def shortlists(
    parts: Mapping[str, Recommender],
    histories: Histories,
    each: int,
    allowed: Mask | None,
    unavailable: frozenset[str],
    always: Ids,
) -> Iterator[tuple[Ids, Scores]]:
    """For each question the items that may be among the best, ascending, and what each part says of them.

    They are each part's best ``each`` of the allowed items that it speaks for, its very best of all, which the others
    are compared with, and ``always``. Parts with an index find theirs in it; of the others all items are scored.

    Args:
        parts: L1 to L3 see what the snapshot knew, L4 what is live.
        allowed: (n_items,) bool, items that may be shown; all if absent.
        unavailable: Names of parts that say 0 of everything.
        always: Dense ids.

    Yields:
        (u,) int32 items and (parts, 1, u) float32 scores, at least 0.
    """
    n, past = len(histories), histories.past()
    asked = {name: histories if part.level is Level.LIVE else past for name, part in parts.items()}
    able = {name: part for name, part in parts.items() if name not in unavailable}
    dense = {name: part.score_all(asked[name]) for name, part in able.items() if not part.is_indexed}
    best = [np.tile(always, (n, 1))]
    for name, part in able.items():
        if part.is_indexed:
            best.extend(_indexed(part, asked[name], each, allowed))
        else:
            best.append(_looked_up(dense[name], each, allowed))
    likely = np.concatenate(best, axis=1)
    rows, places = np.nonzero(likely >= 0)
    chosen = Ragged.distinct(rows, likely[rows, places], n)
    scores = np.zeros((len(parts), len(chosen.values)), dtype=np.float32)
    for position, name in enumerate(parts):
        if name in dense:
            scores[position] = dense[name][chosen.rows, chosen.values]
        elif name in able:
            scores[position] = able[name].score_candidates(asked[name], chosen)
    np.maximum(scores, 0.0, out=scores)
    for begin, end in zip(chosen.offsets[:-1].tolist(), chosen.offsets[1:].tolist(), strict=True):
        yield chosen.values[begin:end], scores[:, None, begin:end].copy()


def _indexed(part: Recommender, asked: Histories, each: int, allowed: Mask | None) -> Iterator[Ids]:
    """(n, c) of a part with an index, -1 for none: most often enough of its best are allowed."""
    ids, scores = part.recommend(asked, each if allowed is None else 2 * each)
    ids = np.where(scores > 0, ids, UNKNOWN)
    yield ids
    if allowed is not None:
        short = np.flatnonzero(((ids >= 0) & allowed[ids]).sum(axis=1) < each)
        if len(short):
            more = np.full((len(ids), each), UNKNOWN, dtype=np.int32)
            found, scores = part.recommend(asked.take(short), each, allowed)
            more[short] = np.where(scores > 0, found, UNKNOWN)
            yield more


def _looked_up(scores: Scores, each: int, allowed: Mask | None) -> Ids:
    """(n, each + 1) of (n, n_items) scores, which often are 0 nearly everywhere."""
    best = np.full((len(scores), each + 1), UNKNOWN, dtype=np.int32)
    for row, of_row in enumerate(scores):
        places = np.flatnonzero(of_row > 0)
        if len(places):
            best[row, each] = of_row.argmax()
            places = places if allowed is None else places[allowed[places]]
            ids = top_k(of_row[None, places], each)[0][0]
            best[row, :each] = np.where(ids >= 0, places[ids], UNKNOWN) if len(places) else UNKNOWN
    return best


__all__ = ["shortlists"]

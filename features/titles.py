"""Titles as vectors: TF-IDF and truncated SVD, latent semantic analysis (Deerwester et al. 1990)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from features.catalogue import Catalogue
from features.digest import Digest
from features.schema import Columns

#: Numbers per title.
DIMENSIONS = 16

#: So many titles are enough to learn which words go together.
CORPUS_TITLES = 20_000
_FEWEST_TITLES = 50
_WORDS = 5_000


@dataclass(frozen=True)
class TitleSpace:
    """What words mean in a shop; learned once a month, so that one new item does not move all others.

    Attributes:
        digest: Of the corpus it was learned from.
        words: (w,) the vocabulary, sorted.
        weights: (w, d) float64, the words' components.
        idf: (w,) float64.
        texts: The distinct titles of the items as of the instant, sorted.
        vectors: (texts, d) float64.
    """

    digest: str
    words: NDArray[np.object_]
    weights: NDArray[np.float64]
    idf: NDArray[np.float64]
    texts: pd.Index
    vectors: NDArray[np.float64]

    @classmethod
    def learned(cls, catalogue: Catalogue, as_of_ms: int, earlier: TitleSpace | None = None) -> TitleSpace:
        """From the titles at the beginning of the month, UTC; where those are too few, from those of the instant.

        What ``earlier`` learned from the same titles is kept, and the vectors that it knows.
        """
        corpus = _corpus(catalogue, _month_ms(as_of_ms))
        if len(corpus) < _FEWEST_TITLES:
            corpus = _corpus(catalogue, as_of_ms)
        digest = Digest().add("titles", corpus).hexdigest()
        if earlier is None or earlier.digest != digest:
            nothing = np.zeros((0, 0))
            earlier = cls(digest, *_learned(corpus), pd.Index([], dtype=object), nothing)
        texts = pd.Index(sorted(set(catalogue.latest[Columns.TITLE].dropna())), dtype=object)
        return replace(earlier, texts=texts, vectors=earlier.vectors_of(texts))

    def vectors_of(self, texts: pd.Index) -> NDArray[np.float64]:
        """(n, d) float64: the vector of each of some distinct titles; all zeros for one without a known word."""
        vectors = np.zeros((len(texts), self.weights.shape[1]))
        places = self.texts.get_indexer(texts)
        vectors[places >= 0] = self.vectors[places[places >= 0]] if len(self.texts) else 0.0
        if (places < 0).any() and vectors.shape[1]:
            vectorizer = TfidfVectorizer(vocabulary={word: number for number, word in enumerate(self.words)})
            vectorizer.idf_ = self.idf
            vectors[places < 0] = vectorizer.transform(texts[places < 0]) @ self.weights
        return vectors

    def embed(self, titles: pd.Series) -> NDArray[np.float64]:
        """(n, d) float64: the vector of each title, one of ``texts``; all zeros where there is none."""
        places = self.texts.get_indexer(pd.Index(titles.astype(object)))
        return np.vstack([self.vectors, np.zeros((1, self.weights.shape[1]))])[places]


def _learned(corpus: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.float64], NDArray[np.float64]]:
    """Words, their components and their inverse document frequencies."""
    vectorizer = TfidfVectorizer(max_features=_WORDS, dtype=np.float64)
    try:
        frequencies = vectorizer.fit_transform(corpus)
    except ValueError:  # no title has a word
        return np.zeros(0, dtype=object), np.zeros((0, 0)), np.zeros(0)
    words = vectorizer.get_feature_names_out().astype(object)
    dimensions = min(DIMENSIONS, frequencies.shape[0] - 1, frequencies.shape[1] - 1)
    if dimensions < 1:
        return words, np.zeros((len(words), 0)), vectorizer.idf_
    found = TruncatedSVD(dimensions, random_state=0).fit(frequencies)
    return words, found.components_.T.copy(), vectorizer.idf_


def _corpus(catalogue: Catalogue, until_ms: int) -> NDArray[np.object_]:
    """The distinct titles of the items as they stood, sorted; of too many, every so-manieth."""
    rows = catalogue.rows[catalogue.rows[Columns.VALID_FROM] < until_ms]
    titles = rows.drop_duplicates(Columns.ITEM_ID, keep="last")[Columns.TITLE].dropna()
    distinct = np.array(sorted(set(titles)), dtype=object)
    if len(distinct) <= CORPUS_TITLES:
        return distinct
    return distinct[np.linspace(0, len(distinct) - 1, CORPUS_TITLES).astype(np.int64)]


def _month_ms(as_of_ms: int) -> int:
    """The first instant of the month in which the last readable millisecond lies."""
    last = datetime.fromtimestamp((as_of_ms - 1) / 1000, UTC)
    return int(datetime(last.year, last.month, 1, tzinfo=UTC).timestamp() * 1000)


__all__ = ["DIMENSIONS", "TitleSpace"]

"""TF-IDF rows as scikit-learn's TfidfVectorizer makes them, from plain data.

Needs NumPy and nothing else, so that an example script can carry it along. Source of the method:
scikit-learn, sklearn/feature_extraction/text.py, told by its documented behaviour.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# An expression that comes from a file is never compiled: these two are known.
_TOKENS = {text: re.compile(text) for text in (r"(?u)\b\w\w+\b", r"(?u)\b\w+\b")}
_BOTH = (True, False)
_LEGAL: dict[str, tuple[Any, ...]] = {
    "analyzer": ("word",),
    "binary": _BOTH,
    "lowercase": _BOTH,
    "norm": ("l2", "l1", None),
    "preprocessor": (None,),
    "strip_accents": (None, "unicode", "ascii"),
    "sublinear_tf": _BOTH,
    "token_pattern": tuple(_TOKENS),
    "tokenizer": (None,),
}
_LONGEST = 8


def unsupported(settings: Mapping[str, Any]) -> list[str]:
    """Return every setting that is not computed here, as ``name=value``."""
    odd = [
        f"{name}={settings.get(name)!r}"
        for name, legal in _LEGAL.items()
        if not any(settings.get(name) is each or settings.get(name) == each for each in legal)
    ]
    grams, stop = settings.get("ngram_range"), settings.get("stop_words")
    if not (
        isinstance(grams, list | tuple)
        and [type(n) for n in grams] == [int, int]
        and 1 <= grams[0] <= grams[1] <= _LONGEST
    ):
        odd.append(f"ngram_range={grams!r}")
    if not (stop is None or (isinstance(stop, list) and all(isinstance(w, str) for w in stop))):
        odd.append(f"stop_words={stop!r}")
    return odd


class TfIdf:
    """Turns texts into rows of weights.

    Args:
        vocabulary: Word to column.
        settings: What ``idf.json`` holds: ``idf``, one weight per column or None, and
            scikit-learn's settings by their names there.

    Raises:
        ValueError: A setting is not computed here, or vocabulary and weights do not fit together.
    """

    def __init__(self, vocabulary: Mapping[str, int], settings: Mapping[str, Any]) -> None:
        odd = unsupported(settings)
        if odd:
            raise ValueError(
                f"texts cannot be weighted as in training: {', '.join(odd)} is not supported; "
                "give rows of TF-IDF weights instead"
            )
        idf = settings.get("idf")
        if sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise ValueError("the vocabulary does not give every word a column of its own")
        if idf is not None and len(idf) != len(vocabulary):
            raise ValueError(f"{len(idf)} weights do not fit {len(vocabulary)} words")
        self.vocabulary = dict(vocabulary)
        self.words = sorted(vocabulary, key=lambda word: vocabulary[word])
        self._idf = idf
        self._settings = dict(settings)
        self._stop = frozenset(settings.get("stop_words") or ())

    @classmethod
    def load(cls, folder: Path) -> TfIdf:
        """Read ``vocab.json`` and ``idf.json`` of a folder."""
        read = [
            json.loads((folder / name).read_text(encoding="utf-8"))
            for name in ("vocab.json", "idf.json")
        ]
        return cls(*read)

    def transform(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the rows (texts, words); a text of unknown words has a row of zeros."""
        import numpy as np

        rows = np.zeros((len(texts), len(self.vocabulary)))
        for row, text in zip(rows, texts, strict=True):
            for column, count in Counter(self._columns(text)).items():
                row[column] = self._frequency(count)
        if self._idf is not None:
            rows *= np.asarray(self._idf, dtype=np.float64)
        norm = self._settings["norm"]
        if norm is not None:
            size = np.abs(rows).sum(1) if norm == "l1" else np.sqrt((rows * rows).sum(1))
            rows /= np.where(size == 0, 1, size)[:, None]
        return rows.astype(np.float32)

    def _frequency(self, count: int) -> float:
        if self._settings["binary"]:
            count = 1
        return 1 + math.log(count) if self._settings["sublinear_tf"] else count

    def _columns(self, text: str) -> Iterable[int]:
        if self._settings["lowercase"]:
            text = text.lower()
        text = _without_accents(text, self._settings["strip_accents"])
        words = _TOKENS[self._settings["token_pattern"]].findall(text)
        words = [word for word in words if word not in self._stop]
        shortest, longest = self._settings["ngram_range"]
        for size in range(shortest, longest + 1):
            for start in range(len(words) - size + 1):
                column = self.vocabulary.get(" ".join(words[start : start + size]))
                if column is not None:
                    yield column


def _without_accents(text: str, how: str | None) -> str:
    if how is None or text.isascii():
        return text
    parts = unicodedata.normalize("NFKD", text)
    if how == "ascii":
        return parts.encode("ascii", "ignore").decode("ascii")
    return "".join(part for part in parts if not unicodedata.combining(part))

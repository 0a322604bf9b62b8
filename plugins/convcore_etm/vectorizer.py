"""A fitted TfidfVectorizer of scikit-learn, read from its pickle as data and never unpickled."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from convcore import LazyTensor, Opaque, SourceError
from convcore.formats import read_json
from convcore_etm.tfidf import unsupported

_CLASS = ("sklearn.feature_extraction.text", "TfidfVectorizer")
# scikit-learn's defaults, for files of versions that did not store a setting.
_DEFAULTS: dict[str, Any] = {
    "analyzer": "word",
    "binary": False,
    "lowercase": True,
    "ngram_range": (1, 1),
    "norm": "l2",
    "preprocessor": None,
    "stop_words": None,
    "strip_accents": None,
    "sublinear_tf": False,
    "token_pattern": r"(?u)\b\w\w+\b",
    "tokenizer": None,
}
_AGAIN = "save the fitted vectorizer again with joblib.dump, or move the file away"
_ANEW = "write the fitted vectorizer's vocabulary_ into it again, or move the file away"
_ENGLISH = Path(__file__).with_name("english_stop_words.txt")


@attrs.frozen
class Vectorizer:
    """What a vectorizer does to a text, as plain data.

    Attributes:
        vocabulary: Word to column; every column from 0 on has one word.
        settings: ``idf``, one weight per column or None, and scikit-learn's settings by name.
    """

    vocabulary: Mapping[str, int] = attrs.field(repr=False)
    settings: Mapping[str, Any] = attrs.field(repr=False)

    @property
    def unsupported(self) -> list[str]:
        """Settings that the runtime does not compute, as ``name=value``."""
        return unsupported(self.settings)


def read_vectorizer(path: Path) -> Vectorizer | None:
    """Read a joblib file; None if it holds anything but a TfidfVectorizer.

    Raises:
        SourceError: It is damaged or unsafe, or its vocabulary and weights contradict each other.
    """
    from convcore.formats.joblib import read_joblib

    try:
        tree = read_joblib(path)
    except SourceError as error:
        # The reader's own remedies are those for checkpoints.
        remedy = error.remedy if error.kind == "unsafe" else _AGAIN
        raise SourceError(error.what, seen=error.seen, remedy=remedy, kind=error.kind) from error
    if not isinstance(tree, Opaque) or (tree.module, tree.name) != _CLASS:
        return None
    state = _state(tree)
    words = state.get("vocabulary_")
    if not isinstance(words, Mapping) or not words:
        raise _refused(path, "it holds no vocabulary; was the vectorizer fitted?")
    words = _checked(path, words, _AGAIN)
    transformer = _state(state.get("_tfidf"))
    # Where both have a setting, scikit-learn transforms with the inner one's.
    stated = {**_DEFAULTS, **state, **transformer}
    settings = {name: _plain(stated[name]) for name in _DEFAULTS}
    if settings["stop_words"] == "english":
        settings["stop_words"] = _ENGLISH.read_text(encoding="ascii").split()
    idf = _idf(path, transformer, len(words)) if stated.get("use_idf", True) else None
    return Vectorizer(words, {"idf": idf, **settings})


def _state(value: Any) -> Mapping[Any, Any]:
    """Return the attributes of a pickled object; none for anything else."""
    state = value.state if isinstance(value, Opaque) else None
    return state if isinstance(state, Mapping) else {}


def read_vocabulary(path: Path) -> dict[str, int]:
    """Read a JSON file of words and their columns.

    Raises:
        SourceError: It is none, or not every column from 0 on has exactly one word.
    """
    words = read_json(path)
    if not isinstance(words, Mapping) or not words:
        held = "nothing" if words in ({}, None) else f"a {type(words).__name__}"
        raise _refused(path, f"it holds {held}, not an object of words and their columns", _ANEW)
    return _checked(path, words, _ANEW)


def _checked(path: Path, words: Mapping[Any, Any], remedy: str) -> dict[str, int]:
    """Return a vocabulary in which every column from 0 on has exactly one word, or refuse it."""
    odd = sum(not _is_text(word) or type(column) is not int for word, column in words.items())
    if odd:
        why = f"{odd} entries of its vocabulary are not text and a whole number"
        raise _refused(path, why, remedy)
    if sorted(words.values()) != list(range(len(words))):
        why = f"its {len(words)} words do not fill the columns 0 to {len(words) - 1}"
        raise _refused(path, why, remedy)
    return dict(words)


def _idf(path: Path, transformer: Mapping[Any, Any], count: int) -> list[float]:
    weights = transformer.get("idf_")
    if weights is None:  # before scikit-learn 1.5 a sparse diagonal of SciPy held them
        weights = _state(transformer.get("_idf_diag")).get("data")
    values = _numbers(weights) if isinstance(weights, LazyTensor) else None
    if values is None or len(values) != count:
        found = "no" if values is None else len(values)
        raise _refused(path, f"it has {found} weights for {count} words")
    if not all(map(math.isfinite, values)):
        raise _refused(path, "some of its words' weights are no finite numbers")
    return values


def _numbers(weights: LazyTensor) -> list[float] | None:
    """The values, without NumPy: looking at a folder should not have to import it."""
    code = {"float64": "d", "float32": "f"}.get(weights.dtype)
    if code is None:
        return None
    data = b"".join(weights.chunks())
    return [value for (value,) in struct.iter_unpack(f"<{code}", data)]


def _plain(value: Any) -> Any:
    """Return a setting as JSON can say it; a class or function becomes its name."""
    if value is None or type(value) in (str, int, bool):
        return value
    if isinstance(value, Opaque):
        return value.qualified_name
    if isinstance(value, list | tuple) and all(type(item) in (str, int) for item in value):
        return list(value)
    if isinstance(value, set | frozenset) and all(type(item) is str for item in value):
        return sorted(value)
    return type(value).__name__


def _is_text(value: Any) -> bool:
    # A lone surrogate is text that no file can hold.
    return type(value) is str and value == value.encode("utf-8", "replace").decode("utf-8")


def _refused(path: Path, why: str, remedy: str = _AGAIN) -> SourceError:
    return SourceError(f"{path.name} is not used: {why}", remedy=remedy)

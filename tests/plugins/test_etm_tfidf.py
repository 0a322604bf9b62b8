"""ETM's words: a real scikit-learn vectorizer, read as data, weights texts as it does itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import (
    ENGLISH_STOP_WORDS,
    CountVectorizer,
    TfidfVectorizer,
)

from convcore.engine.conversion import convert
from convcore.engine.request import Request
from convcore.errors import SourceError
from convcore.host.registry import Registry, load_registry
from convcore_etm import CrossModal
from convcore_etm.tfidf import TfIdf
from convcore_etm.vectorizer import read_vectorizer
from tests.plugins.etm_golden import (
    GOLDEN,
    MODELS,
    TEXTS,
    assert_golden,
    evidence,
    recognised,
    save_separate,
)

CORPUS = [
    "Warm sunset over the desert, warm orange AND clay",
    "a Calm café at dawn: pale blue, soft grey; x y z",
    "The 1920s velvet evening in naïve violet_silk 7 10 100",
    "fresh green leaf, fresh mint, fresh spring garden and the dew",
    "\u0e01\u0e31\u0e19 \u0e01\u0e01\u0e31\u0e07\u0e08 and more",
    "Größe straße ÉTUDE étude e\u0301tude \uff21\uff22 \u0130stanbul modern",
]
ASKED = [
    *CORPUS,
    "warm warm warm desert unknown words",
    "",
    "zzz",
    "the and of",
    "CAFÉ cafe\u0301 naive ETUDE strasse \u01c4\ufb01",
    "x x x 7 7 a_b it's well-known\nnew\tline",
]
SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "the-origins": {"max_df": 0.9, "min_df": 1, "max_features": 20},
    "english-stop-words": {"stop_words": "english"},
    "own-stop-words": {"stop_words": ["warm", "fresh"]},
    "pairs": {"ngram_range": (1, 2)},
    "pairs-without-stop-words": {"ngram_range": (2, 3), "stop_words": "english"},
    "sublinear": {"sublinear_tf": True},
    "no-idf": {"use_idf": False},
    "rough-idf": {"smooth_idf": False},
    "l1": {"norm": "l1"},
    "no-norm": {"norm": None},
    "binary": {"binary": True},
    "case-kept": {"lowercase": False},
    "accents-unicode": {"strip_accents": "unicode"},
    "accents-ascii": {"strip_accents": "ascii"},
    "single-letters": {"token_pattern": r"(?u)\b\w+\b"},
    "float32": {"dtype": np.float32},
    "given-vocabulary": {"vocabulary": ["desert", "the", "warm"]},
    "everything": {
        "ngram_range": (1, 2), "sublinear_tf": True, "norm": "l1", "strip_accents": "unicode",
        "stop_words": ["and"], "lowercase": False,
    },
}  # fmt: skip
UNSUPPORTED: dict[str, dict[str, Any]] = {
    "analyzer='char'": {"analyzer": "char"},
    "tokenizer='builtins.str'": {"tokenizer": str, "token_pattern": None},
    "preprocessor='builtins.repr'": {"preprocessor": repr},
    "token_pattern='[a-z]+'": {"token_pattern": "[a-z]+"},
}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry()


def dump(vectorizer: Any, folder: Path, **options: Any) -> Path:
    path = folder / "tfidf_vectorizer.pkl"
    joblib.dump(vectorizer, path, **options)
    return path


def read(path: Path) -> TfIdf:
    found = read_vectorizer(path)
    assert found is not None
    # As the runtime has it: through JSON.
    return TfIdf(*json.loads(json.dumps([found.vocabulary, found.settings])))


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_texts_are_weighted_as_by_scikit_learn(settings: dict[str, Any], tmp_path: Path) -> None:
    vectorizer = TfidfVectorizer(**settings).fit(CORPUS)

    tfidf = read(dump(vectorizer, tmp_path))

    assert tfidf.words == vectorizer.get_feature_names_out().tolist()
    np.testing.assert_allclose(
        tfidf.transform(ASKED), vectorizer.transform(ASKED).toarray(), rtol=0, atol=1e-6
    )


FITTED = TfidfVectorizer(ngram_range=(1, 2), strip_accents="unicode").fit(CORPUS)


@given(st.lists(st.text() | st.sampled_from(CORPUS), min_size=1, max_size=4))
def test_any_text_is_weighted_as_by_scikit_learn(texts: list[str]) -> None:
    state = FITTED.get_params()
    names = ("analyzer", "binary", "lowercase", "norm", "preprocessor", "strip_accents")
    more = ("ngram_range", "stop_words", "sublinear_tf", "token_pattern", "tokenizer")
    settings = {name: state[name] for name in (*names, *more)} | {"idf": FITTED.idf_.tolist()}
    vocabulary = {word: int(column) for word, column in FITTED.vocabulary_.items()}

    rows = TfIdf(vocabulary, settings).transform(texts)

    np.testing.assert_allclose(rows, FITTED.transform(texts).toarray(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["dia", "csr"])
def test_weights_kept_in_a_sparse_diagonal_are_read(kind: str, tmp_path: Path) -> None:
    # scikit-learn kept them so until 1.4
    vectorizer = TfidfVectorizer().fit(CORPUS)
    expected = vectorizer.transform(ASKED).toarray()
    inner = vectorizer._tfidf.__dict__
    inner["_idf_diag"] = scipy.sparse.diags_array(inner.pop("idf_"), format=kind)

    tfidf = read(dump(vectorizer, tmp_path))

    np.testing.assert_allclose(tfidf.transform(ASKED), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3)])
def test_compressed_files_are_read(compress: object, tmp_path: Path) -> None:
    vectorizer = TfidfVectorizer().fit(CORPUS)

    tfidf = read(dump(vectorizer, tmp_path, compress=compress))

    assert tfidf.vocabulary == vectorizer.vocabulary_


def test_the_english_stop_words_are_scikit_learns(tmp_path: Path) -> None:
    found = read_vectorizer(dump(TfidfVectorizer(stop_words="english").fit(CORPUS), tmp_path))

    assert found is not None
    assert set(found.settings["stop_words"]) == ENGLISH_STOP_WORDS


@pytest.mark.parametrize(("named", "settings"), UNSUPPORTED.items(), ids=UNSUPPORTED.keys())
def test_a_setting_that_is_not_computed_is_named_and_refused(
    named: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    path = dump(TfidfVectorizer(**settings).fit(CORPUS), tmp_path)

    with pytest.raises(ValueError) as caught:  # noqa: PT011  # its text is looked at below
        read(path)

    assert named in str(caught.value)


def test_a_conversion_names_such_a_setting_and_goes_on(registry: Registry, tmp_path: Path) -> None:
    folder = save_separate(tmp_path / "models")
    words = list(json.loads((MODELS / "vocab.json").read_text()))
    dump(TfidfVectorizer(analyzer="char_wb", vocabulary=words).fit(words), folder)

    convert(Request(folder, tmp_path / "out"), registry)

    assert "analyzer='char_wb'" in evidence(recognised(folder, registry))
    assert json.loads((tmp_path / "out/idf.json").read_text())["analyzer"] == "char_wb"


def test_the_vocabulary_comes_from_the_vectorizer_where_there_is_no_other(
    registry: Registry, tmp_path: Path
) -> None:
    folder = save_separate(tmp_path / "models")
    (folder / "tfidf_vectorizer.pkl").write_bytes((MODELS / "tfidf_vectorizer.pkl").read_bytes())

    convert(Request(folder, tmp_path / "out"), registry)

    assert_golden(CrossModal(tmp_path / "out", backend="torch").vectorize(TEXTS), "in_text")
    written = json.loads((tmp_path / "out/vocab.json").read_text())
    assert written == json.loads((MODELS / "vocab.json").read_text())


def test_the_runtime_takes_one_text_several_an_array_or_rows(
    registry: Registry, tmp_path: Path
) -> None:
    convert(Request(MODELS, tmp_path / "out"), registry)
    modal = CrossModal(tmp_path / "out", backend="torch")

    palettes = modal.text_to_color(TEXTS)

    rows = GOLDEN["in_text"]
    for given_texts in (
        tuple(TEXTS), GOLDEN["in_text_raw"], rows.tolist(), scipy.sparse.csr_array(rows),
    ):  # fmt: skip
        np.testing.assert_allclose(modal.text_to_color(given_texts), palettes, rtol=0, atol=1e-6)
    np.testing.assert_allclose(modal.text_to_color(TEXTS[2]), palettes[2:3], rtol=0, atol=1e-6)


class Mine(TfidfVectorizer):
    """A vectorizer of somebody's own: what it does to a text is not known."""


@pytest.mark.parametrize("make", [CountVectorizer, Mine, dict], ids=["counts", "own-class", "dict"])
def test_anything_but_a_tfidf_vectorizer_is_copied_and_not_believed(
    make: Any, registry: Registry, tmp_path: Path
) -> None:
    folder = save_separate(tmp_path / "models")
    made = make()
    dump(made.fit(CORPUS) if hasattr(made, "fit") else made, folder)

    convert(Request(folder, tmp_path / "out"), registry)

    assert (tmp_path / "out/tfidf_vectorizer.pkl").is_file()
    assert not (tmp_path / "out/idf.json").exists()
    assert "no TfidfVectorizer" in evidence(recognised(folder, registry))


def break_vocabulary(vectorizer: TfidfVectorizer) -> None:
    vectorizer.vocabulary_["warm"] = 0


def break_column(vectorizer: TfidfVectorizer) -> None:
    vectorizer.vocabulary_["warm"] = 10**6


def break_word(vectorizer: TfidfVectorizer) -> None:
    vectorizer.vocabulary_[7] = vectorizer.vocabulary_.pop("warm")


def break_surrogate(vectorizer: TfidfVectorizer) -> None:
    vectorizer.vocabulary_["\ud800"] = vectorizer.vocabulary_.pop("warm")


def break_length(vectorizer: TfidfVectorizer) -> None:
    vectorizer._tfidf.idf_ = vectorizer.idf_[:-1]


def break_number(vectorizer: TfidfVectorizer) -> None:
    vectorizer._tfidf.idf_ = np.where(vectorizer.idf_ > 2, np.nan, vectorizer.idf_)


def break_fit(vectorizer: TfidfVectorizer) -> None:
    del vectorizer.vocabulary_


BREAKS = [
    break_vocabulary, break_column, break_word, break_surrogate, break_length, break_number,
    break_fit,
]  # fmt: skip


@pytest.mark.parametrize("break_it", BREAKS)
def test_a_vectorizer_that_contradicts_itself_is_refused(break_it: Any, tmp_path: Path) -> None:
    vectorizer = TfidfVectorizer().fit(CORPUS)
    break_it(vectorizer)

    with pytest.raises(SourceError, match=r"tfidf_vectorizer\.pkl is not used"):
        read_vectorizer(dump(vectorizer, tmp_path))


def test_a_cut_off_vectorizer_is_refused(tmp_path: Path) -> None:
    path = dump(TfidfVectorizer().fit(CORPUS), tmp_path)
    path.write_bytes(path.read_bytes()[:-40])

    with pytest.raises(SourceError):
        read_vectorizer(path)

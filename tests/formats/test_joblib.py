from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from convcore.errors import SourceError, UsageError
from convcore.formats import Opaque, walk_tensors
from convcore.formats.joblib import read_joblib
from convcore.tensors import LazyTensor

WORDS = ["red sky at night", "blue sea and sky", "red sea", "night and day"]
ARRAYS = {
    "plain": np.arange(12.0).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "strided": np.arange(12)[::3],
    "empty": np.zeros((0, 3)),
    "scalar": np.array(5, dtype="int8"),
    "big-endian": np.arange(3, dtype=">f4"),
    "flags": np.array([True, False]),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("compress", [0, 3, ("gzip", 1)], ids=["plain", "zlib", "gzip"])
def test_arrays_are_read_as_joblib_reads_them(tmp_path: Path, compress: Any, protocol: int) -> None:
    path = tmp_path / "arrays.pkl"
    joblib.dump({**ARRAYS, "text": "after"}, path, compress=compress, protocol=protocol)

    found = read_joblib(path)

    expected = joblib.load(path)
    assert found["text"] == "after"
    for name in ARRAYS:
        assert found[name].numpy_array
        assert found[name].shape == expected[name].shape
        assert found[name].numpy().tolist() == expected[name].tolist()


@pytest.mark.parametrize("compress", [0, 3], ids=["plain", "zlib"])
def test_a_vectorizer_is_data_without_scikit_learn(tmp_path: Path, compress: int) -> None:
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=1, dtype=np.float32).fit(WORDS)
    path = tmp_path / "tfidf.pkl"
    joblib.dump(vectorizer, path, compress=compress)

    found = read_joblib(path)

    assert isinstance(found, Opaque)
    assert found.qualified_name == "sklearn.feature_extraction.text.TfidfVectorizer"
    assert found.state["vocabulary_"] == vectorizer.vocabulary_
    assert found.state["ngram_range"] == (1, 2)
    idf = dict(walk_tensors(found))["_tfidf.idf_"]
    assert isinstance(idf, LazyTensor)
    assert idf.numpy().tolist() == vectorizer.idf_.tolist()


def test_arrays_of_objects_and_what_follows_them_are_read(tmp_path: Path) -> None:
    path = tmp_path / "objects.pkl"
    joblib.dump([np.array(["x", None], dtype=object), np.ones(2), "after"], path)

    objects, ones, after = read_joblib(path)

    assert objects.state["values"] == ["x", None]
    assert ones.numpy().tolist() == [1.0, 1.0]
    assert after == "after"


@pytest.mark.parametrize("at", range(1, 40, 3))
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, at: int) -> None:
    path = tmp_path / "cut.pkl"
    joblib.dump([np.arange(20.0), "after"], path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * at // 40])

    with pytest.raises(SourceError):
        read_joblib(path)


def test_bytes_after_the_pickle_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "more.pkl"
    joblib.dump({"a": 1}, path)
    path.write_bytes(path.read_bytes() + b"N.")

    with pytest.raises(SourceError, match="2 bytes follow the pickle"):
        read_joblib(path)


@pytest.mark.parametrize("method", ["bz2", "xz"])
def test_a_packing_that_is_not_read_is_named(tmp_path: Path, method: str) -> None:
    path = tmp_path / "packed.pkl"
    joblib.dump({"a": 1}, path, compress=(method, 3))

    with pytest.raises(SourceError, match="is packed with"):
        read_joblib(path)


def test_a_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    import zlib

    path = tmp_path / "bomb.pkl"
    engine = zlib.compressobj(9)
    with path.open("wb") as file:
        for _ in range(300):
            file.write(engine.compress(bytes(1 << 20)))
        file.write(engine.flush())

    with pytest.raises(SourceError, match="inflates to more than"):
        read_joblib(path)


def test_a_missing_file_is_a_fault_of_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_joblib(tmp_path / "no.pkl")

"""Files that belong to an ETM model: topics of its training rows, vocabulary, vectorizer, sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from convcore import Input, LazyTensor, SourceError
from convcore.formats import read_json, within
from convcore.names import counted
from convcore_etm.vectorizer import read_vectorizer, read_vocabulary

THETA = "best_theta.pt"
VOCABULARY = "vocab.json"
VECTORIZER = "tfidf_vectorizer.pkl"
ARCHITECTURE = "model_architecture.json"


@attrs.frozen
class Sidecars:
    """What was found.

    Attributes:
        paths: Output name to file.
        hyper_parameters: What ``model_architecture.json`` says.
        evidence: Where things were taken from, and why some were left.
    """

    paths: dict[str, Path] = attrs.field(factory=dict)
    hyper_parameters: dict[str, Any] = attrs.field(factory=dict)
    evidence: list[str] = attrs.field(factory=list)


def find_sidecars(
    given: Input, home: Path, prefix: str, tensors: Mapping[str, LazyTensor]
) -> Sidecars:
    """Look for the files that go with the weights of one folder.

    Args:
        given: Under whose rules files are opened.
        home: The folder of the weights.
        prefix: Of the weights' file names: ``best_``, ``epoch_4_`` or ''.
        tensors: The weights, flat; files that contradict their sizes are left out.

    Raises:
        SourceError: One of the files is damaged or unsafe.
    """
    found = Sidecars()
    architecture = home / ARCHITECTURE
    if _is_there(architecture, home):
        stated = read_json(architecture)
        if not isinstance(stated, dict):
            raise SourceError(
                f"{ARCHITECTURE} holds a {type(stated).__name__}, not an object of sizes",
                remedy="write it anew, or move it away",
            )
        found.hyper_parameters.update(stated)
    _find_theta(
        given, home, prefix, _size(tensors, "alpha", "color_mean.bias", "text_mean.bias"), found
    )
    stated_words = found.hyper_parameters.get("text_dim")
    words = _size(tensors, ("text_encoder.0.weight", 1), ("rho_text", 1), ("lambda_text", 1))
    words = stated_words if words is None and isinstance(stated_words, int) else words
    known = [_find_words(given, name, home, words, found) for name in (VOCABULARY, VECTORIZER)]
    found.evidence.extend(_disagreement(*known))
    return found


def _size(tensors: Mapping[str, LazyTensor], *shown: str | tuple[str, int]) -> int | None:
    """Return the size that the first tensor at hand shows; a name alone means its first axis."""
    for each in shown:
        name, axis = (each, 0) if isinstance(each, str) else each
        shape = tensors[name].shape if name in tensors else ()
        if axis < len(shape):
            return shape[axis]
    return None


def _find_theta(given: Input, home: Path, prefix: str, topics: int | None, found: Sidecars) -> None:
    # train_simple.py and train_complete.py leave the name of the best model's bare.
    best = (THETA, "theta.pt")
    last = prefix.startswith(("final_", "epoch_"))
    for name in ("final_theta.pt",) if last else best:
        path = home / name
        if not _is_there(path, home):
            continue
        theta = given.open(path).tree
        if (
            not isinstance(theta, LazyTensor)
            or len(theta.shape) != 2
            or (topics is not None and theta.shape[1] != topics)
        ):
            found.evidence.append(f"{name} is no matrix of {topics} topics: not taken")
            continue
        found.paths[THETA] = path
        if name != THETA:
            found.evidence.append(f"{THETA} is {name}, which was written with these weights")
        return


def _find_words(
    given: Input, name: str, home: Path, words: int | None, found: Sidecars
) -> Mapping[str, int] | None:
    """Take a file up and return its words with their columns; None where it has or is none."""
    for folder in _places(home):
        path = folder / name
        if not _is_there(path, home):
            continue
        try:
            known, odd = _vocabulary(path)
        except SourceError as error:
            if error.kind != "unsafe" or not given.allow_opaque_calls:
                raise
            found.evidence.append(f"{name} names code that runs when it is loaded: not taken")
            continue
        if words is not None and known is not None and len(known) != words:
            found.evidence.append(
                f"{name} in {folder.name}/ has {len(known)} words, the model {words}: not taken"
            )
            continue
        found.paths[name] = path
        if folder != home:
            found.evidence.append(f"{name} was taken from {folder.name}/, where training puts it")
        found.evidence.extend(odd)
        return known
    return None


def _is_there(path: Path, home: Path) -> bool:
    """Whether a file is there; a link that leads out of the model's folder is an error."""
    if not path.is_file():
        return False
    within(path, home if path.is_relative_to(home) else path.parent.parent)
    return True


def _places(home: Path) -> tuple[Path, ...]:
    """Training writes both files into ``models`` below its own folder, wherever the weights go."""
    near = (home / "models", home.absolute().parent / "models")
    return (home, *(place for place in near if place != home.absolute()))


def _vocabulary(path: Path) -> tuple[Mapping[str, int] | None, list[str]]:
    """Return which words a file knows, and what is to be said of it."""
    if path.name == VOCABULARY:
        return read_vocabulary(path), []
    vectorizer = read_vectorizer(path)
    if vectorizer is None:
        return None, [f"{path.name} holds no TfidfVectorizer: copied, and no idf.json written"]
    odd = vectorizer.unsupported
    said = f"{path.name} has settings that the runtime does not compute: {', '.join(odd)}"
    return vectorizer.vocabulary, [said] if odd else []


def _disagreement(
    beside: Mapping[str, int] | None, fitted: Mapping[str, int] | None
) -> Iterator[str]:
    """Say where the two contradict each other: the vectorizer made the columns of the training."""
    if beside is None or fitted is None:
        return
    odd = [word for word in {**fitted, **beside} if beside.get(word) != fitted.get(word)]
    if odd:
        places = " and ".join(str(each.get(odd[0], "none")) for each in (beside, fitted))
        yield (
            f"{VOCABULARY} and {VECTORIZER} disagree on {counted(len(odd), 'word')}, such as "
            f"{odd[0][:40]!r} (column {places}): the vectorizer's vocabulary is written as "
            f"{VOCABULARY}"
        )

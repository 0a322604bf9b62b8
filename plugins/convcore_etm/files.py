"""Files in the shape that the origin's loader reads, and the words' weights outside a pickle."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import attrs

from convcore import LayoutMatch
from convcore.formats import read_json
from convcore.layouts.settings import departures
from convcore_etm.sidecars import ARCHITECTURE, VECTORIZER, VOCABULARY
from convcore_etm.tensors import MATRICES, SHAPES, SIZES
from convcore_etm.vectorizer import read_vectorizer

WORD_WEIGHTS = "idf.json"


def weights(match: LayoutMatch, component: str) -> Mapping[str, Any]:
    """Nest a component's tensors as the origin's separate files do.

    The five matrices are parameters there: the origin's loader assigns them to attributes that
    hold parameters, and torch refuses anything less in their place.
    """
    tree: dict[str, Any] = {}
    for name, tensor in match.states[component].items():
        matrix = name in MATRICES
        leaf = attrs.evolve(tensor, parameter=matrix, requires_grad=matrix)
        outer, _, inner = name.partition(".")
        if inner and component in SHAPES:
            tree.setdefault(outer, OrderedDict())[inner] = leaf
        else:
            tree[name] = leaf
    return tree


def documents(match: LayoutMatch) -> Mapping[str, Any]:
    """Return the architecture in the origin's order, the vocabulary and the words' weights."""
    written: dict[str, Any] = {}
    architecture = {name: match.value(name) for name in (*SIZES, "dropout")}
    if None not in architecture.values():
        written[ARCHITECTURE] = architecture | departures(match)
    if VECTORIZER in match.sidecars:
        found = read_vectorizer(match.sidecars[VECTORIZER])
        if found is not None:
            written[WORD_WEIGHTS] = found.settings
            # A vocabulary that says the same is copied as it is, byte for byte.
            beside = match.sidecars.get(VOCABULARY)
            if beside is None or read_json(beside) != found.vocabulary:
                written[VOCABULARY] = found.vocabulary
    return written

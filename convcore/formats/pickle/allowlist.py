"""The one table of globals that stand for data; every other name stays opaque."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from convcore.formats.budgets import Budgets
from convcore.formats.pickle import (
    numpy_objects,
    python_objects,
    torch_kinds,
    torch_names,
    torch_tensors,
)
from convcore.formats.pickle.reading import Reading, Rebuild

RECIPES: dict[tuple[str, str], Rebuild] = {
    **python_objects.RECIPES,
    **torch_names.RECIPES,
    **torch_tensors.RECIPES,
    **torch_kinds.RECIPES,
    **numpy_objects.RECIPES,
}
VALUES: dict[tuple[str, str], Callable[[str, str], Any]] = {
    **python_objects.VALUES,
    **torch_names.VALUES,
    **numpy_objects.VALUES,
}


def new_reading(
    file: object, budgets: Budgets, *, allow_opaque_calls: bool, nesting: int = 0
) -> Reading:
    """A reading that recognises everything in the table."""
    return Reading(
        file, RECIPES, VALUES, budgets, allow_opaque_calls=allow_opaque_calls, nesting=nesting
    )

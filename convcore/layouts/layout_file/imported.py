"""Finding what a layout file names as a network: a class of torch.nn.Module, or its maker."""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from convcore.errors import UsageError

if TYPE_CHECKING:
    import torch

    Maker = Callable[..., torch.nn.Module]


def network_maker(named: str, graph: str) -> Maker:
    """Import ``package.module:Callable`` and return it, uncalled.

    Importing runs the module: a layout file is code. What is named has to be a class derived from
    ``torch.nn.Module`` or a function annotated to return one, so that nothing else is ever called.

    Args:
        named: As the layout file or ``--config`` writes it.
        graph: Whose network it is, for errors.

    Raises:
        UsageError: It cannot be imported, or is anything else.
    """
    import torch

    module, _, path = named.partition(":")
    try:
        with _leaving_nothing_behind():
            found: Any = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise UsageError(
            f"the network {named} of {graph} cannot be imported: {error!r}",
            remedy="install its package, or put its folder on PYTHONPATH, and check the name",
        ) from error
    made = found if isinstance(found, type) else _annotated(found)
    if not (isinstance(made, type) and issubclass(made, torch.nn.Module)):
        raise UsageError(
            f"{named} of {graph} is neither a class of torch.nn.Module nor a function annotated to "
            "return one: it is not called",
            seen=[f"it is a {type(found).__name__}"],
            remedy="name such a class, or write -> torch.nn.Module behind the function's arguments",
        )
    maker: Maker = found
    return maker


def _annotated(function: Any) -> Any:
    """Return what a function is annotated to return; None where it does not say."""
    if not callable(function):
        return None
    said = getattr(function, "__annotations__", {}).get("return")
    if not isinstance(said, str):
        return said
    # Only the answer is looked up: names of the arguments' types may exist for checkers alone.
    alone = types.SimpleNamespace(__annotations__={"return": said})
    try:
        return typing.get_type_hints(alone, getattr(function, "__globals__", {}))["return"]
    except Exception:  # whatever an annotation raises, it names no class
        return None


@contextmanager
def _leaving_nothing_behind() -> Iterator[None]:
    """Import without compiling to disk: the folder it comes from is the user's."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before

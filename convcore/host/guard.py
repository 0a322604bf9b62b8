"""Strangers' functions: what they raise or answer wrongly is said of their plugin alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import attrs

from convcore.errors import ConvcoreError, PluginError, SourceError, VerificationError
from convcore.formats.archive import Archive
from convcore.formats.format import Format
from convcore.layouts.graph import Graph
from convcore.layouts.layout import Layout, Schema
from convcore.packages import lacking
from convcore.sources.source import Checkpoint, Source
from convcore.targets.check import Check
from convcore.targets.target import Artifact, LedgerEntry, Target
from convcore.tensors import LazyTensor

Thing = TypeVar("Thing", Format, Source, Layout, Target)

# What each function of a declared thing answers: one of these, or a series of these.
_ANSWERS: Mapping[str, tuple[type[Any], ...]] = {
    "sniff": (bool,),
    "open": (Archive,),
    "read": (Checkpoint, type(None)),
    "schema": (Schema,),
    "weights": (Mapping,),
    "documents": (Mapping,),
    "accepts": (str, type(None)),
    "reopen": (Mapping,),
}
_SERIES: Mapping[str, type[Any]] = {
    "runs": object,
    "graphs": Graph,
    "plan": Artifact,
    "write": LedgerEntry,
    "check": Check,
    "recheck": Check,
}


_READING: Mapping[str, type[ConvcoreError]] = {
    "check": VerificationError,
    "recheck": VerificationError,
    "reopen": SourceError,
}
# What a library that meets a damaged file does not raise, and a mistake in the code does.
_MISTAKES = (AttributeError, ImportError, NameError, NotImplementedError, TypeError, SystemExit)


def guarded(thing: Thing, plugin: str) -> Thing:
    """Return the thing with every function of it wrapped.

    A ``ConvcoreError`` passes as it is. Anything else that a function raises, and an answer of a
    wrong type, becomes a ``PluginError`` that names the plugin; the original is its cause. A series
    is walked to its end inside, so that a generator cannot raise later, elsewhere. A target's
    ``OSError`` passes: the disk is nobody's plugin. What a library raises while a target reads a
    damaged file is a ``VerificationError``, or from ``reopen`` a ``SourceError``.
    """
    whose = f"the {type(thing).__name__.lower()} {thing.name} of plugin {plugin}"
    passing: tuple[type[BaseException], ...] = (ConvcoreError, MemoryError)
    if isinstance(thing, Target):
        passing = (*passing, OSError)
    wrapped: dict[str, Any] = {
        field.name: _wrapped(value, field.name, whose, plugin, passing)
        for field in attrs.fields(type(thing))
        if callable(value := getattr(thing, field.name))
    }
    return attrs.evolve(thing, **wrapped)


def _wrapped(
    function: Callable[..., Any],
    name: str,
    whose: str,
    plugin: str,
    passing: tuple[type[BaseException], ...],
) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            answer = function(*args, **kwargs)
            if name in _SERIES and answer is not None:
                answer = list(answer)
        except passing:
            raise
        except (Exception, SystemExit) as error:
            if lacking(error):  # a light installation is no fault of the plugin
                raise
            if name in _READING and not isinstance(error, _MISTAKES):
                said = f"{type(error).__name__}: {error!s:.200}"
                raise _READING[name](
                    f"{whose} cannot read back what it wrote: {said}",
                    remedy="run again; the disk may have changed what was written",
                ) from error
            raise _fault(f"{name} raised {type(error).__name__}: {error}", whose, plugin) from error
        _check(answer, name, whose, plugin)
        if name == "graphs":
            return [
                attrs.evolve(
                    graph,
                    network=_wrapped(
                        graph.network, f"network of {graph.name}", whose, plugin, passing
                    ),
                )
                for graph in answer
            ]
        return answer

    return call


def _check(answer: Any, name: str, whose: str, plugin: str) -> None:
    if isinstance(answer, Checkpoint):
        tensors: Mapping[str, object] = answer.tensors
        odd = [key for key, value in tensors.items() if not isinstance(value, LazyTensor)]
        if odd:
            kind = type(tensors[odd[0]]).__name__
            raise _fault(f"{name} calls {odd[0]!r} a tensor, which is a {kind}", whose, plugin)
    if name in _ANSWERS and not isinstance(answer, _ANSWERS[name]):
        expected = " or ".join(kind.__name__ for kind in _ANSWERS[name])
        said = f"{name} returned {type(answer).__name__}, not {expected}"
        raise _fault(said.replace("NoneType", "None"), whose, plugin)
    if name in _SERIES:
        items: Iterable[Any] = (answer,) if answer is None else answer
        wrong = [item for item in items if not isinstance(item, _SERIES[name])]
        if wrong or answer is None:
            found = type(wrong[0]).__name__ if wrong else "None"
            raise _fault(
                f"{name} gave {found} where a {_SERIES[name].__name__} belongs", whose, plugin
            )


def _fault(said: str, whose: str, plugin: str) -> PluginError:
    return PluginError(
        f"{whose} is at fault: its {said}",
        remedy=f"tell its author (convcore -v shows where), or switch it off: -p no:{plugin}",
    )

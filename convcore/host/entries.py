"""One entry point: loaded under a guard, checked, described; or set aside with the reason."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

import attrs
import pluggy

from convcore.formats.format import Format
from convcore.host import hookspecs
from convcore.host.discovery import Entry
from convcore.host.guard import guarded
from convcore.interrupts import Interrupted
from convcore.layouts.layout import Layout
from convcore.names import nearest
from convcore.noun import Noun
from convcore.sources.source import Source
from convcore.targets.target import Target

GROUP = "convcore.plugins"
API_VERSION = 2
SLOW_IMPORT_SECONDS = 0.5
KINDS: Mapping[str, type[Any]] = {
    "formats": Format,
    "sources": Source,
    "layouts": Layout,
    "targets": Target,
}
Thing = Format | Source | Layout | Target

_HOOKS = frozenset(name for name in vars(hookspecs) if name.startswith("convcore_"))
_LONGEST = 500


@attrs.frozen(eq=False, repr=False)
class Plugin(Noun):
    """One entry point, loaded or set aside.

    Attributes:
        name: Name of the entry point; what ``-p no:NAME`` takes.
        value: What the entry point refers to.
        distribution: The distribution that brings it; ``-p no:`` takes its name too.
        version: Version of that distribution.
        error: Why it was set aside, or None.
        warnings: What is odd about it while it works (prints on import, imports slowly).
        declared: Names it declares, by kind.
        disabled: Whether the user switched it off.
    """

    name: str
    value: str
    distribution: str
    version: str
    error: str | None = None
    warnings: tuple[str, ...] = ()
    declared: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    disabled: bool = False


class _SetAside(Exception):
    """A plugin that cannot be used, with the reason as text."""


def describe(entry: Entry, **facts: Any) -> Plugin:
    """Say what an entry point is and who brings it, without loading it."""
    return Plugin(*entry, **facts)


def load(
    entry: Entry, manager: pluggy.PluginManager, *, alone: bool = True, quietly: bool = True
) -> tuple[Plugin, list[tuple[str, Thing]]]:
    """Load a plugin, check it and register its hooks.

    Args:
        entry: What to load.
        manager: Where a sound plugin is registered.
        alone: Whether no other distribution brings a plugin of the same name.
        quietly: Whether to keep what it prints from stdout.

    Returns:
        The plugin, with its error where it was set aside, and what it declares: (kind, thing).
    """
    printed = io.StringIO()
    started = time.perf_counter()
    try:
        with contextlib.redirect_stdout(printed) if quietly else contextlib.nullcontext():
            module = _loaded(entry)
            seconds = time.perf_counter() - started
            declared = _registered(entry, module, manager, alone=alone)
    except (KeyboardInterrupt, Interrupted):
        raise
    except BaseException as error:  # SystemExit, and whatever else a stranger's code may raise
        return describe(entry, error=_reason(error)), []
    warnings = []
    if printed.getvalue():
        warnings.append("prints on import; what it printed is not shown")
    if seconds > SLOW_IMPORT_SECONDS:
        warnings.append(f"takes {seconds:.1f} s to import, which every command pays for")
    if not alone:
        brings = entry.distribution
        warnings.append(
            f"is not the only plugin of this name; -p no:{brings} switches off this one alone"
        )
    names = {kind: tuple(t.name for k, t in declared if k == kind) for kind in KINDS}
    return describe(entry, warnings=tuple(warnings), declared=names), declared


def _registered(
    entry: Entry, module: Any, manager: pluggy.PluginManager, *, alone: bool
) -> list[tuple[str, Thing]]:
    """Check a loaded plugin, take up what it declares, and register its hooks; all or nothing."""
    _check_version(module)
    hooks = _hooks(module)
    if manager.is_registered(module):
        raise _SetAside(f"{entry.value} is loaded already, as {manager.get_name(module)}")
    declared = [(kind, guarded(thing, entry.name)) for kind, thing in _declared(hooks)]
    name = entry.name if alone else f"{entry.name} ({entry.distribution})"
    try:
        manager.register(module, name=name)
    except pluggy.PluginValidationError as error:
        # Some releases of pluggy keep what they had taken up before they found the fault.
        with contextlib.suppress(Exception):
            manager.unregister(module)
        said = str(error).splitlines()[-1]
        raise _SetAside(f"a hook has arguments that convcore does not give: {said}") from error
    return declared


def _reason(error: BaseException) -> str:
    if isinstance(error, _SetAside):
        return str(error)[:_LONGEST]
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return said[:_LONGEST]


def _loaded(entry: Entry) -> Any:
    if not entry.refers:
        raise _SetAside(f"its entry point {entry.value!r} is not of the form package.module")
    try:
        return entry.load()
    except Exception as error:
        raise _SetAside(f"cannot be imported: {_reason(error)}") from error
    except SystemExit as error:
        raise _SetAside(f"ends the program on import: SystemExit: {error}") from error


def _check_version(module: object) -> None:
    api = getattr(module, "convcore_api", 1)  # as long as there was one, it had no number
    if api != API_VERSION:
        raise _SetAside(
            f"made for plugin interface {api!r}, this convcore has {API_VERSION}: install a "
            "release of the plugin that fits (plugins/README.md, Versions, says what to change)"
        )


def _hooks(module: object) -> dict[str, Callable[..., Any]]:
    """Collect what is marked, or named, as a hook; a name that is no hook is refused."""
    # vars() of a module, not dir(): what a lazy __getattr__ offers stays unimported.
    names = list(vars(module)) if isinstance(module, ModuleType) else dir(module)
    hooks = {}
    for name in names:
        if name.startswith("__"):
            continue
        value = getattr(module, name, None)
        marks = getattr(value, "convcore_impl", None)
        marks = marks if isinstance(marks, dict) else None
        if not callable(value) or (marks is None and not name.startswith("convcore_")):
            continue
        hook = (marks or {}).get("specname") or name
        if hook not in _HOOKS:
            guess = nearest(hook, _HOOKS) or (f"hooks: {', '.join(sorted(_HOOKS))}",)
            raise _SetAside(f"{hook} is no hook of convcore; {guess[0]}")
        if marks is None:
            raise _SetAside(f"{name} is not marked with convcore.hookimpl")
        hooks[hook] = value
    return hooks


def _declared(hooks: Mapping[str, Callable[..., Any]]) -> Iterator[tuple[str, Any]]:
    for kind, expected in KINDS.items():
        hook = hooks.get(f"convcore_{kind}")
        if hook is None:
            continue
        try:
            answer = hook()
            things = list(answer) if isinstance(answer, Iterable) else answer
        except (Exception, SystemExit) as error:
            raise _SetAside(f"convcore_{kind} raised {_reason(error)}") from error
        if things is None:
            continue
        if not isinstance(things, list) or isinstance(answer, str | bytes):
            raise _SetAside(
                f"convcore_{kind} returned {type(answer).__name__}, "
                f"not a list of {expected.__name__}"
            )
        for thing in things:
            if not isinstance(thing, expected):
                raise _SetAside(
                    f"convcore_{kind} gave a {type(thing).__name__} where a "
                    f"{expected.__name__} belongs"
                )
            yield kind, thing

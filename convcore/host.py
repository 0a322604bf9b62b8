"""The plugin host: loads entry points under a guard and joins what they declare."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

import attrs
import pluggy

from convcore import hookspecs
from convcore.errors import PluginError, UsageError
from convcore.model import Layout, Source
from convcore.names import nearest
from convcore.target import Target

if TYPE_CHECKING:
    from convcore.report import Report

GROUP = "convcore.plugins"
API_VERSION = 1
SLOW_IMPORT_SECONDS = 0.5
_KINDS: dict[str, type[Any]] = {"sources": Source, "layouts": Layout, "targets": Target}
Thing = Source | Layout | Target


@attrs.frozen
class Plugin:
    """One entry point, loaded or set aside.

    Attributes:
        name: Name of the entry point; what ``-p no:NAME`` takes.
        value: What the entry point refers to.
        distribution: The distribution that brings it, and its version.
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


@attrs.frozen
class Registry:
    """Everything the working plugins declare.

    Attributes:
        sources: By name.
        layouts: By name.
        targets: By name.
        plugins: All plugins found, the broken and the disabled ones too.
        conflicts: ``(kind, name)`` to the plugins that both declare it; neither is used.
    """

    sources: Mapping[str, Source]
    layouts: Mapping[str, Layout]
    targets: Mapping[str, Target]
    plugins: tuple[Plugin, ...] = ()
    conflicts: Mapping[tuple[str, str], tuple[str, ...]] = attrs.field(factory=dict)
    manager: pluggy.PluginManager | None = attrs.field(default=None, eq=False, repr=False)

    def find(self, kind: str, name: str) -> Any:
        """Return the source, layout or target called ``name``.

        Raises:
            PluginError: Two plugins declare it.
            UsageError: Nobody does; the nearest names are given.
        """
        known: Mapping[str, Thing] = getattr(self, kind)
        if (kind, name) in self.conflicts:
            raise conflict(kind, name, self.conflicts[kind, name])
        if name not in known:
            raise UsageError(
                f"there is no {kind[:-1]} {name!r}",
                seen=(f"known: {', '.join(sorted(known)) or 'none'}", *nearest(name, known)),
                remedy="name one of them, or install the plugin that brings it (convcore plugins)",
            )
        return known[name]

    def tell(self, report: Report) -> None:
        """Tell every plugin of a finished conversion; its faults change nothing any more."""
        if self.manager is None:
            return
        for implementation in self.manager.hook.convcore_converted.get_hookimpls():
            try:
                implementation.function(report=report)
            except Exception as error:
                warn(f"plugin {implementation.plugin_name} failed after the conversion: {error!r}")


def conflict(kind: str, name: str, plugins: Iterable[str]) -> PluginError:
    """Say which plugins declare the same name and how to switch one off."""
    both = tuple(plugins)
    return PluginError(
        f"{len(both)} plugins declare the {kind[:-1]} {name!r}: {', '.join(both)}",
        remedy=f"switch one off, for example convcore -p no:{both[-1]}",
    )


def warn(sentence: str) -> None:
    """Say something on stderr once, without disturbing what is on stdout."""
    import click

    from convcore.escape import printable

    click.echo(f"warning: {printable(sentence)}", err=True)


def load_registry(disabled: Iterable[str] = (), extra_layouts: Iterable[Layout] = ()) -> Registry:
    """Load every entry point of ``convcore.plugins`` and join what is declared.

    Args:
        disabled: Entry point names not to load, beside ``CONVCORE_DISABLE_PLUGINS``.
        extra_layouts: Layouts the user declares without a plugin.
    """
    off = {*disabled, *filter(None, os.environ.get("CONVCORE_DISABLE_PLUGINS", "").split(","))}
    manager = pluggy.PluginManager("convcore")
    manager.add_hookspecs(hookspecs)
    plugins: list[Plugin] = []
    things: dict[str, dict[str, list[tuple[str, Thing]]]] = {kind: {} for kind in _KINDS}
    for layout in extra_layouts:
        things["layouts"].setdefault(layout.name, []).append(("--layout-file", layout))
    found = sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value))
    for entry in _once(found):
        if entry.name in off:
            plugins.append(_describe(entry, disabled=True))
            continue
        plugin, declared = _load(entry, manager)
        plugins.append(plugin)
        for kind, thing in declared:
            things[kind].setdefault(thing.name, []).append((entry.name, thing))
    joined: dict[str, dict[str, Any]] = {kind: {} for kind in _KINDS}
    conflicts: dict[tuple[str, str], tuple[str, ...]] = {}
    for kind, claims in things.items():
        for name, claimants in claims.items():
            joined[kind][name] = claimants[0][1]
            if len(claimants) > 1:
                conflicts[kind, name] = tuple(plugin for plugin, _ in claimants)
    return Registry(
        joined["sources"], joined["layouts"], joined["targets"], tuple(plugins), conflicts, manager
    )


def _once(entries: Iterable[EntryPoint]) -> Iterator[EntryPoint]:
    """An editable install can be found twice on one path; the same entry is one plugin."""
    seen = set()
    for entry in entries:
        if (entry.name, entry.value) not in seen:
            seen.add((entry.name, entry.value))
            yield entry


def _load(
    entry: EntryPoint, manager: pluggy.PluginManager
) -> tuple[Plugin, list[tuple[str, Thing]]]:
    printed = io.StringIO()
    started = time.perf_counter()
    try:
        with contextlib.redirect_stdout(printed):
            module = entry.load()
            seconds = time.perf_counter() - started
            _check(module)
            manager.register(module, name=entry.name)
            try:
                declared = list(_declared(module))
            except BaseException:
                manager.unregister(module)
                raise
    except (Exception, SystemExit) as error:
        reason = str(error) if isinstance(error, _SetAside) else f"{type(error).__name__}: {error}"
        return _describe(entry, error=reason[:500]), []
    names = {kind: tuple(t.name for k, t in declared if k == kind) for kind in _KINDS}
    warnings = []
    if printed.getvalue():
        warnings.append("prints on import; what it printed is not shown")
    if seconds > SLOW_IMPORT_SECONDS:
        warnings.append(f"takes {seconds:.1f} s to import, which every command pays for")
    return _describe(entry, warnings=tuple(warnings), declared=names), declared


class _SetAside(Exception):
    """A plugin that cannot be used, with the reason as text."""


def _check(module: object) -> None:
    api = getattr(module, "convcore_api", API_VERSION)
    if api != API_VERSION:
        raise _SetAside(
            f"made for plugin interface {api!r}, this convcore has {API_VERSION}: "
            "install a release of the plugin that fits"
        )
    known = {name for name in dir(hookspecs) if name.startswith("convcore_")}
    for name in dir(module):
        value = getattr(module, name, None)
        if name.startswith("convcore_") and callable(value) and name not in known:
            guess = nearest(name, known)
            raise _SetAside(f"{name} is no hook of convcore{'; ' + guess[0] if guess else ''}")


def _declared(module: object) -> Iterator[tuple[str, Thing]]:
    for kind, expected in _KINDS.items():
        hook = getattr(module, f"convcore_{kind}", None)
        if hook is None:
            continue
        if not hasattr(hook, "convcore_impl"):
            raise _SetAside(f"convcore_{kind} is not marked with convcore.hookimpl")
        answer = hook()
        if answer is None:
            continue
        if not isinstance(answer, Iterable):
            raise _SetAside(
                f"convcore_{kind} returned {type(answer).__name__}, "
                f"not a list of {expected.__name__}"
            )
        for thing in answer:
            if not isinstance(thing, expected):
                raise _SetAside(
                    f"convcore_{kind} gave a {type(thing).__name__} where a "
                    f"{expected.__name__} belongs"
                )
            yield kind, thing


def _describe(entry: EntryPoint, **facts: Any) -> Plugin:
    distribution = entry.dist
    return Plugin(
        entry.name,
        entry.value,
        distribution.name if distribution else "unknown",
        distribution.version if distribution else "",
        **facts,
    )

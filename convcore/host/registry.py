"""The plugin host: loads entry points under a guard and joins what they declare."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import pluggy

from convcore.errors import PluginError, UsageError, warn
from convcore.formats.budgets import DEFAULT_BUDGETS, Budgets
from convcore.formats.format import Format
from convcore.host import hookspecs
from convcore.host.discovery import installed
from convcore.host.entries import API_VERSION as API_VERSION
from convcore.host.entries import GROUP, KINDS, Thing, describe, load
from convcore.host.entries import Plugin as Plugin
from convcore.host.guard import guarded
from convcore.layouts.layout import LAYOUT_FILE, Layout
from convcore.names import nearest
from convcore.noun import Noun
from convcore.sources.source import Source
from convcore.targets.target import Target

if TYPE_CHECKING:
    from convcore.targets.report import Report


@attrs.frozen(eq=False, repr=False)
class Registry(Noun):
    """Everything the working plugins declare.

    Attributes:
        sources: By name.
        layouts: By name.
        targets: By name.
        plugins: All plugins found, the broken and the disabled ones too.
        conflicts: ``(kind, name)`` to the plugins that both declare it; neither is used.
        manager: pluggy's, with the working plugins.
        rivals: By kind, what bears a name that another plugin declared first.
        owners: ``(kind, name)`` to the plugins that declare it.
        formats: By name.
        budgets: How much a file may ask of the machine.
    """

    sources: Mapping[str, Source]
    layouts: Mapping[str, Layout]
    targets: Mapping[str, Target]
    plugins: tuple[Plugin, ...] = ()
    conflicts: Mapping[tuple[str, str], tuple[str, ...]] = attrs.field(factory=dict)
    manager: pluggy.PluginManager | None = attrs.field(default=None, eq=False, repr=False)
    rivals: Mapping[str, Sequence[Thing]] = attrs.field(factory=dict, eq=False, repr=False)
    owners: Mapping[tuple[str, str], tuple[str, ...]] = attrs.field(factory=dict, repr=False)
    formats: Mapping[str, Format] = attrs.field(factory=dict)
    budgets: Budgets = DEFAULT_BUDGETS

    def find(self, kind: str, name: str) -> Any:
        """Return the source, layout or target called ``name``.

        Raises:
            PluginError: Two plugins declare it.
            UsageError: Nobody does; the nearest names are given.
        """
        known: Mapping[str, Thing] = getattr(self, kind)
        if (kind, name) in self.conflicts:
            raise self.dispute(kind, name)
        if name not in known:
            raise UsageError(
                f"there is no {kind[:-1]} {name!r}",
                seen=(f"known: {', '.join(sorted(known)) or 'none'}", *nearest(name, known)),
                remedy="name one of them, or install the plugin that brings it (convcore plugins)",
            )
        return known[name]

    def disputed(self, kind: str, name: str) -> bool:
        """Whether two plugins declare it."""
        return (kind, name) in self.conflicts

    def dispute(self, kind: str, name: str) -> PluginError:
        """Say which plugins declare the same name and how to switch one off."""
        both = self.conflicts[kind, name]
        return PluginError(
            f"{len(both)} plugins declare the {kind[:-1]} {name!r}: {', '.join(both)}",
            remedy=f"switch one off, for example convcore -p no:{both[-1]}",
        )

    def claimed(self, kind: str) -> Iterator[Any]:
        """Yield everything declared of a kind, both claimants of a disputed name too."""
        yield from getattr(self, kind).values()
        yield from self.rivals.get(kind, ())

    def declared_by(self, plugin: str) -> set[str]:
        """Names of everything that one plugin, or the user's layout file, declares."""
        return {name for (_, name), owners in self.owners.items() if plugin in owners}

    def with_layout(self, layout: Layout) -> Registry:
        """This registry, and before its layouts one that the user declares without a plugin."""
        name, owned = layout.name, guarded(layout, LAYOUT_FILE)
        before = [self.layouts[name]] if name in self.layouts else []
        owners = (LAYOUT_FILE, *self.owners.get(("layouts", name), ()))
        disputed = {("layouts", name): owners} if before else {}
        return attrs.evolve(
            self,
            layouts={name: owned} | {n: each for n, each in self.layouts.items() if n != name},
            conflicts={**self.conflicts, **disputed},
            rivals={**self.rivals, "layouts": [*before, *self.rivals.get("layouts", ())]},
            owners={**self.owners, ("layouts", name): owners},
        )

    def tell(self, report: Report) -> None:
        """Tell every plugin of a finished conversion; its faults change nothing any more."""
        if self.manager is None:
            return
        for implementation in self.manager.hook.convcore_converted.get_hookimpls():
            try:
                implementation.function(**dict.fromkeys(implementation.argnames, report))
            except (Exception, SystemExit) as error:
                warn(f"plugin {implementation.plugin_name} failed after the conversion: {error!r}")


def load_registry(
    disabled: Iterable[str] = (), extra_layouts: Iterable[Layout] = (), *, quietly: bool = True
) -> Registry:
    """Load every entry point of ``convcore.plugins`` and join what is declared.

    Args:
        disabled: Plugins not to load, beside ``CONVCORE_DISABLE_PLUGINS``: names of entry points,
            or of distributions.
        extra_layouts: Layouts the user declares without a plugin.
        quietly: Whether to keep from stdout what plugins print while they are imported. It keeps
            away what other threads print just then, too.
    """
    said = os.environ.get("CONVCORE_DISABLE_PLUGINS", "").split(",")
    disabled = list(disabled)
    off = {*disabled, *(name.strip() for name in said if name.strip())}
    manager = pluggy.PluginManager("convcore")
    manager.add_hookspecs(hookspecs)
    plugins: list[Plugin] = []
    things: dict[str, dict[str, list[tuple[str, Thing]]]] = {kind: {} for kind in KINDS}
    entries = installed(GROUP)
    for entry in entries:
        if off & {entry.name, entry.distribution}:
            plugins.append(describe(entry, disabled=True))
            continue
        alone = sum(other.name == entry.name for other in entries) == 1
        plugin, declared = load(entry, manager, alone=alone, quietly=quietly)
        plugins.append(plugin)
        for kind, thing in declared:
            owner = entry.name if alone else plugin.distribution
            things[kind].setdefault(thing.name, []).append((owner, thing))
    known = {name for entry in entries for name in (entry.name, entry.distribution)}
    for name in disabled:
        if name not in known:
            warn(f"-p no:{name} switches nothing off: there is no such plugin")
    registry = _joined(things, tuple(plugins), manager)
    for layout in extra_layouts:
        registry = registry.with_layout(layout)
    return registry


def _joined(
    things: Mapping[str, Mapping[str, list[tuple[str, Thing]]]],
    plugins: tuple[Plugin, ...],
    manager: pluggy.PluginManager,
) -> Registry:
    joined: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    rivals: dict[str, list[Thing]] = {kind: [] for kind in KINDS}
    owners: dict[tuple[str, str], tuple[str, ...]] = {}
    for kind, claims in things.items():
        for name, claimants in claims.items():
            joined[kind][name] = claimants[0][1]
            rivals[kind] += [thing for _, thing in claimants[1:]]
            owners[kind, name] = tuple(plugin for plugin, _ in claimants)
    conflicts = {key: both for key, both in owners.items() if len(both) > 1}
    return Registry(
        joined["sources"],
        joined["layouts"],
        joined["targets"],
        plugins,
        conflicts,
        manager,
        rivals,
        owners,
        joined["formats"],
    )

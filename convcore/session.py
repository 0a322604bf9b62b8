"""A session: the plugins, and whom to tell, of every verb that one program asks for.

The command line and the functions of ``convcore`` are thin over it. The engine's modules are
imported by the verb that needs them, so that looking does not wait for what only converting uses.
"""

from __future__ import annotations

import functools
import inspect as signatures
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from convcore.engine.request import Request
from convcore.errors import warn
from convcore.options import (
    DiffOptions,
    InspectOptions,
    OpenOptions,
    VerifyOptions,
    described,
)

if TYPE_CHECKING:
    from pathlib import Path

    from convcore.engine.inspection import Inspection
    from convcore.host.registry import Registry
    from convcore.layouts.layout import Layout
    from convcore.sources.source import Checkpoint
    from convcore.targets.check import Check
    from convcore.targets.report import Report

P = ParamSpec("P")
Options = TypeVar("Options")
Answer = TypeVar("Answer")
Progress = Callable[[str, int, int], None]


def _taking(
    table: Callable[P, Options],
) -> Callable[[Callable[[Session, Options], Answer]], Callable[Concatenate[Session, P], Answer]]:
    """Turn a verb that is given one object of a table into one that takes its options.

    Each option's help text becomes a line of the verb's docstring.
    """

    def spell_out(
        verb: Callable[[Session, Options], Answer],
    ) -> Callable[Concatenate[Session, P], Answer]:
        @functools.wraps(verb)
        def call(self: Session, /, *args: P.args, **kwargs: P.kwargs) -> Answer:
            return verb(self, table(*args, **kwargs))

        own = signatures.signature(verb)
        options = signatures.signature(table).parameters.values()
        parameters = [next(iter(own.parameters.values())), *options]
        call.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined] # PEP 362
        call.__doc__ = _documented(verb.__doc__ or "", table)
        return call

    return spell_out


def _documented(text: str, table: Any) -> str:
    """The docstring of a verb, and before its other sections one on the options of a table."""
    lines = [f"            {each.name}: {each.option.help}" for each in described(table)]
    first = min(text.find(f"        {section}:\n") % len(text) for section in ("Returns", "Raises"))
    return "\n".join([f"{text[:first]}        Args:", *lines, f"\n{text[first:]}"])


class Session:
    """What several calls have in common; its verbs are those of the command line, unprinted.

    A session may be used by several threads at once. It pickles as a recipe, the arguments that
    made it: where it is unpickled, its plugins are loaded anew. Whom it tells is not part of it.

    Args:
        disable_plugins: Plugins not to load, as ``-p no:NAME``.
        layouts: Layouts beside those of plugins, for example of ``convcore.layouts_from_toml``.
        progress: Called with (stage, done, total) from time to time.
    """

    def __init__(
        self,
        *,
        disable_plugins: Iterable[str] = (),
        layouts: Iterable[Layout] = (),
        progress: Progress | None = None,
    ) -> None:
        self.disable_plugins = tuple(disable_plugins)
        self.layouts = tuple(layouts)
        self.progress = progress or _unheard
        self._loading = threading.Lock()
        self._loaded: tuple[object, Registry] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_again, (self.disable_plugins, self.layouts)

    def registry(self, layout_file: Path | None = None) -> Registry:
        """Everything that the plugins declare, and a layout file; loaded once.

        Only where ``sys.path`` or ``CONVCORE_DISABLE_PLUGINS`` changed are they loaded again.

        Raises:
            LayoutError: The layout file is none.
        """
        from convcore.host.registry import load_registry

        given = (*sys.path, os.environ.get("CONVCORE_DISABLE_PLUGINS"))
        with self._loading:
            if self._loaded is None or self._loaded[0] != given:
                self._loaded = given, load_registry(self.disable_plugins, self.layouts)
        registry = self._loaded[1]
        if layout_file is None:
            return registry
        from convcore.layouts.layout_file.reading import read_layout

        return registry.with_layout(read_layout(layout_file))

    @_taking(OpenOptions)
    def open_checkpoint(self, asked: OpenOptions) -> Checkpoint:
        """Read a checkpoint lazily: names, shapes and what training stored, no numbers yet.

        Returns:
            The checkpoint; ``checkpoint.tensors[name].load()`` gives a torch tensor, ``.numpy()``
            an array, ``.shape`` and ``.dtype`` neither.

        Raises:
            UsageError: There is nothing at ``path``, or an unknown source was named.
            SourceError: It is no checkpoint, is damaged or unsafe, or two sources claim it.
            PluginError: The source named is declared twice, or broken.
        """
        from convcore.sources.reading import read_checkpoint

        return read_checkpoint(asked.checkpoint, self._working(), **asked.opening())

    @_taking(InspectOptions)
    def inspect(self, asked: InspectOptions) -> Inspection:
        """Say what a checkpoint is; an unknown model is no error.

        Raises:
            ConvcoreError: As ``convcore inspect`` exits: ``SourceError`` for what is no sound
                checkpoint, ``LayoutError`` where ``layout`` does not explain it.
        """
        from convcore.engine.inspection import inspect

        return inspect(asked, self._working(asked.layout_file))

    @_taking(Request)
    def convert(self, asked: Request) -> Report:
        """Split and convert a checkpoint, and prove what was written.

        ``out`` appears whole, or not at all. ``components`` are names, all if none is given; a
        mapping from name to key prefix splits a checkpoint that no layout knows. Without ``atol``
        outputs may differ by 1e-5 x max(1, largest reference value).

        Raises:
            ConvcoreError: Each kind as ``convcore convert`` exits; ``out`` is then as it was.
        """
        from convcore.engine.conversion import convert

        return convert(asked, self._working(asked.layout_file), self.progress)

    @_taking(VerifyOptions)
    def verify(self, asked: VerifyOptions) -> Sequence[Check]:
        """Hold an output folder against its manifest, and run its graphs again.

        Returns:
            Checks that passed or failed; those that could not be made say why in ``reason``.

        Raises:
            UsageError: The folder is no output of convcore.
            SourceError: Its manifest is damaged, or has settings that its layout cannot work with.
        """
        from convcore.engine.audit.verify import verify
        from convcore.engine.request import refuse_no_tolerance

        refuse_no_tolerance(asked.atol, asked.rtol)
        registry = self._working(asked.layout_file)
        return verify(
            asked.folder, registry, atol=asked.atol, rtol=asked.rtol, allow_nan=asked.allow_nan
        )

    @_taking(DiffOptions)
    def diff(self, asked: DiffOptions) -> dict[str, Any]:
        """Compare two checkpoints or output folders by tensor name and value.

        Returns:
            The document that ``convcore diff --json`` prints.

        Raises:
            ConvcoreError: One of them cannot be read.
        """
        from convcore.engine.difference import diff

        return diff(asked, self._working())

    def _working(self, layout_file: Path | None = None) -> Registry:
        """The registry; that a plugin was set aside is told the first time."""
        before = self._loaded
        registry = self.registry(layout_file)
        if self._loaded is not before:
            for plugin in registry.plugins:
                if plugin.error:
                    warn(
                        f"plugin {plugin.name} is set aside: {plugin.error} (see convcore plugins)"
                    )
        return registry


def _made_again(disable_plugins: tuple[str, ...], layouts: tuple[Layout, ...]) -> Session:
    return Session(disable_plugins=disable_plugins, layouts=layouts)


def _unheard(stage: str, done: int, total: int) -> None:
    """Tell nobody."""

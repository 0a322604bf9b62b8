"""A session: the plugins, the budgets, and whom to tell, of all that one program asks for.

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
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import attrs

from convcore.errors import TargetError, warn

if TYPE_CHECKING:
    from convcore.engine.inspection import Inspection
    from convcore.engine.request import Request
    from convcore.formats.budgets import Budgets
    from convcore.host.registry import Registry
    from convcore.layouts.layout import Layout
    from convcore.options import DiffOptions, InspectOptions, OpenOptions, VerifyOptions
    from convcore.sources.source import Checkpoint
    from convcore.targets.check import Check
    from convcore.targets.report import Plan, Report
    from convcore.workers.warm import WarmWorker

P = ParamSpec("P")
Options = TypeVar("Options")
Answer = TypeVar("Answer")
Progress = Callable[[str, int, int], None]

# One export at a time where it cannot be sent to a process of its own: torch's exporter prints, and
# sets what holds for the whole process.
_EXPORTING = threading.Lock()
_EXPORTER = "torch"


class _Later(NamedTuple):
    """Where a table is; making it takes a while, so this waits until its verb is asked for."""

    home: str
    name: str


if not TYPE_CHECKING:
    Request = _Later("convcore.engine.request", "Request")
    OpenOptions = _Later("convcore.options", "OpenOptions")
    InspectOptions = _Later("convcore.options", "InspectOptions")
    VerifyOptions = _Later("convcore.options", "VerifyOptions")
    DiffOptions = _Later("convcore.options", "DiffOptions")


def _taking(
    table: Callable[P, Options],
) -> Callable[[Callable[[Session, Options], Answer]], Callable[Concatenate[Session, P], Answer]]:
    """Turn a verb that is given one object of a table into one that takes its options.

    Each option's help text becomes a line of the verb's docstring.
    """
    return functools.partial(_Verb, table)  # type: ignore[return-value] # becomes one, see there


class _Verb:
    """A verb until it is first asked for; the function that takes the options is then in its place.

    Args:
        table: Where its options are.
        verb: What does the work, given one object of the table.
    """

    def __init__(self, table: Any, verb: Callable[..., Any]) -> None:
        self._table: _Later = table
        self._verb = verb

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner, self._name = owner, name

    def __get__(self, session: object, _: type) -> Any:
        call = self._spelt_out()
        setattr(self._owner, self._name, call)
        return call if session is None else call.__get__(session)

    def _spelt_out(self) -> Any:
        verb, table = self._verb, getattr(import_module(self._table.home), self._table.name)

        @functools.wraps(verb)
        def call(self: Session, /, *args: Any, **kwargs: Any) -> Any:
            return verb(self, table(*args, **kwargs))

        own = signatures.signature(verb)
        options = signatures.signature(table).parameters.values()
        parameters = [next(iter(own.parameters.values())), *options]
        call.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined] # PEP 362
        call.__doc__ = _documented(verb.__doc__ or "", table)
        return call


def _documented(text: str, table: Any) -> str:
    """The docstring of a verb, and before its other sections one on the options of a table."""
    from convcore.options import described

    lines = [f"            {each.name}: {each.option.help}" for each in described(table)]
    first = min(text.find(f"        {section}:\n") % len(text) for section in ("Returns", "Raises"))
    return "\n".join([f"{text[:first]}        Args:", *lines, f"\n{text[first:]}"])


class Session:
    """What several calls have in common; its verbs are those of the command line, unprinted.

    Several threads may use one session at once. It pickles as a recipe, the arguments that made it:
    where it is unpickled, its plugins are loaded anew. Progress is told in this process alone.

    A conversion whose target has torch export something runs in a process that the session keeps
    for this purpose, where what exporters print and set for the whole process touches nobody. What
    cannot be sent there, such as a layout with a lambda in it, is exported here, one at a time.

    Args:
        disable_plugins: Plugins not to load, as ``-p no:NAME``.
        layouts: Layouts beside those of plugins, for example of ``convcore.layouts_from_toml``.
        budgets: How much a file may ask of the machine; None for ``Budgets()``.
        progress: Called with (stage, done, total) from time to time.
        own_process: Whether this process is for the session alone, as a command's is: exports run
            in it, and what plugins print on import is not shown.
    """

    def __init__(
        self,
        *,
        disable_plugins: Iterable[str] = (),
        layouts: Iterable[Layout] = (),
        budgets: Budgets | None = None,
        progress: Progress | None = None,
        own_process: bool = False,
    ) -> None:
        self.disable_plugins = tuple(disable_plugins)
        self.layouts = tuple(layouts)
        self.budgets = budgets
        self.progress = progress or _unheard
        self.own_process = own_process
        self._loading = threading.Lock()
        self._loaded: tuple[object, Registry] | None = None
        self._worker: WarmWorker | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_again, (self.disable_plugins, self.layouts, self.budgets)

    def registry(self, layout_file: Path | None = None) -> Registry:
        """Everything that the plugins declare, and a layout file; loaded once.

        Only where ``sys.path`` or ``CONVCORE_DISABLE_PLUGINS`` changed are they loaded again.

        Raises:
            LayoutError: The layout file is none.
        """
        registry = self._load()[0]
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

        registry = self._working(asked.layout_file)
        again = functools.partial(_planned, self, asked)
        if not self.own_process and not asked.dry_run and _exports(asked, registry):
            report = self._convert_elsewhere(asked)
            if report is not None:
                report = attrs.evolve(report, again=again)
                registry.tell(report)
                return report
            with _EXPORTING:
                return attrs.evolve(convert(asked, registry, self.progress), again=again)
        return attrs.evolve(convert(asked, registry, self.progress), again=again)

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
        if asked.align:
            from convcore.engine.alignment import align

            return align(asked, self._working())
        from convcore.engine.difference import diff

        return diff(asked, self._working())

    def close(self) -> None:
        """End the process that exports, if there is one; the next export starts another."""
        if self._worker is not None:
            self._worker.close()

    def _load(self) -> tuple[Registry, bool]:
        """The registry without a layout file, and whether it was loaded just now."""
        from convcore.host.registry import load_registry

        given = (*sys.path, os.environ.get("CONVCORE_DISABLE_PLUGINS"))
        with self._loading:
            if self._loaded is not None and self._loaded[0] == given:
                return self._loaded[1], False
            registry = load_registry(self.disable_plugins, self.layouts, quietly=self.own_process)
            if self.budgets is not None:
                registry = attrs.evolve(registry, budgets=self.budgets)
            self._loaded = given, registry
            return registry, True

    def _working(self, layout_file: Path | None = None) -> Registry:
        """The registry; of plugins that were set aside is told where they were just loaded."""
        registry, new = self._load()
        for plugin in registry.plugins if new else ():
            if plugin.error:
                warn(f"plugin {plugin.name} is set aside: {plugin.error} (see convcore plugins)")
        return registry if layout_file is None else self.registry(layout_file)

    def _convert_elsewhere(self, asked: Request) -> Report | None:
        """Convert in the process for exports; None where the request cannot be sent there.

        Raises:
            ConvcoreError: As it was raised there; or the process died.
        """
        import base64
        import pickle

        from convcore.output.destination import umask
        from convcore.workers.warm import WarmWorker, WorkerDied

        try:
            sent = [base64.b64encode(pickle.dumps(each)).decode() for each in (self, asked)]
        except (pickle.PicklingError, AttributeError, TypeError):
            return None
        with self._loading:
            self._worker = self._worker or WarmWorker("convcore.session_worker")
        request = {"session": sent[0], "asked": sent[1], "folder": _here(), "umask": umask()}
        said: list[dict[str, Any]] = []
        try:
            self._worker.ask(request, functools.partial(self._hear, said))
        except WorkerDied as error:
            _clear_up(asked)
            raise TargetError(
                f"the process that exports {error}",
                remedy="run again; where it was ended for its memory, take single components",
            ) from error
        (answer,) = said
        if "unfit" in answer:
            return None
        # What our own process, started from our own program, has pickled.
        answered: Report | Exception = pickle.loads(base64.b64decode(answer["pickled"]))
        if isinstance(answered, Exception):
            raise answered
        return answered

    def _hear(self, said: list[dict[str, Any]], message: dict[str, Any]) -> None:
        if "progress" in message:
            self.progress(*message["progress"])
        elif "warning" in message:
            warn(message["warning"])
        else:
            said.append(message)


def _exports(asked: Request, registry: Registry) -> bool:
    return any(
        _EXPORTER in registry.targets[name].needs
        for name in asked.targets
        if name in registry.targets
    )


def _here() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:  # it was removed: only absolute paths are of use
        return ""


def _planned(session: Session, asked: Request) -> Plan:
    from convcore.engine.conversion import planned

    return planned(asked, session.registry(asked.layout_file))


def _clear_up(asked: Request) -> None:
    """Remove what the process that died had begun."""
    from convcore.output.destination import resolve
    from convcore.output.staging import recover

    recover(resolve(asked.output))


def _made_again(
    disable_plugins: tuple[str, ...], layouts: tuple[Layout, ...], budgets: Budgets | None
) -> Session:
    return Session(disable_plugins=disable_plugins, layouts=layouts, budgets=budgets)


def _unheard(stage: str, done: int, total: int) -> None:
    """Tell nobody."""

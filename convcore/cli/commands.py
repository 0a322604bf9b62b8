"""The group of commands, and what becomes of everything they raise."""

from __future__ import annotations

import contextlib
import copy
import importlib
import os
import sys
import time
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from convcore import __version__
from convcore.cli.faults import OutOfMemory, explain, is_verbose, unforeseen
from convcore.errors import ConvcoreError, PluginWarning, UsageError

if TYPE_CHECKING:
    from convcore.session import Progress, Session

# One module per command, imported only when that command is asked for.
_COMMANDS = {
    "convert": "convert",
    "inspect": "inspect",
    "verify": "verify",
    "explain": "explain",
    "diff": "diff",
    "bench": "bench",
    "bench-diff": "bench_diff",
    "plugins": "plugins",
}
_SUMMARIES = {
    "convert": "Split and convert a checkpoint, and prove what was written.",
    "inspect": "Say what a checkpoint is, without running anything in it.",
    "verify": "Re-hash an output folder and re-run its parity checks.",
    "explain": "Say where one tensor came from or went.",
    "diff": "Compare two checkpoints or outputs.",
    "bench": "Measure inference latency.",
    "bench-diff": "Compare two saved latency measurements.",
    "plugins": "List what is installed, from where, and what is broken.",
}
_VERBOSE = "Show plans, timings and tracebacks on stderr."


class _Commands(click.Group):
    """A group whose commands are imported when they are used, and take ``-v`` as the group does."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = importlib.import_module(f"convcore.cli.{_COMMANDS[name]}")
        command: click.Command = module.command
        return _taking_verbose(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_SUMMARIES.items()))


class Invocation:
    """What holds for one call: switched-off plugins and how much is told."""

    def __init__(self, disabled: tuple[str, ...], verbose: bool, as_json: bool) -> None:
        self.disabled = disabled
        self.verbose = verbose
        self.as_json = as_json

    def session(self, progress: Progress | None = None) -> Session:
        """The session whose verbs the commands are."""
        from convcore.session import Session

        return Session(disable_plugins=self.disabled, progress=progress, own_process=True)


def _taking_verbose(command: click.Command) -> click.Command:
    """A command, and those below it, that take ``-v``: it means the same wherever it is typed."""

    def heed(ctx: click.Context, _: click.Parameter, given: bool) -> None:
        invocation = ctx.find_object(Invocation)
        if invocation is not None and given:
            invocation.verbose = True

    words = ["-v", "--verbose"]
    option = click.Option(words, is_flag=True, expose_value=False, callback=heed, help=_VERBOSE)
    taking = copy.copy(command)
    taking.params = [*command.params, option]
    if isinstance(taking, click.Group):
        taking.commands = {name: _taking_verbose(c) for name, c in taking.commands.items()}
    return taking


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-p", "plugins", multiple=True, metavar="no:NAME", help="Switch a plugin off. Repeats."
)
@click.option("-v", "--verbose", is_flag=True, help=_VERBOSE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for errors too.")
@click.version_option(__version__, prog_name="convcore")
@click.pass_context
def main(ctx: click.Context, plugins: tuple[str, ...], verbose: bool, as_json: bool) -> None:
    """Turn training checkpoints into things people can ship."""
    for plugin in plugins:
        if not plugin.startswith("no:"):
            raise UsageError(f"-p {plugin} is not understood", remedy="write -p no:NAME")
    disabled = tuple(plugin.removeprefix("no:") for plugin in plugins)
    ctx.obj = Invocation(disabled, verbose, as_json)


def answer(arguments: list[str]) -> int:
    """Run one command line; return its exit code, as ``convcore.errors`` lists them."""
    from convcore.interrupts import Interrupted, interruptible

    with _streams(), _warnings():
        try:
            with interruptible():
                started = time.perf_counter()
                exit_code = main.main(arguments, prog_name="convcore", standalone_mode=False)
                if is_verbose(arguments):
                    sys.stderr.write(f"{time.perf_counter() - started:.3f} s in all\n")
            sys.stdout.flush()
            return exit_code if isinstance(exit_code, int) else 0  # what ctx.exit was given
        except ConvcoreError as error:
            return explain(error, arguments)
        except click.exceptions.Exit as exit_:
            return exit_.exit_code
        except click.exceptions.NoArgsIsHelpError as help_:
            sys.stderr.write(f"{help_.format_message()}\n")
            return UsageError.exit_code
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else "convcore"
            fault = UsageError(error.format_message(), remedy=f"see {where} --help")
            return explain(fault, arguments)
        except click.Abort:
            return 130
        except Interrupted as signal_:
            return signal_.exit_code
        except KeyboardInterrupt:
            return 130
        except (BrokenPipeError, SystemExit):
            # Whoever read us has gone, of which click and rich make a SystemExit: nothing is left
            # to say, and nothing went wrong here.
            return 0
        except MemoryError:
            remedy = "free some memory, or take single components with --component"
            return explain(OutOfMemory("out of memory", remedy=remedy), arguments)
        except OSError as error:
            what = f"{error.filename or 'standard output'}: {error.strerror or error}"
            return explain(UsageError(what, remedy="check the path and its rights"), arguments)
        except Exception as error:
            return explain(unforeseen(error, arguments, _COMMANDS), arguments)
    return 0


@contextlib.contextmanager
def _streams() -> Iterator[None]:
    """Survive closed streams and locales that cannot show every character."""
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123 # lives as long as we do
        else:
            with contextlib.suppress(AttributeError, ValueError):
                stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
            try:
                stream.flush()
            except (OSError, ValueError):
                # What a stream would not take, Python tries once more at the very end, loudly.
                with contextlib.suppress(OSError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


@contextlib.contextmanager
def _warnings() -> Iterator[None]:
    """Print the engine's warnings as sentences, each once; leave all others as Python has them."""
    from convcore.escape import printable

    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if not issubclass(category, PluginWarning):
                shown(message, category, *where, **more)
                return
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"warning: {printable(str(message), 700)}\n")

        warnings.simplefilter("default", PluginWarning)
        warnings.showwarning = show
        yield

"""What becomes of an error: a sentence with its remedy, or one JSON document."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable

from convcore.errors import ConvcoreError, PluginError, VerificationError

_LONGEST = 1900
_FRAMES = 4


class OutOfMemory(ConvcoreError):
    """The machine's memory did not suffice."""

    exit_code = 5


class Bug(ConvcoreError):
    """Nobody foresaw it."""

    default_kind = "bug"


def unforeseen(error: Exception, arguments: list[str], commands: Iterable[str]) -> ConvcoreError:
    """What nobody foresaw: a package that is not there, else a bug, with where it happened."""
    from convcore.packages import lacking, not_installed

    package = lacking(error)
    if package is not None:
        known = [word for word in arguments if word in commands]
        return not_installed([package], " ".join(("convcore", *known[:1])))
    import traceback

    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    fault = Bug(
        f"{type(error).__name__}: {error}",
        seen=[f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames],
        remedy="this is a bug of convcore: report it with the command and what -v adds",
    )
    fault.__cause__ = error
    return fault


def is_verbose(arguments: list[str]) -> bool:
    """Whether ``-v`` stands anywhere in a command line."""
    return bool({"-v", "--verbose"} & {*arguments})


def explain(error: ConvcoreError, arguments: list[str]) -> int:
    """Print an error once: for people on stderr, as one JSON document on stdout."""
    from convcore.escape import printable

    with contextlib.suppress(OSError, ValueError):
        if (
            isinstance(error, PluginError | VerificationError | Bug)
            and error.__cause__
            and is_verbose(arguments)
        ):
            import traceback

            # For the author, of the plugin or of convcore: where in their code it happened.
            traceback.print_exception(error.__cause__)
        if "--json" in arguments:
            sys.stdout.write(f"{json.dumps({'error': error.as_dict()})}\n")
            sys.stdout.flush()
        else:
            lines = [f"error: {printable(error.what, 700)}"]
            lines += [f"  - {printable(item, 200)}" for item in error.seen]
            remedy = f"  {printable(error.remedy, 300)}"
            text = "\n".join(lines)
            if len(text.encode()) + len(remedy.encode()) > _LONGEST:
                more = f"\n  - … {len(error.seen)} findings in all; --json shows every one"
                room = _LONGEST - len(remedy.encode()) - len(more.encode())
                text = text.encode()[:room].decode(errors="ignore").rpartition("\n")[0] + more
            sys.stderr.write(f"{text}\n{remedy}\n")
            sys.stderr.flush()
    return error.exit_code

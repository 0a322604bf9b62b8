"""The place an output is to have: where it really lies, and whether it can be there."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from convcore.errors import ConvcoreError, TargetError, UsageError

# What a run keeps inside an output that is a mount point, and what mkfs puts there.
_NOTHING = re.compile(r"\.convcore(\.lock|-[0-9]+-[0-9a-f]{16})|lost\+found")
# In the kernel's list of mounts, blanks, line breaks and backslashes are written in octal digits.
_ESCAPED = re.compile(rb"\\([0-7]{3})")
_ELSEWHERE = "give another folder with -o"
_REMEDIES = {
    errno.ENOSPC: "free some space, or choose another disk with -o",
    errno.EDQUOT: "free some of your quota, or choose another disk with -o",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or choose another disk with -o",
    errno.EIO: "see to the disk, or choose another one with -o",
    errno.EROFS: "choose a disk that can be written with -o",
    errno.EACCES: "choose a folder that you may write with -o",
    errno.EPERM: "choose a folder of your own with -o",
    errno.EBUSY: "give a folder below it with -o; what is mounted or in use cannot be replaced",
    errno.ENAMETOOLONG: "give a shorter name with -o",
}


def resolve(output: Path) -> Path:
    """Return where the output really goes, without links or dots; nothing is created.

    Raises:
        UsageError: It is a file or a broken link, has no name of its own (``.``, ``..``), or its
            parent is no writable folder.
    """
    if output.name in ("", ".."):
        raise UsageError(
            f"{str(output)!r} is no name for an output",
            remedy="give a folder by its name with -o, for example -o converted",
        )
    try:
        real = output.resolve()
        if real.exists() and not real.is_dir():
            raise UsageError(f"{real} is a file", remedy="give a folder with -o")
        if output.is_symlink() and not real.exists():
            raise UsageError(f"{output} is a broken link", remedy="remove it, or give another -o")
        home = home_of(real)
        missing = not home.is_dir()
    except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError up to Python 3.12
        raise UsageError(
            f"{output} cannot be an output folder: {getattr(error, 'strerror', None) or error}",
            remedy="give another -o",
        ) from error
    if missing:
        raise UsageError(f"the folder {home} does not exist", remedy="make it, or give another -o")
    if not os.access(home, os.W_OK | os.X_OK):
        raise UsageError(
            f"the folder {home} cannot be written", remedy="choose a writable place with -o"
        )
    if real.is_dir() and not os.access(real, os.R_OK | os.W_OK | os.X_OK):
        facts = real.stat()
        raise UsageError(
            f"you may not change the folder {real}: it belongs to user {facts.st_uid}, with the "
            f"rights {stat.filemode(facts.st_mode)}",
            remedy="give yourself the rights to it, or give another folder with -o",
        )
    return real


def home_of(output: Path) -> Path:
    """The folder in which an output is prepared: beside it, or inside it where it is mounted.

    Nothing beside a mount point lies on the same file system.
    """
    return output if is_mount_point(output) else output.parent


def is_mount_point(path: Path) -> bool:
    """Whether something is mounted there; the kernel's list knows folders of the same disk too."""
    if os.path.ismount(path):
        return True
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return False
    return os.fsencode(path) in (_ESCAPED.sub(_plain, line.split()[4]) for line in lines)


def _plain(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 8)])


def contents(output: Path) -> list[str]:
    """Names of what lies in an output already; an empty folder is nothing."""
    if not output.is_dir():
        return []
    mounted = is_mount_point(output)
    names = [path.name for path in output.iterdir()]
    return [name for name in names if not (mounted and _NOTHING.fullmatch(name))]


def refuse_inputs(output: Path, read: Iterable[Path]) -> None:
    """Refuse an output that holds something which is read, or lies inside a folder that is.

    Raises:
        UsageError: It does, by whatever way both are named.
    """
    for path in read:
        if _lies_in(path, output):
            raise UsageError(f"the input {path} lies inside the output {output}", remedy=_ELSEWHERE)
        if path.is_dir() and _lies_in(output, path):
            raise UsageError(
                f"the output {output} lies inside the folder that is read", remedy=_ELSEWHERE
            )


def _lies_in(path: Path, folder: Path) -> bool:
    """Whether a path, or what it leads to, is a folder or lies below it.

    Folders are told by their device and inode: one may have several names, bound or linked.
    """
    try:
        sought = folder.stat()
        real, named = path.resolve(), path.absolute().parent.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a NUL: nothing to lose there
        return False
    for place in (real, *real.parents, named, *named.parents):
        with contextlib.suppress(OSError):
            if os.path.samestat(place.stat(), sought):
                return True
    return False


def exists(output: Path, *, ours: bool) -> UsageError:
    """Say that something stands there already; only an output of convcore is ever replaced."""
    if is_mount_point(output):
        return UsageError(
            f"{output} is a mount point and not empty, so that it cannot be replaced as a whole",
            remedy=f"give a folder below it: -o {output / 'converted'}",
        )
    if not ours:
        return UsageError(
            f"{output} is not empty and no output of convcore: nothing in it is touched",
            remedy=_ELSEWHERE,
        )
    return UsageError(
        f"{output} exists and is not empty",
        remedy="give --overwrite to replace it as a whole, or another folder with -o",
    )


def disk_fault(error: OSError, output: Path, *, needed: int = 0) -> ConvcoreError:
    """Say that the system failed while an output was made, and what helps against just that.

    Args:
        error: What it said.
        output: The folder that was to be made.
        needed: Bytes the output takes, as far as known.
    """
    where = error.filename or output
    seen = []
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(home_of(output)).free
            seen = [f"{needed:,} bytes are needed, {free:,} are free on the disk"]
    remedy = _REMEDIES.get(error.errno or 0, "mend what the system says, or give another -o")
    return TargetError(
        f"writing {where} failed: {error.strerror or error}",
        seen=seen,
        remedy=f"{remedy}; nothing was changed",
    )


def umask() -> int:
    """The rights that new files are not given."""
    # Setting it is the usual way to read it, and felt by every other thread meanwhile.
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    mask = os.umask(0)
    os.umask(mask)
    return mask

"""Other names for tensors: patterns, files of patterns, and the two spellings of weight norm."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import attrs

from convcore.errors import UsageError
from convcore.names import few, nearest
from convcore.sources.source import Checkpoint

WEIGHT_NORM = "weight-norm"
_NEW = "parametrizations"
_G, _V = "original0", "original1"


def renamed(checkpoint: Checkpoint, rules: Sequence[str]) -> Checkpoint:
    """Give a checkpoint's tensors other names.

    Args:
        checkpoint: What was read.
        rules: ``OLD=NEW`` (``*`` matches within a name, a name that ends with a dot is a prefix),
            ``weight-norm``, or the path of a TOML file with a table ``[rename]``.

    Raises:
        UsageError: A rule fits nothing, or would give two tensors one name.
    """
    names = {name: name for name in checkpoint.tensors}
    for rule in rules:
        if rule == WEIGHT_NORM:
            _apply(names, _weight_norm(names.values()), rule)
        else:
            for old, new in _pairs(rule):
                _apply(names, _matched(names.values(), old, new), f"{old}={new}")
    changed = {old: new for old, new in names.items() if old != new}
    said = f"renamed {len(changed)} of {len(names)} tensors by --rename, such as "
    said += few([f"{old} to {new}" for old, new in changed.items()], 2)
    originals = {new: checkpoint.original(old) for old, new in names.items()}
    return attrs.evolve(
        checkpoint,
        tensors={names[old]: tensor for old, tensor in checkpoint.tensors.items()},
        renamed={name: key for name, key in originals.items() if name != key},
        networks={c: tuple(names[n] for n in keys) for c, keys in checkpoint.networks.items()},
        evidence=(*checkpoint.evidence, said),
    )


def _pairs(rule: str) -> list[tuple[str, str]]:
    old, equals, new = rule.partition("=")
    if equals and old and new:
        return [(old, new)]
    if rule.endswith(".toml"):
        return list(_from_file(Path(rule)).items())
    raise UsageError(
        f"--rename {rule} names no other name",
        remedy="write OLD=NEW, weight-norm, or the path of a TOML file with a table [rename]",
    )


def _from_file(path: Path) -> Mapping[str, str]:
    import tomllib

    try:
        with path.open("rb") as file:
            table = tomllib.load(file).get("rename")
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}", remedy="check the path") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}", remedy="correct the file") from error
    if not isinstance(table, dict) or not all(isinstance(v, str) for v in table.values()):
        raise UsageError(
            f"{path} has no table [rename] of names", remedy='write [rename] and "old" = "new"'
        )
    return table


def _matched(names: Iterable[str], old: str, new: str) -> dict[str, str]:
    """Return which names a rule changes, and into what."""
    if old.endswith(".") and "*" not in old:
        old, new = f"{old}*", f"{new}*"
    parts = [re.escape(part) for part in old.split("*")]
    pattern = re.compile("(.*)".join(parts), re.DOTALL)
    pieces = new.split("*")
    stars = len(parts) - 1
    if len(pieces) - 1 > stars:
        raise UsageError(
            f"--rename {old}={new} puts back more than * matches",
            remedy="use as many * on both sides",
        )
    found = {}
    for name in names:
        match = pattern.fullmatch(name)
        if match is not None:
            groups = [*match.groups(), ""]
            made = pieces[0]
            for index, piece in enumerate(pieces[1:]):
                made += groups[index] + piece
            found[name] = made
    return found


def _weight_norm(names: Iterable[str]) -> dict[str, str]:
    """Turn ``weight_g``/``weight_v`` into parametrizations, or those back."""
    there = set(names)
    old = {name[:-2] for name in there if name.endswith("_g") and f"{name[:-2]}_v" in there}
    found: dict[str, str] = {}
    for base in old:
        owner, dot, last = base.rpartition(".")
        home = f"{owner}{dot}{_NEW}.{last}."
        found |= {f"{base}_g": f"{home}{_G}", f"{base}_v": f"{home}{_V}"}
    if found:
        return found
    for name in there:
        owner, _, last = name.rpartition(".")
        home, _, parameter = owner.rpartition(".")
        outer, _, word = home.rpartition(".")
        if last == _G and word == _NEW and f"{owner}.{_V}" in there:
            base = f"{outer}.{parameter}" if outer else parameter
            found |= {name: f"{base}_g", f"{owner}.{_V}": f"{base}_v"}
    return found


def _apply(names: dict[str, str], changes: Mapping[str, str], rule: str) -> None:
    if not changes:
        old = rule.partition("=")[0]
        raise UsageError(
            f"--rename {rule} fits no tensor",
            seen=nearest(old, names.values(), 3),
            remedy="give a name that convcore inspect --tensors shows, with * for what varies",
        )
    made: dict[str, str] = {}
    for name, now in names.items():
        new = changes.get(now, now)
        if new in made:
            raise UsageError(
                f"--rename {rule} gives two tensors the name {new}: {made[new]} and {now}",
                remedy="give each a name of its own",
            )
        made[new] = now
        names[name] = new

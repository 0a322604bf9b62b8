"""Which renamings make one file's keys those of another, of a list, or of a failed loading."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from convcore.engine.alignment.obstacles import explain
from convcore.engine.alignment.pairing import pair
from convcore.engine.alignment.rules import smallest
from convcore.engine.alignment.wanted import Key, keys_of, wanted_keys
from convcore.errors import UsageError
from convcore.host.registry import Registry
from convcore.names import counted
from convcore.options import DiffOptions
from convcore.packages import not_installed
from convcore.sources import weight_norm
from convcore.sources.rename_rules import Rule, as_toml
from convcore.sources.renaming import by_rules, spellings_of


def align(asked: DiffOptions, registry: Registry) -> dict[str, Any]:
    """Pair the keys of two files by shape, likeness of name and order.

    Args:
        asked: The two; the second may be a list of names and shapes in JSON, or a text with the
            message of ``load_state_dict``. ``write`` is where the rules go.
        registry: Sources to read with.

    Returns:
        ``complete`` (every key of the second is reached), ``rules`` with how many tensors each
        renames, ``weight_norm``, ``pairs`` with whether each is ``certain``, and ``unmatched`` of
        either side with the reason.

    Raises:
        TargetError: SciPy is not installed.
        UsageError: ``rename`` is given too.
        ConvcoreError: One of them cannot be read, or the rules cannot be written.
    """
    if asked.rename:
        raise UsageError(
            "--align finds renamings, and takes none", remedy="leave out --align or --rename"
        )
    if importlib.util.find_spec("scipy") is None:
        raise not_installed(["scipy"], "diff --align")
    first, second, notes = wanted_keys(asked, registry)
    have = {key.author: Key(key.author, key.shape, key.author) for key in keys_of(first)}
    back = _respelt(have, [each.author for each in second])
    want = {back.get(each.author, each.author): each for each in second}
    found = pair(list(have.values()), [Key(name, k.shape, name) for name, k in want.items()])
    pairs = found.names
    rules = smallest(pairs, list(have))
    spelt = dict(zip(have, by_rules(spellings_of(first), rules), strict=True))
    left = [each for name, each in have.items() if name not in pairs]
    reached = set(pairs.values())
    lacking = [Key(n, k.shape, n) for n, k in want.items() if n not in reached]
    taken = {id(rule): 0 for rule in rules}
    for old in have:
        rule = next((rule for rule in rules if rule.renamed(old) is not None), None)
        if rule is not None:
            taken[id(rule)] += old in pairs
    document = {
        "complete": not lacking,
        "fits_already": not lacking and not rules and not back,
        "notes": notes,
        "weight_norm": bool(back),
        "rules": [{"old": r.old, "new": r.new, "tensors": taken[id(r)]} for r in rules],
        "pairs": [
            {"from": old, "to": want[new].author, "certain": old not in found.doubtful}
            for old, new in pairs.items()
        ],
        "unmatched": explain(left, lacking, spelt),
        "written": None,
    }
    if asked.write is not None:
        _write(asked, document, rules, weight_norm_too=bool(back))
    return document


def _respelt(have: Mapping[str, Key], want: Sequence[str]) -> dict[str, str]:
    """Return the second's names in the first's spelling of weight norm, where the two differ."""
    wanted = dict.fromkeys(want)
    for old in (True, False):
        theirs = list(weight_norm.pairs(wanted, old_spelling=old))
        ours = [list(weight_norm.pairs(have, old_spelling=spelling)) for spelling in (old, not old)]
        if theirs and ours[1] and not ours[0]:
            return {
                name: other
                for magnitude, direction, g, v in theirs
                for name, other in ((magnitude, g), (direction, v))
            }
    return {}


def _write(
    asked: DiffOptions, document: dict[str, Any], rules: Sequence[Rule], *, weight_norm_too: bool
) -> None:
    path = asked.write
    assert path is not None  # only then it is called
    if not rules and not weight_norm_too:
        raise UsageError(
            f"there is no renaming to write to {path}",
            seen=[said["why"] for said in document["unmatched"]["second"][:8]],
            remedy="leave out --write",
        )
    doubtful = [f"{p['from']} to {p['to']}" for p in document["pairs"] if not p["certain"]]
    head = [f"Keys of {asked.first.name!a} as {asked.second.name!a} has them."]
    head += [f"Not certain: {ascii(said)[1:-1]}" for said in doubtful]
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(as_toml(rules, weight_norm_too=weight_norm_too, head=head))
    except FileExistsError as error:
        raise UsageError(
            f"{path} is there already", remedy="give another name to --write"
        ) from error
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", remedy="give another path to --write"
        ) from error
    document["written"] = str(path)


def summary(document: Mapping[str, Any]) -> str:
    """Say in one sentence how far the keys of the second are reached."""
    lacking, over = (len(document["unmatched"][side]) for side in ("second", "first"))
    if document["fits_already"]:
        return f"the keys fit as they are; {counted(over, 'key')} of the first left over"
    rules = len(document["rules"]) + document["weight_norm"]
    told = f"{counted(rules, 'renaming')} for {counted(len(document['pairs']), 'key')}"
    state = (
        "complete" if document["complete"] else f"{counted(lacking, 'key')} of the second missing"
    )
    return f"{state}: {told}; {counted(over, 'key')} of the first left over"

"""Other names for tensors: rules, files of rules, and the two spellings of weight norm.

A rule is ``OLD=NEW``. ``*`` in OLD fits any text, dots and nothing included, each as little as it
can, from the left; the first ``*`` of NEW stands for what the first of OLD fitted, and so on. OLD
and NEW that end with a dot are prefixes. All rules see the names as they were: of those that fit a
tensor the one given first renames it. Weight norm is respelt after them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from convcore.errors import UsageError
from convcore.names import counted, few, nearest
from convcore.noun import Noun
from convcore.sources import weight_norm
from convcore.sources.source import Checkpoint
from convcore.toml import quoted, read_toml

TABLE = "rename"
_FORM = "write OLD=NEW, weight-norm, or the path of a TOML file with a table [rename]"
_SHOWN = 8


@attrs.frozen(eq=False, repr=False)
class Rule(Noun):
    """One renaming.

    Attributes:
        old: What it fits.
        new: What that becomes.
        option: The value of ``--rename`` that it is from.
    """

    old: str
    new: str
    option: str
    _pattern: re.Pattern[str] = attrs.field(init=False, eq=False)

    def __attrs_post_init__(self) -> None:
        if not self.old.strip("*"):
            stars = self.old.count("*")
            if stars != 1:
                raise UsageError(f"--rename {self} has no name on its left", remedy=_FORM)
        if self.old.count("*") != self.new.count("*"):
            raise UsageError(
                f"--rename {self} has {self.old.count('*')} * on its left and "
                f"{self.new.count('*')} on its right",
                remedy="write as many on both sides: each stands for the same text",
            )
        pattern = "(.*?)".join(map(re.escape, self.old.split("*")))
        object.__setattr__(self, "_pattern", re.compile(pattern, re.DOTALL))

    def __str__(self) -> str:
        return f"{self.old}={self.new}"

    def renamed(self, name: str) -> str | None:
        """Return the new name of what it fits, None for other names."""
        match = self._pattern.fullmatch(name)
        if match is None:
            return None
        first, *rest = self.new.split("*")
        pieces = zip(match.groups(), rest, strict=True)
        return first + "".join(text + piece for text, piece in pieces)


@attrs.frozen(eq=False, repr=False)
class Spelling(Noun):
    """The names that one tensor has.

    Attributes:
        author: In the class that was trained.
        short: Without any wrapper's prefix.
        key: In the file.
    """

    author: str
    short: str
    key: str

    @property
    def lead(self) -> str:
        """What the author's name has before the short one."""
        return self.author.removesuffix(self.short) if self.author != self.short else ""


def renamed(checkpoint: Checkpoint, options: Sequence[str]) -> Checkpoint:
    """Give a checkpoint's tensors other names; layouts, targets and reports see the new ones.

    Args:
        checkpoint: What was read.
        options: Values of ``--rename``: ``OLD=NEW``, ``weight-norm``, or the path of a TOML file.

    Raises:
        UsageError: A rule fits nothing, or would give two tensors one name.
    """
    spellings = spellings_of(checkpoint)
    rules, weight_norm_too = read_rules(options)
    spelt = by_rules(spellings, rules)
    if weight_norm_too:
        tensors = zip(spelt, checkpoint.tensors.values(), strict=True)
        others = weight_norm.respelt({name: tensor.shape for name, tensor in tensors})
        spelt = [others.get(name, name) for name in spelt]
    _refuse_doubles(spellings, spelt)
    shorts = _without_leads(spellings, spelt)
    names = dict(zip(checkpoint.tensors, shorts, strict=True))
    return attrs.evolve(
        checkpoint,
        tensors={names[old]: tensor for old, tensor in checkpoint.tensors.items()},
        renamed={names[s.short]: s.key for s in spellings if names[s.short] != s.key},
        spelt=dict(zip(shorts, spelt, strict=True)),
        networks={c: tuple(names[n] for n in keys) for c, keys in checkpoint.networks.items()},
        evidence=(*checkpoint.evidence, _told(options, spellings, spelt)),
    )


def read_rules(options: Sequence[str]) -> tuple[list[Rule], bool]:
    """Return the rules of ``--rename`` in their order, and whether weight norm is respelt.

    Raises:
        UsageError: One is no rule, or a file is none of rules.
    """
    rules: list[Rule] = []
    weight_norm_too = False
    for option in options:
        old, equals, new = option.partition("=")
        if option == weight_norm.OPTION:
            weight_norm_too = True
        elif option.endswith(".toml"):
            found, also = _from_file(option)
            rules += found
            weight_norm_too |= also
        elif equals and old:
            rules.append(_rule(old, new, option))
        else:
            raise UsageError(f"--rename {option} names no other name", remedy=_FORM)
    return rules, weight_norm_too


def _rule(old: str, new: str, option: str) -> Rule:
    if old.endswith(".") and "*" not in old and (not new or new.endswith(".")):
        old, new = f"{old}*", f"{new}*"
    if not new:
        raise UsageError(f"--rename {option} names no other name", remedy=_FORM)
    return Rule(old, new, option)


def _from_file(option: str) -> tuple[list[Rule], bool]:
    content = read_toml(Path(option), remedy=f'correct the file: [{TABLE}] and "old" = "new"')
    table = content.get(TABLE)
    if not isinstance(table, dict) or not table or content.keys() != {TABLE}:
        held = few(list(content)) or "nothing"
        raise UsageError(
            f"{option} holds {held}, and not one table [{TABLE}] of names",
            remedy=f'write [{TABLE}] and, below it, "old" = "new"',
        )
    table = dict(table)
    also = table.pop(weight_norm.OPTION, False) is True
    for old, new in table.items():
        if not isinstance(new, str):
            raise UsageError(
                f"{option} gives {old} no name, but a {type(new).__name__}",
                remedy='write names in quotes, "encoder.weight" = "body.weight": dots part tables',
            )
    return [_rule(old, new, option) for old, new in table.items()], also


def as_toml(rules: Sequence[Rule], *, weight_norm_too: bool, head: Sequence[str] = ()) -> str:
    """Return the file that ``--rename FILE.toml`` reads as these rules."""
    lines = [*(f"# {line}" for line in head), f"[{TABLE}]"]
    lines += [f"{weight_norm.OPTION} = true"] if weight_norm_too else []
    lines += [f"{quoted(rule.old)} = {quoted(rule.new)}" for rule in rules]
    return "\n".join([*lines, ""])


def by_rules(spellings: Sequence[Spelling], rules: Sequence[Rule]) -> list[str]:
    """Return the author's names as the rules change them, in the order of the tensors.

    A rule is held against the author's names; where it fits none, against those without wrappers,
    and then against the keys in the file.

    Raises:
        UsageError: A rule fits nothing, or nothing that an earlier one leaves.
    """
    new: dict[int, str] = {}
    for rule in rules:
        fits = next(filter(None, _fits(rule, spellings)), None)
        if fits is None:
            raise _idle(rule, spellings)
        if fits.keys() <= new.keys():
            index = next(iter(fits))
            raise UsageError(
                f"--rename {rule} comes too late: an earlier rule renames {spellings[index].author}"
                f" to {new[index]}",
                remedy="give the rule that fits less first",
            )
        new = fits | new
    return [new.get(index, each.author) for index, each in enumerate(spellings)]


def _fits(rule: Rule, spellings: Sequence[Spelling]) -> Iterator[dict[int, str]]:
    """Yield the new names by each of the three spellings, by the tensor's place."""
    for field in ("author", "short", "key"):
        yield {
            index: f"{each.lead}{name}" if field == "short" else name
            for index, each in enumerate(spellings)
            if (name := rule.renamed(getattr(each, field))) is not None
        }


def _idle(rule: Rule, spellings: Sequence[Spelling]) -> UsageError:
    known = [each.author for each in spellings]
    near = nearest(rule.old.strip("*"), known, 3)
    whence = "" if str(rule) == rule.option else f" of {rule.option}"
    return UsageError(
        f"--rename {rule}{whence} fits no tensor",
        seen=near or [f"there: {few(known, _SHOWN)}"],
        remedy="give a name that convcore inspect --tensors shows, with * for what varies",
    )


def _refuse_doubles(spellings: Sequence[Spelling], spelt: Sequence[str]) -> None:
    made: dict[str, str] = {}
    for each, new in zip(spellings, spelt, strict=True):
        if not new or new in made:
            what = f"gives two tensors the name {new}: {made.get(new)} and {each.author}"
            raise UsageError(
                f"--rename {what if new else f'leaves {each.author} no name'}",
                remedy="give each a name of its own",
            )
        made[new] = each.author


def _without_leads(spellings: Sequence[Spelling], spelt: Sequence[str]) -> list[str]:
    """Take off again what was taken off before, where every tensor still has it."""
    both = list(zip(spellings, spelt, strict=True))
    shorts = [new.removeprefix(each.lead) for each, new in both]
    kept = all(new.startswith(each.lead) and new != each.lead for each, new in both)
    return shorts if kept and len(set(shorts)) == len(shorts) else list(spelt)


def _told(options: Sequence[str], spellings: Sequence[Spelling], spelt: Sequence[str]) -> str:
    changed = [
        f"{each.author} to {new}"
        for each, new in zip(spellings, spelt, strict=True)
        if each.author != new
    ]
    given = " ".join(f"--rename {option}" for option in options[:_SHOWN])
    more = " …" if len(options) > _SHOWN else ""
    some = f", such as {few(changed, 2)}" if len(changed) > 2 else f": {few(changed)}"
    count = f"{len(changed):,} of {counted(len(spelt), 'tensor')}"
    return f"{given}{more} renamed {count}{some if changed else ''}"


def spellings_of(checkpoint: Checkpoint) -> list[Spelling]:
    """Return the names that each tensor has, in the checkpoint's order."""
    return [
        Spelling(checkpoint.author_name(name), name, checkpoint.original(name))
        for name in checkpoint.tensors
    ]

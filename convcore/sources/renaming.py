"""Other names for tensors: those that rules give, and the two spellings of weight norm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from convcore.errors import UsageError
from convcore.names import counted, few, nearest
from convcore.noun import Noun
from convcore.sources import weight_norm
from convcore.sources.rename_rules import Rule, read_rules
from convcore.sources.source import Checkpoint

_SHOWN = 8


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

"""The rules of ``--rename``: typed, or read from a file.

A rule is ``OLD=NEW``. ``*`` in OLD fits any text, dots and nothing included, each as little as it
can, from the left; the first ``*`` of NEW stands for what the first of OLD fitted, and so on. OLD
and NEW that end with a dot are prefixes. All rules see the names as they were: of those that fit a
tensor the one given first renames it. Weight norm is respelt after them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import attrs

from convcore.errors import UsageError
from convcore.names import few
from convcore.noun import Noun
from convcore.sources import weight_norm
from convcore.toml import quoted, read_toml

TABLE = "rename"
_FORM = "write OLD=NEW, weight-norm, or the path of a TOML file with a table [rename]"


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
        if self.new.count("*") not in (0, self.old.count("*")):
            raise UsageError(
                f"--rename {self} has {self.old.count('*')} * on its left and "
                f"{self.new.count('*')} on its right",
                remedy="write as many on both sides (each stands for the same text), or none right",
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
        pieces = zip(match.groups() if rest else (), rest, strict=True)
        return first + "".join(text + piece for text, piece in pieces)


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

"""What no tensor shows and a network computes with, and what may be said against it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import attrs

from convcore import validators as legal
from convcore.noun import Noun

_DIMENSIONS = re.compile(r"[123]d$")


def _strings(names: str | Iterable[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _values(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(values)


@attrs.frozen(eq=False, repr=False)
class Assumption(Noun):
    """A value that no tensor shows, which a layout's networks compute with unless told otherwise.

    ``--config NAME=VALUE`` wins over what training stored, and that over what is assumed. A stored
    value that the networks do not compute refuses the graphs until the option settles it.

    Attributes:
        name: Of the setting, and of the option.
        value: What is assumed; None where nothing can be.
        summary: What it is, in a few words.
        stated: Hyper-parameters that may state it (``"generator_config.activation"``).
        also: Other values that the networks compute.
        between: Or any number between these two.
        spellings: Other ways in which training code writes a value, to the value.
        read: In place of ``also`` and ``between``: takes the text of an option or a stored value,
            returns what the networks compute, and raises ValueError saying what they do.
        components: It is settled where one of these is in the checkpoint; none named: always.
        graphs: Those that compute with it; none named: those of ``components``, or all.
        origin: Of the assumed value: ``guess`` where it is merely usual.
    """

    name: str = attrs.field(validator=legal.name)
    value: Any
    summary: str
    stated: tuple[str, ...] = attrs.field(default=(), converter=_strings)
    also: tuple[Any, ...] = attrs.field(default=(), converter=_values)
    between: tuple[float, float] | None = None
    spellings: Mapping[str, Any] = attrs.field(factory=dict)
    read: Callable[[Any], Any] | None = attrs.field(
        default=None, eq=False, repr=False, validator=legal.function
    )
    components: tuple[str, ...] = attrs.field(default=(), converter=_strings)
    graphs: tuple[str, ...] = attrs.field(default=(), converter=_strings)
    origin: Literal["default", "guess"] = attrs.field(
        default="default", validator=legal.word("default", "guess")
    )

    def understand(self, given: Any) -> Any:
        """Return the value that a text or a stored value means.

        Raises:
            ValueError: The networks do not compute it; the message says what they do.
        """
        if self.read is not None:
            return self.read(given)
        if self.between is not None:
            return self._number(given)
        if self.value is None:
            return str(given)[:200]
        known = {_folded(value): value for value in (self.value, *self.also)}
        known |= {_folded(spelling): value for spelling, value in self.spellings.items()}
        if _folded(given) not in known:
            raise ValueError(f"it can be {self.choices}")
        return known[_folded(given)]

    @property
    def choices(self) -> str:
        """What the networks compute, for people."""
        if self.between is not None:
            return "a number between {:g} and {:g}".format(*self.between)
        if self.read is not None or self.value is None:
            return ""
        return ", ".join(shown(value) for value in (self.value, *self.also))

    @property
    def help(self) -> str:
        """One line for the list of options."""
        taken = "" if self.value is None else f"; {shown(self.value)} is assumed"
        return f"{self.summary}{taken}{f'; {self.choices}' if self.choices else ''}"

    def concerns(self, graph: str, components: Iterable[str]) -> bool:
        """Whether a graph, made of these components, computes with it."""
        if self.graphs:
            return graph in self.graphs
        return not self.components or bool(set(self.components) & set(components))

    def _number(self, given: Any) -> float:
        low, high = self.between or (0, 0)
        number = given
        if isinstance(given, str) and len(given) < 40:
            try:
                number = float(given)
            except ValueError:
                number = None
        plain = isinstance(number, int | float) and not isinstance(number, bool)
        if not plain or not low < number < high:
            raise ValueError(f"it can be {self.choices}")
        return float(number)


def shown(value: Any) -> str:
    """Return a value as it is typed after ``--config NAME=``."""
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def _folded(value: Any) -> str:
    """Reduce ``torch.nn.LeakyReLU``, ``leaky-relu`` and ``leaky_relu`` to one spelling."""
    text = shown(value)[:200].lower()
    if re.fullmatch(r"[a-z_][\w.]*(\(\))?", text):
        text = text.removesuffix("()").rpartition(".")[2]
    return _DIMENSIONS.sub("", re.sub(r"[\s_,-]+", "", text))

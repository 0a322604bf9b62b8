"""Settling configuration values: which source wins, and what is said about the losers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from convcore.errors import UsageError
from convcore.formats import Opaque, as_mapping, as_plain
from convcore.layouts.assumption import Assumption, shown
from convcore.layouts.layout import LayoutMatch, Origin, Setting
from convcore.names import assigner, counted
from convcore.tensors import LazyTensor

_SHOWN = 12
_LONG = 40


class Settler:
    """Collects settings and evidence while a layout reads its configuration.

    Attributes:
        hyper_parameters: What training stored; values may be of any plain type.
        config: ``--config`` values as text, by name.
        settings: What has been settled so far.
        evidence: Sentences gathered so far.
    """

    def __init__(
        self,
        hyper_parameters: Mapping[str, Any],
        config: Mapping[str, str],
        assumes: Iterable[Assumption] = (),
    ) -> None:
        self.hyper_parameters: Mapping[str, Any] = _Noticed(hyper_parameters)
        self.config = config
        self.settings: dict[str, Setting] = {}
        self.evidence: list[str] = []
        self._assumes = {assumption.name: assumption for assumption in assumes}

    def put(self, name: str, value: Any, origin: Origin) -> Any:
        """Settle ``name`` and return the value."""
        self.settings[name] = Setting(value, origin)
        return value

    def note(self, sentence: str) -> None:
        """Add one sentence of evidence."""
        if sentence not in self.evidence:
            self.evidence.append(sentence)

    def from_shape(self, name: str, value: Any, stated: Any = None) -> Any:
        """Settle what the tensors say; a different ``stated`` value is mentioned and loses."""
        if stated is not None and stated != value:
            self.note(
                f"hyper-parameter {name} says {stated!r}, the tensors say {value!r}: "
                "the tensors win"
            )
        return self.put(name, value, "shape")

    def from_hyper(self, name: str, default: Any, *, stated: Any = None) -> Any:
        """Settle what training stored under ``name`` (or passed as ``stated``), else a default."""
        found = self.hyper_parameters.get(name) if stated is None else stated
        if found is None:
            return self.put(name, default, "default")
        return self.put(name, found, "hyper_parameters")

    def from_option(self, name: str, convert: Callable[[str], Any]) -> Any | None:
        """Settle ``--config name=…`` where it was given; None where it was not.

        Raises:
            UsageError: ``convert`` raised ValueError for the text.
        """
        text = self.config.get(name)
        if text is None:
            return None
        try:
            value = convert(text)
        except ValueError as error:
            raise UsageError(
                f"--config {name}={text!r} is not a legal value: {error}",
                remedy=f"give {name} another value",
            ) from error
        return self.put(name, value, "option")

    def assume(
        self,
        name: str,
        value: Any = None,
        origin: Origin | None = None,
        *,
        read: Callable[[Any], Any] | None = None,
    ) -> Any:
        """Settle what no tensor shows, one of ``Layout.assumes``.

        The option wins, then what training stored, then ``value``. What is stored and not computed
        leaves None with the origin ``unknown``, which refuses the graphs.

        Args:
            name: Of the assumption.
            value: What is assumed of this checkpoint; None takes the declared value.
            origin: Of ``value``.
            read: As ``Assumption.read``, where the sizes of this checkpoint decide what is legal.

        Raises:
            UsageError: The option's value is not computed.
        """
        assumption = self._assumes[name]
        read = read or assumption.understand
        found = self.from_option(name, read)
        if found is not None:
            return found
        usual = assumption.value if value is None else value
        given = {where: _at(where, self.hyper_parameters) for where in assumption.stated}
        given = {where: said for where, said in given.items() if said is not None}
        if not given:
            assumed: Origin = "unknown" if usual is None else assumption.origin
            return self.put(name, usual, origin or assumed)
        meant: dict[str, Any] = {}
        for where, said in given.items():
            try:
                meant[where] = read(said)
            except ValueError as error:
                self.note(
                    f"hyper-parameter {where} says {_short(said)}, which is not computed "
                    f"({error}): ONNX needs --config {name}=VALUE"
                )
                return self.put(name, None, "unknown")
        first, *others = meant.items()
        for where, other in others:
            if other != first[1]:
                self.note(
                    f"hyper-parameters {first[0]} {_short(first[1])} and {where} {_short(other)} "
                    f"contradict each other: ONNX needs --config {name}=VALUE"
                )
                return self.put(name, None, "unknown")
        if usual is not None and first[1] != usual:
            self.note(
                f"hyper-parameter {first[0]} says {_short(first[1])}: {name} is that, and not the "
                f"usual {_short(usual)}"
            )
        return self.put(name, first[1], "hyper_parameters")

    def conclude(self, known: Iterable[str]) -> None:
        """Say what was assumed, what agrees with it, and which hyper-parameters nobody knows."""
        settled = {name: self.settings[name] for name in self._assumes if name in self.settings}
        assumed = [
            f"{name}={shown(setting.value)}"
            for name, setting in settled.items()
            if setting.origin in ("default", "guess", "dataset") and setting.value is not None
        ]
        if assumed:
            self.note(
                f"no tensor shows and no hyper-parameter states {', '.join(assumed)}: this is "
                "assumed, and --config NAME=VALUE says otherwise"
            )
        agreeing = [
            name
            for name, setting in settled.items()
            if setting.origin == "hyper_parameters" and setting.value == self._assumes[name].value
        ]
        if agreeing:
            self.note(f"hyper-parameters state what is assumed: {', '.join(agreeing)}")
        strange = self._strange(known)
        if strange:
            self.note(
                f"{counted(len(strange), 'hyper-parameter')} that this layout does not know: "
                f"{', '.join(strange[:_SHOWN])}{', …' if len(strange) > _SHOWN else ''}; what they "
                "change in the networks is not computed"
            )

    def _strange(self, known: Iterable[str]) -> list[str]:
        names = (*known, *(where for each in self._assumes.values() for where in each.stated))
        listed = assigner([(name, name) for name in names])
        outer = {name.partition(".")[0] for name in names if "." in name}
        read: set[Any] = getattr(self.hyper_parameters, "names", set())
        found = []
        for name, value in self.hyper_parameters.items():
            inside = as_mapping(value) if name in outer else None
            if inside is not None:
                every = {f"{name}.{key}": said for key, said in inside.items()}
                found += [f"{k}={_short(v)}" for k, v in every.items() if listed(k) is None]
            elif name not in read and listed(str(name)) is None:
                found.append(
                    f"{name if str(name).isidentifier() else _short(name)}={_short(value)}"
                )
        return found


def stated(assumption: Assumption, hyper_parameters: Mapping[str, Any]) -> Any:
    """Return what training stored of an assumption, as plain data; None where it stored nothing."""
    every = (_at(where, hyper_parameters) for where in assumption.stated)
    return next((said for said in every if said is not None), None)


def departures(match: LayoutMatch, *parts: str) -> dict[str, Any]:
    """Return the settings that are not what a layout assumes, for documents that are read again.

    A value that training stored and nobody computes stands as it was stored.

    Args:
        match: The recognised checkpoint, settled.
        parts: Only what concerns these components; none named: everything.
    """
    found = {}
    for each in match.layout.assumes:
        if each.name not in match.settings or (parts and not set(parts) & set(each.components)):
            continue
        value = match.value(each.name)
        if value is None:
            value = stated(each, match.checkpoint.hyper_parameters)
        if value != each.value and value is not None:
            found[each.name] = value
    return found


def _at(where: str, hyper_parameters: Mapping[str, Any]) -> Any:
    value: Any = hyper_parameters
    for part in where.split("."):
        value = (as_mapping(value) or {}).get(part)
    if isinstance(value, Opaque) and value.how == "global":
        return value.qualified_name
    return as_plain(legible(value))


def legible(value: Any) -> Any:
    """Return what a hyper-parameter says: an int for a scalar tensor of whole numbers.

    Training scripts store such tensors by accident. Other tensors are put into words.
    """
    if not isinstance(value, LazyTensor):
        return value
    if "int" in value.dtype and value.shape == () and value.unsupported is None:
        return int(value.numpy())
    return f"a {value.dtype} tensor of shape {list(value.shape)}"


class _Noticed(dict[str, Any]):
    """Hyper-parameters that remember which of them were asked for by name."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__(given)
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> Any:
        self.names.add(name)
        return super().__getitem__(name)


def _short(value: Any) -> str:
    """Return a stranger's value in a few characters, for a sentence."""
    text = repr(as_plain(value))
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"


def true_or_false(given: Any) -> bool:
    """Read ``true`` or ``false`` (any case), or the value itself; ValueError for anything else."""
    choice = {"true": True, "false": False}.get(str(given).lower())
    if choice is None:
        raise ValueError("say true or false")
    return choice


def positive(given: Any) -> int:
    """Read a whole number above 0, or its text; ValueError for anything else."""
    text = given if isinstance(given, str) else str(given) if type(given) is int else ""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise ValueError("a whole number above 0 is needed")
    return int(text)

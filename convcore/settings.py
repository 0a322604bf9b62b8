"""Settling configuration values: which source wins, and what is said about the losers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from convcore.errors import UsageError
from convcore.model import Origin, Setting


class Settler:
    """Collects settings and evidence while a layout reads its configuration.

    Attributes:
        hyper_parameters: What training stored; values may be of any plain type.
        config: ``--config`` values as text, by name.
        settings: What has been settled so far.
        evidence: Sentences gathered so far.
    """

    def __init__(self, hyper_parameters: Mapping[str, Any], config: Mapping[str, str]) -> None:
        self.hyper_parameters = hyper_parameters
        self.config = config
        self.settings: dict[str, Setting] = {}
        self.evidence: list[str] = []

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


def true_or_false(text: str) -> bool:
    """Read ``true`` or ``false`` (any case); ValueError for anything else."""
    choice = {"true": True, "false": False}.get(text.lower())
    if choice is None:
        raise ValueError("say true or false")
    return choice


def positive(text: str) -> int:
    """Read a whole number above 0; ValueError for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise ValueError("a whole number above 0 is needed")
    return int(text)

"""What a record and ``inspect`` both say of a model: its layout, its settings, its components."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs

from convcore import validators as legal
from convcore.formats import as_plain
from convcore.layouts.graph import Role
from convcore.layouts.layout import LayoutMatch, Setting
from convcore.layouts.unknown import UNKNOWN
from convcore.noun import Noun
from convcore.tensors import LazyTensor


@attrs.frozen(eq=False, repr=False)
class ComponentRecord(Noun):
    """One network of the checkpoint, whether it was written or not.

    Attributes:
        name: Of the component.
        role: ``training`` for what inference does not need.
        tensor_count: Its tensors.
        parameter_count: Their numbers, statistics of batch norms aside.
        nbytes: Their bytes.
        fingerprint: SHA-256 over names, types, shapes and CRC-32s of its tensors, but those that
            its layout never writes; None where no file was made of it.
    """

    name: str
    role: Role
    tensor_count: int
    parameter_count: int
    nbytes: int
    fingerprint: str | None = attrs.field(validator=legal.sha256)


def layout_name(match: LayoutMatch) -> str | None:
    """Name of the layout; None for a model that none knows."""
    return None if match.layout.name == UNKNOWN else match.layout.name


def settings_of(match: LayoutMatch) -> dict[str, Setting]:
    """Every setting, its value as JSON has it."""
    return {
        name: Setting(as_plain(setting.value), setting.origin)
        for name, setting in match.settings.items()
    }


def components_of(
    match: LayoutMatch, fingerprints: Mapping[str, str]
) -> tuple[ComponentRecord, ...]:
    """Every component that the checkpoint has, with its sizes."""
    return tuple(
        ComponentRecord(
            part.name,
            part.role,
            len(state),
            parameters(state),
            sum(tensor.nbytes for tensor in state.values()),
            fingerprints.get(part.name),
        )
        for part in match.layout.components
        if (state := match.states.get(part.name)) is not None
    )


def parameters(state: Mapping[str, LazyTensor]) -> int:
    """How many numbers are trained: those of all tensors but the statistics of batch norms."""
    return sum(
        math.prod(tensor.shape)
        for name, tensor in state.items()
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    )

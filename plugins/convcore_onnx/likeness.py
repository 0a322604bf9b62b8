"""Whether two networks are the same but for their weights, so that one export serves both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_OWN = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
_PLAIN = (int, float, complex, str, bytes, bool, type(None), type)


def same_but_for_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Compare two networks module by module.

    Same classes, same plain attributes, parameters and saved buffers of the same shapes, and equal
    values wherever a state dict has none (buffers that are not saved, tensors kept as attributes).
    What cannot be compared, a hook for one, counts as different.
    """
    return _same_module(one, other)


def _same_module(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    if type(one) is not type(other) or vars(one).keys() != vars(other).keys():
        return False
    a, b = vars(one), vars(other)
    unsaved = one._non_persistent_buffers_set
    if unsaved != other._non_persistent_buffers_set:
        return False
    return (
        _same_tensors(one._parameters, other._parameters)
        and _same_tensors(one._buffers, other._buffers)
        and all(_same_value(one._buffers[name], other._buffers[name]) for name in unsaved)
        and list(one._modules) == list(other._modules)
        and all(_same_child(child, other._modules[name]) for name, child in one._modules.items())
        and all(_same_value(a[name], b[name]) for name in a if name not in _OWN)
    )


def _same_child(one: torch.nn.Module | None, other: torch.nn.Module | None) -> bool:
    if one is None or other is None:
        return one is other
    return _same_module(one, other)


def _same_tensors(
    one: Mapping[str, torch.Tensor | None], other: Mapping[str, torch.Tensor | None]
) -> bool:
    def kinds(tensors: Mapping[str, torch.Tensor | None]) -> list[Any]:
        return [(n, None if t is None else (t.shape, t.dtype)) for n, t in tensors.items()]

    return kinds(one) == kinds(other)


def _same_value(one: Any, other: Any) -> bool:
    import torch

    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(_same_value(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        pairs = zip(one, other, strict=True) if len(one) == len(other) else [(0, "")]
        return all(_same_value(a, b) for a, b in pairs)
    return (
        bool(one == other)
        if isinstance(one, (*_PLAIN, torch.dtype, torch.device))
        else one is other
    )

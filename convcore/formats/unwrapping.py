"""Known wrappers around plain data: namespaces, attribute dictionaries, OmegaConf, modules."""

from __future__ import annotations

from typing import Any

from convcore.formats.archive import Opaque
from convcore.formats.budgets import DEFAULT_BUDGETS
from convcore.formats.tree import Trail
from convcore.tensors.faults import Malformed
from convcore.tensors.lazy_tensor import LazyTensor

_NAMESPACES = {
    ("argparse", "Namespace"),
    ("types", "SimpleNamespace"),
    *(
        (module, "AttributeDict")
        for module in (
            "pytorch_lightning.utilities.parsing",
            "lightning.pytorch.utilities.parsing",
            "lightning_fabric.utilities.data",
            "lightning.fabric.utilities.data",
        )
    ),
}
_PATHS = {f"{pure}{kind}Path" for pure in ("", "Pure") for kind in ("", "Posix", "Windows")}


_MODULE_PARTS = 1_000_000


def as_mapping(value: Any) -> dict[Any, Any] | None:
    """A dictionary, namespace, attribute dictionary or DictConfig as a plain dictionary, or None.

    The values of a DictConfig are unwrapped all the way down; those of the others are as they are.
    """
    if isinstance(value, dict):
        return value
    if type(value) is not Opaque or value.how == "global":
        return None
    if (value.module, value.name) in _NAMESPACES:
        made: dict[Any, Any] = {}
        for pair in value.items:
            if type(pair) is tuple and len(pair) == 2 and type(pair[0]) is str:
                made[pair[0]] = pair[1]
        if isinstance(value.state, dict):
            made.update(value.state)
        return made | dict(value.kwargs)
    if is_omegaconf(value):
        tree = omegaconf_tree(value)
        return tree if isinstance(tree, dict) else None
    return None


def path_text(value: Opaque) -> str | None:
    """The text of a pickled ``pathlib`` path, or None; it never touches the disk."""
    if value.module not in ("pathlib", "pathlib._local") or value.name not in _PATHS:
        return None
    parts = [part for part in value.args if type(part) is str]
    if len(parts) != len(value.args) or value.how == "global":
        return None
    mark = "\\" if "Windows" in value.name else "/"
    if parts and parts[0].endswith(mark):
        return parts[0] + mark.join(parts[1:])
    return mark.join(parts) or "."


def is_omegaconf(value: Any) -> bool:
    """Whether a value is a pickled container or node of OmegaConf."""
    return (
        type(value) is Opaque
        and value.module.split(".", 1)[0] == "omegaconf"
        and isinstance(value.state, dict)
        and ("_content" in value.state or "_val" in value.state)
    )


def omegaconf_tree(value: Any) -> Any:
    """Unwrap ``_content`` and ``_val`` by a work list; interpolations and ``???`` stay text."""
    result: list[Any] = [None]
    made: dict[int, Any] = {}
    work: list[tuple[Any, Any, Any]] = [(value, result, 0)]
    for _ in range(DEFAULT_BUDGETS.nodes):
        if not work:
            return result[0]
        node, target, place = work.pop()
        if is_omegaconf(node):
            state = node.state
            inner = state["_content"] if "_content" in state else state["_val"]
            if id(inner) in made:
                inner = made[id(inner)]
            elif "_content" in state and isinstance(inner, dict):
                shell: Any = dict.fromkeys(inner)
                work.extend((item, shell, key) for key, item in inner.items())
                made[id(inner)] = inner = shell
            elif "_content" in state and isinstance(inner, list):
                shell = [None] * len(inner)
                work.extend((item, shell, index) for index, item in enumerate(inner))
                made[id(inner)] = inner = shell
            node = inner
        target[place] = node
    raise Malformed("an OmegaConf tree is too large").at("checkpoint")


def as_state_dict(value: Any) -> dict[str, LazyTensor] | None:
    """The state dict of a whole pickled ``nn.Module``, or None for anything else.

    Source: ``torch/nn/modules/module.py``, ``_save_to_state_dict``: parameters, then buffers
    except those in ``_non_persistent_buffers_set``, then the submodules in order.

    Raises:
        SourceError: A module contains itself, or holds a parameter that is no tensor.
    """
    if not _is_module(value):
        return None
    tensors: dict[str, LazyTensor] = {}
    stack: list[tuple[str, Any, int]] = [("", value, 0)]
    trail = Trail()
    steps = 0
    while stack:
        prefix, module, depth = stack.pop()
        state = module.state
        steps += 1 + len(state["_parameters"]) + len(state["_modules"])
        cycle = not trail.enter(module, depth)
        if cycle or depth > DEFAULT_BUDGETS.depth or steps > _MODULE_PARTS:
            raise _no_state(prefix[:200], "contains itself, or is nested beyond any network")
        hidden = state.get("_non_persistent_buffers_set") or ()
        for key, tensor in _entries(state, "_parameters", prefix):
            _keep(tensors, prefix + key, tensor)
        for key, tensor in _entries(state, "_buffers", prefix):
            if not (isinstance(hidden, (set, frozenset, list, tuple)) and key in hidden):
                _keep(tensors, prefix + key, tensor)
        inner = [
            (key, part) for key, part in _entries(state, "_modules", prefix) if part is not None
        ]
        for key, part in inner:
            if not _is_module(part):
                raise _no_state(prefix + key, "is a submodule without parameters of its own")
        stack.extend((f"{prefix}{key}.", part, depth + 1) for key, part in reversed(inner))
    return tensors


def _is_module(value: Any) -> bool:
    return (
        type(value) is Opaque
        and isinstance(value.state, dict)
        and all(isinstance(value.state.get(part), dict) for part in ("_parameters", "_modules"))
    )


def _entries(state: dict[Any, Any], part: str, prefix: str) -> list[tuple[str, Any]]:
    entries = state.get(part)
    if not isinstance(entries, dict) or not all(type(key) is str for key in entries):
        raise _no_state(prefix + part, "is no dictionary of names")
    return list(entries.items())


def _keep(tensors: dict[str, LazyTensor], key: str, value: Any) -> None:
    if value is None:
        return
    if type(value) is not LazyTensor:
        raise _no_state(key, f"is a {type(value).__name__}, not a tensor")
    tensors[key] = value


def _no_state(name: str, what: str) -> Exception:
    return Malformed(what, "save the state dict: torch.save(model.state_dict(), …)").at(
        "pickled module", name
    )

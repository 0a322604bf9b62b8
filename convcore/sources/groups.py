"""Every tensor of a file's tree in exactly one group, each group with what it may be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import attrs

from convcore.errors import SourceError
from convcore.formats import Opaque, as_mapping, as_state_dict, walk_tensors
from convcore.formats.budgets import DEFAULT_BUDGETS
from convcore.formats.tree import Trail, iter_parts, part_name
from convcore.formats.typed_storage import TypedStorage
from convcore.names import counted
from convcore.noun import Noun
from convcore.sources.names import key_text, turned_to_text, unlike
from convcore.sources.vocabulary import (
    ATTACHED,
    ATTRIBUTE_OF,
    any_parameter,
    is_generator_state,
    is_module,
    perhaps_training,
    training_by_content,
    training_by_name,
)
from convcore.tensors import LazyTensor
from convcore.tensors.faults import Malformed

_PLAIN = frozenset({str, int, float, bool, bytes, type(None), complex})
_TENSORS = (LazyTensor, TypedStorage)  # asked of every entry: X | Y would be made each time
_OF_MODULES = ("_parameters", "_buffers", "_modules")

Kind = Literal["mapping", "list", "module", "loose"]


class Placed(Noun):
    """Base of tensors that lie somewhere in a file.

    Attributes:
        path: Names of the entries that lead to them, from the top of the file.
        tensors: Name to tensor.
    """

    __slots__ = ()
    path: tuple[str, ...]
    tensors: Mapping[str, LazyTensor]

    @property
    def place(self) -> str:
        """Its path, spelt as ``--key`` takes it."""
        return ".".join(self.path)

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors written out."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


@attrs.frozen(eq=False, repr=False)
class Group(Placed):
    """The tensors that lie side by side in one mapping, list, object or pickled module.

    Attributes:
        path: Names of the entries that lead to it, from the top of the file.
        kind: What holds them; ``loose`` are those that no state dict of a module has.
        tensors: Name in the group to tensor, in the order of the file.
        places: The same names to their dotted places in the file.
        plain: Names of the entries beside them that are no tensors, with their types.
        training: What state of training it is, whatever it holds; "" for none.
        perhaps: What state of training it is, unless a network lies in it; "" for none.
        inside: Qualified name of the object that it is an attribute of; "" for none.
        module: Qualified name of the class of a whole module.
        said: What has to be told of it.
    """

    path: tuple[str, ...]
    kind: Kind
    tensors: Mapping[str, LazyTensor]
    places: Mapping[str, str]
    plain: Mapping[str, str] = attrs.field(factory=dict)
    training: str = ""
    perhaps: str = ""
    inside: str = ""
    module: str = ""
    said: tuple[str, ...] = ()

    @property
    def has_parameters(self) -> bool:
        """Whether a name ends like a parameter of a module."""
        return self.kind == "module" or (self.kind == "mapping" and any_parameter(self.tensors))

    def __str__(self) -> str:
        size = f"{counted(len(self.tensors), 'tensor')}, {self.nbytes:,} bytes"
        return f"{self.place or 'the top'} ({size})"


@attrs.frozen(eq=False, repr=False)
class _Step(Noun):
    """Where the walk is: a value, the way to it, and what is known of everything below."""

    value: Any
    path: tuple[str, ...] = ()
    training: str = ""
    perhaps: str = ""
    inside: str = ""


def scan(
    tree: Any, *, file: object, path: tuple[str, ...] = (), training: bool = True
) -> list[Group]:
    """Find every group of tensors of a tree, in the order of the file.

    A part that is shared is met under each of its names; one that contains itself is not entered
    again.

    Args:
        tree: What a file holds, or a part of it.
        file: For messages.
        path: The way to that part.
        training: Whether state of training is looked through, too.

    Raises:
        SourceError: The tree is nested too deeply, too large once shared parts are counted each
            time, or spells two keys of one mapping alike.
    """
    groups: list[Group] = []
    trail = Trail()
    stack: list[Iterator[_Step]] = [
        iter([_Step(tree, path, training_by_content(as_mapping(tree)))])
    ]
    count = [0]
    while stack:
        step = next(stack[-1], None)
        if step is None:
            stack.pop()
            continue
        depth = len(stack) - 1
        if step.training and not training:
            continue
        if isinstance(step.value, LazyTensor | TypedStorage):
            groups.append(_loose(step, {"": step.value}))
            stack.append(_attached(step.path, [("", step.value)]))
            continue
        if not trail.enter(step.value, depth):
            continue
        count[0] += 1
        if depth > DEFAULT_BUDGETS.depth or count[0] > DEFAULT_BUDGETS.nodes:
            deep = depth > DEFAULT_BUDGETS.depth
            limit = "nested too deeply" if deep else "too large when expanded"
            raise Malformed(f"the object tree is {limit}").at(file, ".".join(step.path)[:80])
        if is_module(step.value):
            groups.append(_whole_module(step))
            stack.append(_attributes(step))
            continue
        group = _own(step, count)
        if group is not None:
            groups.append(group)
        stack.append(_below(step))
    _bounded(groups, file)
    return list(_told_apart(groups))


def _told_apart(groups: list[Group]) -> Iterator[Group]:
    """Number places that are spelt alike: ``{"a.b": …, "a": {"b": …}}`` has two of them."""
    taken: set[str] = set()
    for group in groups:
        places = {name: unlike(place, taken) for name, place in group.places.items()}
        taken.update(places.values())
        yield group if places == group.places else attrs.evolve(group, places=places)


def _bounded(groups: list[Group], file: object) -> None:
    length = longest = 0
    for group in groups:
        for place in group.places.values():
            length += len(place)
            longest = max(longest, len(place))
    if longest > DEFAULT_BUDGETS.dotted_name:
        raise Malformed(f"a tensor name has {longest} characters").at(file)
    if length > DEFAULT_BUDGETS.text_bytes:
        raise Malformed("the names of the tensors are too long in all").at(file)


def _own(step: _Step, count: list[int]) -> Group | None:
    """Return the tensors that lie in a container itself."""
    value = step.value
    entries = as_mapping(value)
    listed = isinstance(value, list | tuple)
    if entries is None and not listed:
        # An object that nobody knows: its attributes.
        found = {part: item for part, item in iter_parts(value) if _is_tensor(item)}
        inside = step.inside or value.qualified_name if type(value) is Opaque else step.inside
        return _loose(attrs.evolve(step, inside=inside), found) if found else None
    pairs = entries.items() if entries is not None else enumerate(value)
    tensors: dict[str, LazyTensor] = {}
    plain: dict[str, str] = {}
    simple = 0
    for key, item in pairs:
        if type(item) in _PLAIN:
            simple += 1
        elif _is_tensor(item):
            name = key_text(key)
            if name in tensors:
                raise SourceError(
                    f"two tensors have keys that are spelt alike: {name[:200]!r}",
                    remedy="save the state dict again with a name of its own for each tensor",
                )
            tensors[name] = _as_tensor(item)
    count[0] += simple // 8
    if not tensors:
        return None
    said: tuple[str, ...] = ()
    if entries is not None and not step.training:
        said = tuple(turned_to_text(entries))
        plain = {
            key_text(key): _type_name(item) for key, item in entries.items() if _bare(key, item)
        }
    places = {name: _joined(step.path, name) for name in tensors}
    kind: Kind = "list" if listed else "mapping"
    return Group(
        step.path, kind, tensors, places, plain, step.training, step.perhaps, step.inside, said=said
    )


def _bare(key: Any, item: Any) -> bool:
    """Whether an entry beside tensors is a value that a state dict has and no tensor shows."""
    if type(item) in _PLAIN:
        return True
    # Extra state is whatever a module's author makes it: bytes, a number, a dictionary.
    extra = isinstance(key, str) and key.endswith("_extra_state")
    object_ = type(item) is Opaque and as_mapping(item) is None
    return (extra or object_) and not any(True for _ in walk_tensors(item))


def _type_name(item: Any) -> str:
    return item.qualified_name if type(item) is Opaque else type(item).__name__


def _loose(step: _Step, found: Mapping[str, Any]) -> Group:
    tensors = {name: _as_tensor(item) for name, item in found.items()}
    places = {name: _joined(step.path, name) for name in tensors}
    return Group(step.path, "loose", tensors, places, {}, step.training, step.perhaps, step.inside)


def _joined(path: tuple[str, ...], name: str) -> str:
    return ".".join((*path, name)) if name else ".".join(path)


def _is_tensor(item: Any) -> bool:
    return isinstance(item, _TENSORS)


def _as_tensor(item: Any) -> LazyTensor:
    return item if isinstance(item, LazyTensor) else item.tensor()


def _below(step: _Step) -> Iterator[_Step]:
    """Yield the containers inside one, each with what its name and content say of it."""
    value = step.value
    mapping = as_mapping(value)
    inside = step.inside
    if type(value) is Opaque and mapping is None:
        inside = inside or value.qualified_name
    # Of a container with tensors of its own the parts have their names from ``_own``.
    parts = iter_parts(value) if mapping is None else _named(mapping)
    for name, item in parts:
        if _is_tensor(item):
            yield from _attached(step.path, [(name, item)])
            continue
        if type(item) in _PLAIN:
            continue
        path = (*step.path, name)
        if step.training:  # whatever lies in state of training is part of it
            yield _Step(item, path, step.training, step.perhaps, inside)
            continue
        training = training_by_content(as_mapping(item)) or training_by_name(name)
        yield _Step(item, path, training, step.perhaps or perhaps_training(name), inside)


def _named(mapping: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    return ((part_name(key), item) for key, item in mapping.items())


def _whole_module(step: _Step) -> Group:
    state = as_state_dict(step.value) or {}
    places = {name: _joined(step.path, name) for name in state}
    return Group(
        step.path,
        "module",
        state,
        places,
        {},
        step.training,
        step.perhaps,
        step.inside,
        step.value.qualified_name,
    )


def _attributes(step: _Step) -> Iterator[_Step]:
    """Yield what a module holds and its state dict does not: attributes, hidden buffers."""
    stack = [(step.path, step.value)]
    while stack:
        path, module = stack.pop()
        reason = f"{ATTRIBUTE_OF}{module.qualified_name}"
        hidden = module.state.get("_non_persistent_buffers_set") or ()
        for name, item in iter_parts(module):
            if name == "_modules":
                inner = [((*path, key), part) for key, part in item.items() if part is not None]
                stack.extend(reversed(inner))
            elif name == "_parameters" and isinstance(item, dict):
                yield from _attached(path, item.items())
            elif name == "_buffers" and isinstance(item, dict):
                yield from _attached(path, item.items())
                for key, buffer in item.items():
                    if buffer is not None and key in hidden:
                        yield _Step(buffer, (*path, str(key)), reason)
            elif name not in _OF_MODULES and type(item) not in _PLAIN:
                yield _Step(item, (*path, name), reason)


def _attached(path: tuple[str, ...], items: Iterable[tuple[str, Any]]) -> Iterator[_Step]:
    """Yield what was saved as attributes of tensors."""
    for name, item in items:
        if isinstance(item, LazyTensor) and item.attached is not None:
            yield _Step(item.attached, (*path, name) if name else path, ATTACHED)


def generator_states(group: Group) -> list[str]:
    """Return the names of a group's tensors that are states of random number generators."""
    return [name for name, tensor in group.tensors.items() if is_generator_state(tensor)]

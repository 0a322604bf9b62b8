"""Layouts without Python: a TOML file says which keys form which component.

A network is named as ``package.module:Callable`` in the user's own file or with ``--config`` on
their command line, and nowhere else: what a checkpoint or a manifest says is never imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from convcore.errors import UsageError
from convcore.layout_file.draft import suggest as suggest
from convcore.layout_file.fields import (
    Faults,
    anything,
    file_name,
    flag,
    one_of,
    shape,
    text,
    texts,
)
from convcore.model import Axis, Component, Graph, Layout, LayoutMatch, Schema
from convcore.names import legal_component, nearest
from convcore.settings import Settler

if TYPE_CHECKING:
    import torch

_CALLABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_LARGEST = 4 << 20


def _callable(value: Any) -> str:
    name = text(value)
    if not _CALLABLE.fullmatch(name):
        raise ValueError(f"{name!r} is not of the form package.module:Callable")
    return name


def _component_name(value: Any) -> str:
    try:
        return legal_component(text(value))
    except UsageError as error:
        raise ValueError(error.what) from error


_LAYOUT = {
    "name": _component_name,
    "summary": text,
    "automatic": flag,
    "sidecars": lambda value: tuple(file_name(name) for name in texts(value)),
    "state_dict_file": file_name,
    "components": anything,
    "graphs": anything,
    "shapes": anything,
    "optional": texts,
}
_COMPONENT = {
    "keys": texts,
    "role": one_of("inference", "training"),
    "required": flag,
    "file": _component_name,
    "drop": anything,
    "whole_names": flag,
    "keep": text,
}
_GRAPH = {
    "components": texts,
    "network": _callable,
    "arguments": anything,
    "inputs": anything,
    "outputs": anything,
    "role": one_of("inference", "training"),
}
_AXIS = {"name": _component_name, "shape": shape, "dtype": one_of("float32", "int64")}


@attrs.frozen
class _Drawing:
    """One graph as the file draws it; sizes and the network are filled in for each match."""

    name: str
    components: tuple[str, ...]
    inputs: tuple[Axis, ...]
    outputs: tuple[Axis, ...]
    network: str | None = None
    arguments: Mapping[str, Any] = attrs.field(factory=dict)
    role: Any = "inference"

    @property
    def option(self) -> str:
        """The ``--config`` name under which the command line may name its network."""
        return f"network.{self.name}"


def layouts_from_toml(*paths: Path) -> list[Layout]:
    """Read layouts that a plugin ships as TOML files; what its ``convcore_layouts`` returns.

    Raises:
        UsageError: A file cannot be read or is at fault; all its faults are named.
    """
    return [read_layout(Path(path)) for path in paths]


def read_layout(path: Path) -> Layout:
    """Read one layout from a TOML file.

    Raises:
        UsageError: The file cannot be read or is at fault; all its faults are named.
    """
    content = _content(path)
    faults = Faults(path)
    given = faults.table(content, "", _LAYOUT, ("name", "components"))
    components = list(_components(given.get("components", {}), faults))
    drawings = list(_drawings(given.get("graphs", {}), components, faults))
    schema = _schema(given, faults)
    faults.settle()
    named: dict[str, str] = {}

    def configure(match: LayoutMatch, settler: Settler) -> None:
        for drawing in drawings:
            chosen = settler.from_option(drawing.option, _callable)
            if chosen is not None:
                # Not read back from the settings, which may come from somebody's manifest.
                named[drawing.name] = chosen

    def graphs(match: LayoutMatch) -> Iterable[Graph]:
        for drawing in drawings:
            if all(part in match.states for part in drawing.components):
                yield _graph(drawing, match, named.get(drawing.name, drawing.network))

    return Layout(
        given["name"],
        given.get("summary", f"described by {path.name}"),
        components,
        schema=None if schema is None else lambda _: schema,
        configure=configure,
        graphs=graphs,
        sidecars=given.get("sidecars", ()),
        options={d.option: f"package.module:Callable that computes {d.name}" for d in drawings},
        state_dict_file=given.get("state_dict_file", "state_dict.pth"),
        automatic=given.get("automatic", True),
    )


def _content(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ValueError(f"it is larger than {_LARGEST:,} bytes")
        return tomllib.loads(data.decode())
    except (OSError, ValueError, RecursionError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise UsageError(
            f"{path} cannot be read as TOML: {said}",
            remedy="correct the file; convcore inspect CHECKPOINT --suggest-layout prints a draft",
        ) from error


def _components(tables: Any, faults: Faults) -> Iterable[Component]:
    if not isinstance(tables, dict) or not tables:
        faults.add("components", "at least one table [components.NAME] belongs here")
        return
    for name, table in tables.items():
        where = f"components.{name}"
        read = faults.table(table, where, _COMPONENT, ("keys",))
        drop = read.get("drop", {})
        if not isinstance(drop, dict) or not all(isinstance(v, str) for v in drop.values()):
            faults.add(f"{where}.drop", "a table from key pattern to reason belongs here")
            continue
        try:
            _component_name(name)
            if "keys" in read:
                yield Component(name, **read)
        except ValueError as error:
            faults.add(where, str(error))


def _drawings(tables: Any, parts: list[Component], faults: Faults) -> Iterable[_Drawing]:
    if not isinstance(tables, dict):
        faults.add("graphs", "tables [graphs.NAME] belong here")
        return
    known = [part.name for part in parts]
    for name, table in tables.items():
        where = f"graphs.{name}"
        read = faults.table(table, where, _GRAPH, ("inputs", "outputs"))
        components = read.pop("components", (name,))
        for part in components:
            if part not in known:
                hint = nearest(part, known) or (f"components: {', '.join(known)}",)
                faults.add(where, f"there is no component {part!r}; {hint[0]}")
        if not isinstance(read.get("arguments", {}), dict):
            faults.add(f"{where}.arguments", "a table belongs here")
        inputs = tuple(_axes(read.pop("inputs", []), f"{where}.inputs", faults))
        outputs = tuple(_axes(read.pop("outputs", []), f"{where}.outputs", faults))
        try:
            yield _Drawing(_component_name(name), components, inputs, outputs, **read)
        except ValueError as error:
            faults.add(where, str(error))


def _axes(given: Any, where: str, faults: Faults) -> Iterable[Axis]:
    if not isinstance(given, list) or not given:
        faults.add(where, "a list of tables belongs here, such as [{name = 'x', shape = [1]}]")
        return
    for table in given:
        read = faults.table(table, where, _AXIS, ("name", "shape"))
        if {"name", "shape"} <= read.keys():
            yield Axis(**read)


def _schema(given: Mapping[str, Any], faults: Faults) -> Schema | None:
    if "shapes" not in given:
        return None
    read = {}
    if not isinstance(given["shapes"], dict):
        faults.add("shapes", "a table from key to shape belongs here")
        return None
    for key, value in given["shapes"].items():
        try:
            read[key] = shape(value)
        except ValueError as error:
            faults.add(f"shapes.{key}", str(error))
    try:
        return Schema(read, given.get("optional", ()))
    except ValueError as error:
        faults.add("shapes", str(error))
        return None


def _graph(drawing: _Drawing, match: LayoutMatch, named: str | None) -> Graph:
    def network() -> torch.nn.Module:
        return _made(drawing, named, {k: _sized(v, match) for k, v in drawing.arguments.items()})

    return Graph(
        drawing.name,
        drawing.components,
        tuple(attrs.evolve(axis, shape=_shaped(axis, match)) for axis in drawing.inputs),
        tuple(attrs.evolve(axis, shape=_shaped(axis, match)) for axis in drawing.outputs),
        network,
        role=drawing.role,
        refusal=None if named else "nobody says which class computes it",
        missing=() if named else (drawing.option,),
    )


def _shaped(axis: Axis, match: LayoutMatch) -> tuple[int | str, ...]:
    return tuple(_sized(size, match) for size in axis.shape)


def _sized(value: Any, match: LayoutMatch) -> Any:
    """Put in a solved size where the file refers to one, as ``"$D"``."""
    if not isinstance(value, str) or not value.startswith("$"):
        return value
    if value[1:] not in match.sizes:
        raise UsageError(
            f"{match.layout.name} has no size {value[1:]!r}",
            seen=(f"sizes: {', '.join(match.sizes) or 'none'}", *nearest(value[1:], match.sizes)),
            remedy="use a size that [shapes] of the layout file names",
        )
    return match.sizes[value[1:]]


def _made(drawing: _Drawing, named: str | None, arguments: Mapping[str, Any]) -> torch.nn.Module:
    from importlib import import_module

    import torch

    if named is None:
        raise UsageError(
            f"nobody says which class computes {drawing.name}",
            remedy=f"give --config {drawing.option}=package.module:Callable",
        )
    module, _, path = named.partition(":")
    try:
        found: Any = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
        made = found(**arguments)
    except Exception as error:
        raise UsageError(
            f"the network {named} of {drawing.name} cannot be made: {error!r}",
            remedy="install its package, or put its folder on PYTHONPATH, and check the arguments",
        ) from error
    if not isinstance(made, torch.nn.Module):
        raise UsageError(
            f"{named} of {drawing.name} made a {type(made).__name__}, not a torch module",
            remedy="name a class of torch.nn.Module, or a function that returns one",
        )
    return made

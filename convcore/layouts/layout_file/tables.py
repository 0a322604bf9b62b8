"""The tables of a layout file: what may stand in them, and the nouns they describe."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from convcore.errors import UsageError
from convcore.layouts.assumption import Assumption
from convcore.layouts.graph import Axis
from convcore.layouts.layout import Component, Schema
from convcore.layouts.layout_file.drawing import Drawing
from convcore.layouts.layout_file.fields import (
    Faults,
    anything,
    file_name,
    flag,
    interval,
    one_of,
    scalar,
    scalars,
    shape,
    text,
    texts,
)
from convcore.names import legal_component, nearest

_CALLABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


def callable_name(value: Any) -> str:
    """Check ``package.module:Callable``; ValueError for anything else."""
    name = text(value)
    if not _CALLABLE.fullmatch(name):
        raise ValueError(f"{name!r} is not of the form package.module:Callable")
    return name


def _component_name(value: Any) -> str:
    try:
        return legal_component(text(value))
    except UsageError as error:
        raise ValueError(error.what) from error


LAYOUT = {
    "name": _component_name,
    "summary": text,
    "automatic": flag,
    "sidecars": lambda value: tuple(file_name(name) for name in texts(value)),
    "state_dict_file": file_name,
    "components": anything,
    "graphs": anything,
    "shapes": anything,
    "optional": texts,
    "assumes": anything,
    "known": texts,
}
_ASSUMPTION = {
    "value": scalar,
    "summary": text,
    "stated": texts,
    "also": scalars,
    "between": interval,
    "graphs": texts,
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
    "network": callable_name,
    "arguments": anything,
    "inputs": anything,
    "outputs": anything,
    "role": one_of("inference", "training"),
}
_AXIS = {"name": _component_name, "shape": shape, "dtype": one_of("float32", "int64")}


def read_components(tables: Any, faults: Faults) -> Iterable[Component]:
    """Yield what the tables ``[components.NAME]`` describe; faults are collected."""
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


def read_drawings(tables: Any, parts: list[Component], faults: Faults) -> Iterable[Drawing]:
    """Yield what the tables ``[graphs.NAME]`` describe; faults are collected."""
    if not isinstance(tables, dict):
        faults.add("graphs", "tables [graphs.NAME] belong here")
        return
    known = [part.name for part in parts]
    for name, table in tables.items():
        where = f"graphs.{name}"
        read = faults.table(table, where, _GRAPH, ("inputs", "outputs"))
        components = read.pop("components", (name,))
        _known("component", components, known, where, faults)
        if not isinstance(read.get("arguments", {}), dict):
            faults.add(f"{where}.arguments", "a table belongs here")
        inputs = tuple(_axes(read.pop("inputs", []), f"{where}.inputs", faults))
        outputs = tuple(_axes(read.pop("outputs", []), f"{where}.outputs", faults))
        try:
            yield Drawing(_component_name(name), components, inputs, outputs, **read)
        except ValueError as error:
            faults.add(where, str(error))


def _known(kind: str, names: Iterable[str], known: list[str], where: str, faults: Faults) -> None:
    """Note every name that no table of the file declares."""
    for name in names:
        if name not in known:
            hint = nearest(name, known) or (f"{kind}s: {', '.join(known) or 'none'}",)
            faults.add(where, f"there is no {kind} {name!r}; {hint[0]}")


def read_assumptions(tables: Any, drawings: list[Drawing], faults: Faults) -> Iterable[Assumption]:
    """Yield what the tables ``[assumes.NAME]`` describe; faults are collected."""
    if not isinstance(tables, dict):
        faults.add("assumes", "tables [assumes.NAME] belong here")
        return
    known = [drawing.name for drawing in drawings]
    for name, table in tables.items():
        where = f"assumes.{name}"
        read = faults.table(table, where, _ASSUMPTION, ("value",))
        _known("graph", read.get("graphs", ()), known, where, faults)
        try:
            _component_name(name)
            if "value" in read:
                made = Assumption(name, summary=read.pop("summary", name), **read)
                made.understand(made.value)
                yield made
        except ValueError as error:
            faults.add(where, f"its own value is none that the network computes: {error}")


def _axes(given: Any, where: str, faults: Faults) -> Iterable[Axis]:
    if not isinstance(given, list) or not given:
        faults.add(where, "a list of tables belongs here, such as [{name = 'x', shape = [1]}]")
        return
    for table in given:
        read = faults.table(table, where, _AXIS, ("name", "shape"))
        if {"name", "shape"} <= read.keys():
            yield Axis(**read)


def read_schema(given: Mapping[str, Any], faults: Faults) -> Schema | None:
    """Read ``[shapes]`` and what is optional of them; None where the file has none."""
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

"""What single tables of a layout file do not show: entries that contradict one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from convcore.layouts.assumption import Assumption
from convcore.layouts.layout import Component, Schema
from convcore.layouts.layout_file.drawing import Drawing
from convcore.layouts.layout_file.fields import Faults
from convcore.names import nearest
from convcore.validators import SIZE


def contradictions(
    given: Mapping[str, Any],
    components: Sequence[Component],
    drawings: Sequence[Drawing],
    schema: Schema | None,
    assumes: Sequence[Assumption],
    faults: Faults,
) -> None:
    """Note every contradiction between the tables of one file."""
    _components(components, faults)
    if schema is None and "optional" in given:
        faults.add("optional", "it says which keys of [shapes] may be absent; there is no [shapes]")
    if schema is not None:
        for key in sorted(schema.optional - schema.shapes.keys()):
            hint = nearest(key, schema.shapes) or ("it is not there",)
            faults.add("optional", f"{key!r} is no key of [shapes]; {hint[0]}")
    known = {*_sizes(schema), *(each.name for each in assumes)}
    for drawing in drawings:
        _drawing(drawing, known, faults)


def _components(components: Sequence[Component], faults: Faults) -> None:
    owners: dict[str, str] = {}
    files: dict[str, str] = {}
    for part in components:
        where = f"components.{part.name}"
        for pattern in part.keys:
            if pattern in owners:
                faults.add(where, f"{owners[pattern]} has the keys {pattern!r} already")
            owners.setdefault(pattern, part.name)
        file = (part.file or part.name).casefold()
        if file in files:
            faults.add(where, f"its files would have the name of those of {files[file]}")
        files.setdefault(file, part.name)


def _drawing(drawing: Drawing, known: set[str], faults: Faults) -> None:
    where = f"graphs.{drawing.name}"
    ends = (*drawing.inputs, *drawing.outputs)
    for name, times in Counter(axis.name for axis in ends).items():
        if times > 1:
            faults.add(where, f"{times} inputs and outputs are called {name!r}")
    sizes = [size for axis in ends for size in axis.shape]
    for value in (*sizes, *drawing.arguments.values()):
        if isinstance(value, str) and value.startswith("$") and value[1:] not in known:
            hint = nearest(value[1:], known) or (f"sizes: {', '.join(sorted(known)) or 'none'}",)
            faults.add(
                where, f"{value!r} is no size of [shapes] and nothing of [assumes]; {hint[0]}"
            )


def _sizes(schema: Schema | None) -> Iterable[str]:
    for shape in schema.shapes.values() if schema else ():
        for axis in shape:
            found = SIZE.fullmatch(axis) if isinstance(axis, str) else None
            if found:
                yield found[2]

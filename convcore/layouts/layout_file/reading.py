"""Layouts without Python: a TOML file says which keys form which component.

A network is named as ``package.module:Callable`` in the user's own file or with ``--config`` on
their command line, and nowhere else: what a checkpoint or a manifest says is never imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Self

from convcore.layouts.graph import Graph
from convcore.layouts.layout import Layout, LayoutMatch
from convcore.layouts.layout_file.consistent import contradictions
from convcore.layouts.layout_file.draft import suggest as suggest
from convcore.layouts.layout_file.fields import Faults
from convcore.layouts.layout_file.tables import (
    LAYOUT,
    callable_name,
    read_assumptions,
    read_components,
    read_drawings,
    read_schema,
)
from convcore.layouts.settings import Settler
from convcore.toml import read_toml

_REMEDY = "correct the file; convcore inspect CHECKPOINT --suggest-layout prints a draft"


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
    content = read_toml(path, remedy=_REMEDY)
    faults = Faults(path)
    given = faults.table(content, "", LAYOUT, ("name", "components"))
    components = list(read_components(given.get("components", {}), faults))
    drawings = list(read_drawings(given.get("graphs", {}), components, faults))
    schema = read_schema(given, faults)
    assumes = tuple(read_assumptions(given.get("assumes", {}), drawings, faults))
    contradictions(given, components, drawings, schema, assumes, faults)
    faults.settle()

    def configure(match: LayoutMatch, settler: Settler) -> None:
        for drawing in drawings:
            settler.from_option(drawing.option, _Named)

    def graphs(match: LayoutMatch) -> Iterable[Graph]:
        for drawing in drawings:
            if all(part in match.states for part in drawing.components):
                chosen = match.settings.get(drawing.option)
                # Of this command's option, and not of the settings in somebody's manifest.
                own = isinstance(chosen and chosen.value, _Named)
                yield drawing.graph(match, chosen.value if chosen and own else drawing.network)

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
        assumes=assumes,
        known=given.get("known", ()),
    )


class _Named(str):
    """A network's name that was typed in this command; what is read from a file is plain text."""

    def __new__(cls, text: str) -> Self:
        return super().__new__(cls, callable_name(text))

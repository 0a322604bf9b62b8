"""A model family, and what it makes of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from convcore import validators as legal
from convcore.layouts.assumption import Assumption
from convcore.noun import Noun

if TYPE_CHECKING:
    from convcore.layouts.settings import Settler
    from convcore.tensors import LazyTensor, TensorSpec
from convcore.layouts.graph import Graph, Role, Shape
from convcore.sources.source import Checkpoint

# Who declares a layout that comes from a file of the user's and from no plugin.
LAYOUT_FILE = "--layout-file"

Origin = Literal[
    "option", "file", "shape", "hyper_parameters", "dataset", "default", "guess", "unknown"
]


# Plain typed functions as converters, because mypy cannot see through converter=tuple.
def _strings(keys: str | Iterable[str]) -> tuple[str, ...]:
    return (keys,) if isinstance(keys, str) else tuple(keys)


def _names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


def _assumptions(assumptions: Iterable[Assumption]) -> tuple[Assumption, ...]:
    return tuple(assumptions)


def _parts(parts: Iterable[Component]) -> tuple[Component, ...]:
    return tuple(parts)


@attrs.frozen(eq=False, repr=False)
class Component(Noun):
    """One network, or a group of loose parameters, of a layout.

    Attributes:
        name: Also the stem of its weight file, unless ``file`` says otherwise.
        keys: What belongs to it: ``"generator_AB."`` (a prefix, ends with a dot), ``"alpha"`` (one
            key) or a pattern with ``*`` (any text). The longest pattern that fits a key wins.
        role: ``training`` components (discriminators) are not exported to ONNX by default.
        required: Whether a checkpoint without it is not of this layout.
        file: Stem of its weight file where the origin has its own name.
        drop: Key patterns never written to component files, with the reason.
        whole_names: Whether its files keep the prefix that all its keys share.
        prefix: What its files leave out of every key; None leaves out what all of them share.
        keep: End of that prefix which its files keep because the origin's do: ``"model."`` keeps
            everything from the first ``model.`` below the component's own prefix on.
    """

    name: str = attrs.field(validator=legal.stem)
    keys: tuple[str, ...] = attrs.field(converter=_strings)
    role: Role = attrs.field(default="inference", validator=legal.word("inference", "training"))
    required: bool = True
    file: str | None = attrs.field(default=None, validator=legal.stem)
    drop: Mapping[str, str] = attrs.field(factory=dict)
    whole_names: bool = False
    keep: str = attrs.field(default="", validator=legal.prefix)
    prefix: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.keep and self.whole_names:
            raise ValueError(f"whole_names keeps all of a name: leave out keep={self.keep!r}")


@attrs.frozen(eq=False, repr=False)
class Schema(Noun):
    """Every key a configuration has, with symbolic sizes; see ``convcore.layouts.schema.solve``.

    Attributes:
        shapes: Key to shape; an axis is a number or a size such as ``"D"``, ``"3*D"``, ``"H//2"``.
        optional: Keys that may be absent (``num_batches_tracked`` may be absent everywhere).
    """

    shapes: Mapping[str, Shape] = attrs.field(validator=legal.shapes)
    optional: frozenset[str] = attrs.field(default=frozenset(), converter=_names)


@attrs.frozen(eq=False, repr=False)
class Setting(Noun):
    """One configuration value and where it comes from."""

    value: Any
    origin: Origin


@attrs.frozen(eq=False, repr=False)
class LayoutMatch(Noun):
    """A layout that explains a checkpoint.

    Attributes:
        layout: The model family.
        checkpoint: What was read.
        states: Component name to its tensors, under their names in the checkpoint.
        sizes: Sizes solved from the tensors (``{"d": 40, "h0": 128}``).
        settings: Configuration values, each with its origin.
        evidence: Sentences: why this layout, what contradicts what.
        sidecars: Output name to path of the files that travel along.
        extra: Keys inside a component that the schema does not know.
        dropped: Tensor name to reason, for keys never written to component files.
    """

    layout: Layout
    checkpoint: Checkpoint
    states: Mapping[str, Mapping[str, LazyTensor]] = attrs.field(eq=False, repr=False)
    sizes: Mapping[str, int] = attrs.field(factory=dict)
    settings: Mapping[str, Setting] = attrs.field(factory=dict)
    evidence: tuple[str, ...] = ()
    sidecars: Mapping[str, Path] = attrs.field(factory=dict)
    extra: tuple[str, ...] = ()
    dropped: Mapping[str, str] = attrs.field(factory=dict)

    def value(self, name: str) -> Any:
        """Value of a setting, or what the layout assumes; KeyError for a name it never set."""
        if name not in self.settings:  # an output of an earlier version, which did not settle it
            for assumption in self.layout.assumes:
                if assumption.name == name:
                    return assumption.value
        return self.settings[name].value

    def otherwise(self, *names: str) -> dict[str, Any]:
        """Those settings whose value is another than the layout assumes, for a network's call."""
        return {
            each.name: self.value(each.name)
            for each in self.layout.assumes
            if each.name in names and self.value(each.name) != each.value
        }

    def graphs(self) -> tuple[Graph, ...]:
        """What it can be exported to; a graph that lacks what it assumes is refused."""
        return tuple(_unless_contradicted(graph, self) for graph in self.layout.graphs(self))


def _unless_contradicted(graph: Graph, match: LayoutMatch) -> Graph:
    """Refuse a graph that computes with a value the checkpoint says is another."""
    if graph.refusal is not None and not graph.missing:
        return graph
    lacking = tuple(
        each.name
        for each in match.layout.assumes
        if each.value is not None
        and each.concerns(graph.name, graph.components)
        and each.name in match.settings
        and match.value(each.name) is None
    )
    if not lacking:
        return graph
    said = [line for line in match.evidence if any(f"--config {n}=" in line for n in lacking)]
    why = "; ".join((*([graph.refusal] if graph.refusal else ()), *said)) or "not settled"
    return attrs.evolve(graph, refusal=why, missing=(*graph.missing, *lacking))


def _no_graphs(match: LayoutMatch) -> Iterable[Graph]:
    return ()


@attrs.frozen(eq=False, repr=False)
class Layout(Noun):
    """What one training code base writes: its components, configuration and graphs.

    Attributes:
        name: As in ``--layout``.
        summary: One line for ``convcore plugins``.
        components: What a checkpoint splits into.
        schema: All keys and symbolic shapes, given the tensors that are there; None checks nothing
            beyond the required components.
        configure: Settles the settings (and says so in the evidence) with a ``Settler``.
        graphs: The functions this checkpoint can be exported to.
        sidecars: Names looked for beside the checkpoint and one folder up, copied along.
        options: Names ``--config`` takes for this layout, each with one line of help; those of
            ``assumes`` come by themselves.
        weights: Shapes a component's weight file: ``(match, component) -> tree`` with
            ``LazyTensor`` leaves; None writes the flat state dict.
        documents: More JSON files to write: name to content; ``model_config.json`` (the settings'
            values) is written unless given here.
        state_dict_file: Name of the file ``--to state-dict`` writes.
        example: Path of a jinja2 template for ``inference_example.py``; None uses the engine's.
        nets: Path of the self-contained torch source that the example for ``.pth`` embeds.
        automatic: False for a layout chosen only by name.
        assumes: What no tensor shows and the graphs compute with. Those that ``configure`` leaves
            open are settled after it.
        known: Hyper-parameters that training may store and no graph depends on (``"lr*"``,
            ``"optimizer."``), dotted where they lie deeper. Those that are neither here, nor
            assumed, nor asked for by name are told as evidence.
    """

    name: str = attrs.field(validator=legal.name)
    summary: str
    components: tuple[Component, ...] = attrs.field(
        converter=_parts, validator=legal.series_of(lambda: Component)
    )
    schema: Callable[[Mapping[str, TensorSpec]], Schema] | None = attrs.field(
        default=None, eq=False, repr=False, validator=legal.function
    )
    configure: Callable[[LayoutMatch, Settler], None] | None = attrs.field(
        default=None, eq=False, repr=False, validator=legal.function
    )
    graphs: Callable[[LayoutMatch], Iterable[Graph]] = attrs.field(
        default=_no_graphs, eq=False, repr=False, validator=legal.function
    )
    sidecars: tuple[str, ...] = attrs.field(default=(), converter=_strings)
    options: Mapping[str, str] = attrs.field(factory=dict)
    weights: Callable[[LayoutMatch, str], Mapping[str, Any]] | None = attrs.field(
        default=None, eq=False, repr=False, validator=legal.function
    )
    documents: Callable[[LayoutMatch], Mapping[str, Any]] | None = attrs.field(
        default=None, eq=False, repr=False, validator=legal.function
    )
    state_dict_file: str = attrs.field(default="state_dict.pth", validator=legal.stem)
    example: Path | None = None
    nets: Path | None = None
    automatic: bool = True
    assumes: tuple[Assumption, ...] = attrs.field(
        default=(), converter=_assumptions, validator=legal.series_of(lambda: Assumption)
    )
    known: tuple[str, ...] = attrs.field(default=(), converter=_strings)

    @property
    def takes(self) -> Mapping[str, str]:
        """Every name that ``--config`` takes for this layout, with its help."""
        assumed = {each.name: each.help for each in self.assumes}
        return {**assumed, **self.options}

"""The nouns of a conversion, from file to report; frozen, and free of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from convcore import legal
from convcore.assumption import Assumption
from convcore.noun import Noun

if TYPE_CHECKING:
    import numpy as np
    import torch

    from convcore.archive import Archive, LazyTensor, TensorSpec
    from convcore.settings import Settler

Role = Literal["inference", "training"]
Origin = Literal[
    "option", "file", "shape", "hyper_parameters", "dataset", "default", "guess", "unknown"
]
Shape = tuple[int | str, ...]


# Plain typed functions as converters, because mypy cannot see through converter=tuple.
def _strings(keys: str | Iterable[str]) -> tuple[str, ...]:
    return (keys,) if isinstance(keys, str) else tuple(keys)


def _names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


def _axes(shape: Iterable[int | str]) -> Shape:
    return tuple(shape)  # a Size among them stays one


def _ends(ends: Axis | Iterable[Axis]) -> tuple[Axis, ...]:
    return (ends,) if isinstance(ends, Axis) else tuple(ends)


def _assumptions(assumptions: Iterable[Assumption]) -> tuple[Assumption, ...]:
    return tuple(assumptions)


def _parts(parts: Iterable[Component]) -> tuple[Component, ...]:
    return tuple(parts)


@attrs.frozen(eq=False, repr=False)
class Input(Noun):
    """What the user pointed at, as a source sees it.

    Attributes:
        path: A file or a folder.
        archive: The opened file; None for a folder.
        key: ``--key``, dotted path of the state dict to take; None to find it.
        config: ``--config`` values by name.
        allow_opaque_calls: Whether files that name code-running callables may be read.
    """

    path: Path
    archive: Archive | None = None
    key: str | None = None
    config: Mapping[str, str] = attrs.field(factory=dict)
    allow_opaque_calls: bool = False

    def open(self, path: Path) -> Archive:
        """Open another file of the same input (a folder's part) under the same rules.

        Raises:
            SourceError: It is no checkpoint, or a link that leads out of the input's folder.
        """
        from convcore.archive import open_archive
        from convcore.archive.links import within

        folder = self.path if self.path.is_dir() else self.path.parent
        within(path, folder if path.is_relative_to(folder) else path.parent)
        return open_archive(path, allow_opaque_calls=self.allow_opaque_calls)


@attrs.frozen(eq=False, repr=False)
class Checkpoint(Noun):
    """Named tensors, whatever the envelope was.

    Attributes:
        path: What was read: file or folder.
        source: Name of the source that read it.
        format: Format of the bytes, see ``Archive``.
        tensors: The model's state dict, flat: name to ``LazyTensor``, wrapper prefixes stripped.
        rest: What the file holds beside the state dict (optimizer moments and so on); the tensors
            in it are never written, and accounted for in the ledger.
        hyper_parameters: What training stored of its configuration; values may be ``Opaque``.
        metadata: Everything else worth telling (epoch, versions, run name).
        sidecars: Files beside the checkpoint that belong to it: output name to path.
        evidence: Sentences saying how the file was understood.
        opaque: Qualified names met and not imported, with how often.
        renamed: Name in ``tensors`` to the key in the file, where a wrapper's prefix was removed.
    """

    path: Path
    source: str
    format: str
    tensors: Mapping[str, LazyTensor] = attrs.field(eq=False, repr=False)
    rest: Any = attrs.field(default=None, eq=False, repr=False)
    hyper_parameters: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)
    metadata: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)
    sidecars: Mapping[str, Path] = attrs.field(factory=dict, eq=False, repr=False)
    evidence: tuple[str, ...] = ()
    opaque: Mapping[str, int] = attrs.field(factory=dict, eq=False, repr=False)
    renamed: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False)

    def original(self, name: str) -> str:
        """The key in the file of a tensor, wrapper prefixes included."""
        return self.renamed.get(name, name)


@attrs.frozen(eq=False, repr=False)
class Source(Noun):
    """One way a training code base wraps its weights.

    Attributes:
        name: As in ``--source``.
        summary: One line for ``convcore plugins``.
        read: Returns the checkpoint, or None for "not mine"; raises ``SourceError`` for "mine and
            broken".
        refines: Names of sources of which this one is a special case; it wins over them.
        runs: Given a folder, the checkpoints of several runs below it; None where this source knows
            no such folder. A folder that is itself one checkpoint has none.
    """

    name: str = attrs.field(validator=legal.name)
    summary: str
    read: Callable[[Input], Checkpoint | None] = attrs.field(
        eq=False, repr=False, validator=legal.function
    )
    refines: frozenset[str] = attrs.field(default=frozenset(), converter=_names)
    runs: Callable[[Path], Sequence[Path]] | None = attrs.field(
        default=None, eq=False, repr=False, validator=legal.function
    )


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

    def __attrs_post_init__(self) -> None:
        if self.keep and self.whole_names:
            raise ValueError(f"whole_names keeps all of a name: leave out keep={self.keep!r}")


@attrs.frozen(eq=False, repr=False)
class Schema(Noun):
    """Every key a configuration has, with symbolic sizes; see ``convcore.schema.solve``.

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


class Size(str):
    """Name of a dynamic axis of which not every size is legal; equal to the plain name.

    Attributes:
        least: Its smallest size (a convolution without padding needs as much as its kernel).
        multiple: Sizes are multiples of this number (of what the network halves and doubles).
        check: Sizes at which the graph is held against its network, besides those that convcore
            chooses by itself.
    """

    least: int
    multiple: int
    check: tuple[int, ...]

    def __new__(
        cls, name: str, least: int = 1, multiple: int = 1, check: Iterable[int] = ()
    ) -> Size:
        """Check that the sizes of ``check`` are legal themselves; ValueError where they are not."""
        made = super().__new__(cls, name)
        made.least, made.multiple, made.check = least, multiple, tuple(check)
        if not name or least < 1 or multiple < 1:
            raise ValueError(f"Size({name!r}, {least}, {multiple}): a name, and numbers from 1 on")
        wrong = [size for size in made.check if size < least or size % multiple]
        if wrong:
            raise ValueError(
                f"{name} is checked at {wrong[0]}, but is at least {least} and a multiple of "
                f"{multiple}"
            )
        return made

    def legal(self, size: int) -> int:
        """Return the smallest legal size that is not below ``size``."""
        return -(-max(size, self.least) // self.multiple) * self.multiple


@attrs.frozen(eq=False, repr=False)
class Axis(Noun):
    """One input or output of a graph; an axis given by name may vary at run time.

    Attributes:
        name: Name in the ONNX file.
        shape: Sizes; a name (``"batch"``, ``"time"``) marks a dynamic axis, a ``Size`` one of
            which not every size is legal (``Size("height", least=16, multiple=4)``).
        dtype: ``float32`` or ``int64``.
        sample: Makes a legal example, ``(random generator, concrete shape) -> array``; None draws
            normal numbers, or indices of the tables that the network looks up. Needed where not
            every number is legal (sorted minutes, masks that fit their tokens).
    """

    name: str
    shape: Shape = attrs.field(converter=_axes)
    dtype: str = attrs.field(default="float32", validator=legal.word("float32", "int64"))
    sample: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray[Any, Any]] | None = (
        attrs.field(default=None, eq=False, repr=False)
    )


@attrs.frozen(eq=False, repr=False)
class Affine(Noun):
    """Normalisation around a graph: ``y = f((x - mean_in) / std_in) * std_out + mean_out``.

    Each is one float per channel of the last axis.
    """

    mean_in: tuple[float, ...]
    std_in: tuple[float, ...]
    mean_out: tuple[float, ...]
    std_out: tuple[float, ...]


@attrs.frozen(eq=False, repr=False)
class Graph(Noun):
    """One function to export and to time, computed by one or more components.

    Attributes:
        name: Stem of the ONNX file.
        components: Whose weights it needs. With one, the network's state dict has that component's
            keys (common prefix removed); with several, one submodule per component, so named.
        inputs: In order of the network's arguments.
        outputs: In order of what the network returns (a tensor, or a tuple of them).
        network: Builds the torch module, without weights; torch is imported inside it.
        role: ``training`` graphs are exported with ``--all-components`` only.
        base: Name of another graph that this one wraps with ``affine``; no second export is made.
        affine: Normalisation around ``base``.
        call: Class in ``Layout.nets`` and its keyword arguments, plain values, that make the same
            network; lets ``inference_example.py`` rebuild it for a weight file.
        refusal: Why this graph cannot be exported; asking for it then is an error with this text.
        missing: ``--config`` names that would lift the refusal; the error is then a ``LayoutError``
            that names those of every graph asked for at once.
    """

    name: str = attrs.field(validator=legal.stem)
    components: tuple[str, ...] = attrs.field(converter=_strings)
    inputs: tuple[Axis, ...] = attrs.field(converter=_ends, validator=legal.series_of(lambda: Axis))
    outputs: tuple[Axis, ...] = attrs.field(
        converter=_ends, validator=legal.series_of(lambda: Axis)
    )
    network: Callable[[], torch.nn.Module] = attrs.field(
        eq=False, repr=False, validator=legal.function
    )
    role: Role = attrs.field(default="inference", validator=legal.word("inference", "training"))
    base: str | None = None
    affine: Affine | None = attrs.field(default=None, repr=False)
    call: tuple[str, Mapping[str, Any]] | None = None
    refusal: str | None = None
    missing: tuple[str, ...] = ()


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

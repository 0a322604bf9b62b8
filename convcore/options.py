"""Every option of the commands that read and write models: one field each, with its help text.

A field gives the option of the command line, the keyword of ``convcore.convert`` and the other
verbs, the value in a request, and its line in ``docs/options.md``. To add an option is to add a
field here, and to use it where it matters.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import attrs

from convcore.errors import UsageError
from convcore.noun import Noun

AnyPath = str | os.PathLike[str]
VerifyLevel = Literal["fast", "full", "none"]
Weights = Literal["raw", "averaged", "auto"]
Backend = Literal["torch", "torch-compile", "onnxruntime"]
DEFAULT_TARGET = "pth"  # what is written unless somebody names another
_KEY, _BY_PLACE = "option", "by place"


@attrs.frozen(eq=False, repr=False)
class Option(Noun):
    """How a field is given on the command line; its default there is the field's.

    Attributes:
        help: What it means.
        spellings: As it is typed; none stands for the keyword's own name, ``--like-this``.
        metavar: What its value is called.
        kind: Type of its value.
        choices: Values it may have; empty allows any.
        least: Smallest number it may be.
        above: Number that it has to exceed.
        repeats: Whether it may be given several times.
        leads: Whether it is listed before those that several commands share.
    """

    help: str
    spellings: tuple[str, ...] = ()
    metavar: str | None = None
    kind: type = str
    choices: tuple[str, ...] = ()
    least: float | None = None
    above: float | None = None
    repeats: bool = False
    leads: bool = False


def option(default: Any, help: str, *spellings: str, **more: Any) -> Any:
    """Return a field; the further arguments are those of ``Option``."""
    return attrs.field(default=default, metadata=given(help, *spellings, **more))


def given(help: str, *spellings: str, **more: Any) -> dict[str, Option]:
    """Return the metadata of a field that needs more than ``option`` says, such as a converter."""
    return {_KEY: Option(help, spellings, **more)}


def argument(help: str, metavar: str) -> dict[str, Any]:
    """Return the metadata of a field that is given by its place alone."""
    return {_KEY: Option(help, metavar=metavar, kind=Path), _BY_PLACE: True}


class Described(NamedTuple):
    """One field of a table.

    Attributes:
        name: Its name in Python, and of the value on the command line.
        default: What it is where nobody gives it; ``attrs.NOTHING`` where somebody has to.
        option: How it is given.
        by_place: Whether it is an argument, given by its place alone.
    """

    name: str
    default: Any
    option: Option
    by_place: bool


def described(table: type) -> list[Described]:
    """Return every field of a table, in the order of help texts."""
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(table)
    found = [
        Described(field.alias or field.name, field.default, said, _BY_PLACE in field.metadata)
        for field in fields
        if (said := field.metadata.get(_KEY)) is not None
    ]
    return sorted(found, key=lambda each: (not each.by_place, not each.option.leads))


def as_path(given: AnyPath) -> Path:
    """Return a path; what can be none is told when it is opened."""
    return given if isinstance(given, Path) else Path(given)


def _maybe_path(given: AnyPath | None) -> Path | None:
    return None if given is None else as_path(given)


def _names(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _config(given: Mapping[str, str] | Iterable[str] | None) -> Mapping[str, str]:
    return dict(given) if isinstance(given, Mapping) else pairs(given or (), "--config")


def _parts(given: str | Iterable[str] | Mapping[str, str]) -> Mapping[str, str | None]:
    """Name to key prefix, or to None where a name alone is given."""
    if isinstance(given, Mapping):
        return dict(given)
    texts = _names(given)
    alone = dict.fromkeys(text for text in texts if "=" not in text)
    splits = pairs((text for text in texts if "=" in text), "--component")
    if alone and splits:
        raise UsageError(
            "--component NAME and --component NAME=KEY_PREFIX exclude each other",
            remedy="select components of a known layout, or split by prefixes",
        )
    return splits or alone


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """Split ``KEY=VALUE`` texts.

    Raises:
        UsageError: There is no ``=``, or a key stands twice.
    """
    found: dict[str, str] = {}
    for text in (texts,) if isinstance(texts, str) else texts:
        key, equals, value = text.partition("=")
        if not equals or not key or key in found:
            problem = "is given twice" if key in found else "has no value"
            raise UsageError(f"{option} {text} {problem}", remedy=f"write {option} NAME=VALUE once")
        found[key] = value
    return found


_CHECKPOINT = argument("A file, or a folder that some source knows.", "CHECKPOINT")
_LAYOUT_FILE = given("A layout described in TOML.", metavar="FILE.toml", kind=Path)


@attrs.frozen(eq=False, repr=False, kw_only=True, init=False)
class Opening(Noun):
    """How the tensors of a file or folder are come by."""

    source: str | None = option(None, "Take this source instead of recognising one.")
    key: str | None = option(None, "Dotted path of the state dict to take.", metavar="PATH")
    weights: Weights | None = option(
        None,
        "Weights as trained, or an average of them (auto: where there is one).",
        choices=get_args(Weights),
    )
    only: tuple[str, ...] = attrs.field(
        default=(),
        converter=_names,
        metadata=given("Files of a folder. Repeats.", metavar="PATTERN", repeats=True),
    )
    member: str | None = option(None, "The file of a container to take.", metavar="NAME")
    partial: bool = option(False, "Take one shard of several as it is.")
    rename: tuple[str, ...] = attrs.field(
        default=(),
        converter=_names,
        metadata=given(
            "Give tensors other names (of diff: those of A); * matches within a name. Repeats.",
            metavar="OLD=NEW|FILE.toml|weight-norm", repeats=True,
        ),
    )  # fmt: skip
    config: Mapping[str, str] = attrs.field(
        default=None,
        converter=_config,
        metadata=given("A layout's option. Repeats.", metavar="KEY=VALUE", repeats=True),
    )
    allow_opaque_calls: bool = option(
        False, "Read the tensors of a file that names code; nothing of it is run."
    )

    def opening(self) -> dict[str, Any]:
        """The options of this class alone, as keywords for reading."""
        return {field.name: getattr(self, field.name) for field in attrs.fields(Opening)}


@attrs.frozen(eq=False, repr=False, kw_only=True, init=False)
class Recognising(Opening):
    """How the family of a model is come by, too."""

    layout: str | None = option(None, "Take this layout instead of recognising one.")
    layout_file: Path | None = attrs.field(
        default=None, converter=_maybe_path, metadata=_LAYOUT_FILE
    )


# Not slotted: of the two bases that a table has, one may have slots.
@attrs.frozen(eq=False, repr=False, kw_only=True, slots=False, init=False)
class Tolerances(Noun):
    """How far a graph's outputs may be from its network's."""

    atol: float | None = option(None, "Absolute parity tolerance.", kind=float)
    rtol: float | None = option(None, "Relative parity tolerance.", kind=float)


@attrs.frozen(eq=False, repr=False, kw_only=True, init=False)
class Writing(Tolerances, Recognising):
    """What is written of a model, and how it is proved.

    Attributes:
        parts: Name of a component to write, to its key prefix or None; empty writes all.
    """

    parts: Mapping[str, str | None] = attrs.field(
        default=(),
        alias="components",
        converter=_parts,
        metadata=given("Take this one.", "--component", metavar="NAME[=KEY_PREFIX]", repeats=True),
    )
    no_discriminators: bool = option(
        False, "Leave out training components.", "--no-discriminators", "--inference-only"
    )
    split: bool = option(False, "Split one network by its first-level prefixes.")
    remainder: bool = option(False, "Write what --component NAME=KEY_PREFIX leaves over, too.")
    all_components: bool = option(False, "Export training components to ONNX too.")
    opset: int | None = option(None, "ONNX operator set (default 20).", kind=int)
    verify: VerifyLevel = option(
        "fast", "How much is proved after writing.", choices=get_args(VerifyLevel)
    )
    allow_nan: bool = option(False, "Write graphs whose outputs are NaN, not proved.")
    create_inference_script: bool = option(False, "Write inference_example.py too.")
    hash_source: bool = option(False, "Record the input's SHA-256.")
    dry_run: bool = option(False, "Show what would be written, write nothing.")
    overwrite: bool = option(False, "Replace an existing output as a whole.")
    add: bool = option(False, "Add targets to an existing output of the same input.")

    @property
    def components(self) -> tuple[str, ...]:
        """Names of components to write; empty writes all."""
        return tuple(name for name, prefix in self.parts.items() if prefix is None)

    @property
    def splits(self) -> dict[str, str]:
        """Name to key prefix, where a checkpoint that no layout knows is split."""
        return {name: prefix for name, prefix in self.parts.items() if prefix is not None}


@attrs.frozen(eq=False, repr=False, kw_only=True, init=False)
class Looking(Recognising):
    """How much is told of a model."""

    tensors: bool = option(False, "List every tensor.")
    deep: bool = option(False, "Read every byte: CRCs and bounds of all tensors.")


@attrs.frozen(eq=False, repr=False, kw_only=True, init=False)
class Timing(Recognising):
    """What of a model is timed, and how."""

    devices: tuple[str, ...] = option(
        ("auto",),
        "Where to time. auto is the CPU and all of CUDA. Repeats.",
        "--device", metavar="auto|cpu|cuda[:i]", repeats=True, leads=True,
    )  # fmt: skip
    backends: tuple[Backend, ...] = option(
        (), "Contender; all of them by default. Repeats.",
        "--backend", choices=get_args(Backend), repeats=True, leads=True,
    )  # fmt: skip
    batches: tuple[int, ...] = option(
        (1, 8, 32), "Repeats.", "--batch-size", kind=int, least=1, repeats=True, leads=True
    )
    sizes: tuple[str, ...] = option(
        (), "Size of another dynamic axis, 32 by default. Repeats; every combination is timed.",
        "--size", metavar="AXIS=N", repeats=True, leads=True,
    )  # fmt: skip
    threads: tuple[int, ...] = option(
        (1,), "Repeats; --threads 1 --threads CORES stand side by side.",
        kind=int, least=1, repeats=True, leads=True,
    )  # fmt: skip
    components: tuple[str, ...] = option(
        (), "Time this graph.", "--component", metavar="NAME", repeats=True, leads=True
    )
    rounds: int = option(
        2, "Processes per contender; more show the noise between processes.", kind=int, least=1
    )
    min_iterations: int | None = option(None, "Calls to time at least (30).", kind=int, least=1)
    min_time: float | None = option(None, "Seconds to time at least (0.5).", kind=float, above=0)
    max_time: float | None = option(
        None, "Seconds after which timing stops (5).", kind=float, above=0
    )
    warmup_time: float | None = option(None, "Seconds of warm-up at most (3).", kind=float, above=0)
    precision: float | None = option(
        None, "Half width of the median's 95 % confidence interval to reach (1).",
        metavar="PERCENT", kind=float, above=0,
    )  # fmt: skip
    seed: int = option(0, "Of the inputs.", kind=int)
    atol: float | None = option(None, "Absolute parity tolerance.", kind=float)
    save: Path | None = option(None, "Write as rows are finished.", metavar="FILE.json", kind=Path)
    plot: Path | None = option(None, ".png, .svg or .html", metavar="FILE", kind=Path)
    markdown: bool = option(False, "Print markdown tables.")


@attrs.frozen(eq=False, repr=False)
class OpenOptions(Opening):
    """What ``convcore.open_checkpoint`` takes."""

    checkpoint: Path = attrs.field(alias="path", converter=as_path, metadata=_CHECKPOINT)


@attrs.frozen(eq=False, repr=False)
class InspectOptions(Looking):
    """What ``inspect`` takes."""

    checkpoint: Path = attrs.field(alias="path", converter=as_path, metadata=_CHECKPOINT)


@attrs.frozen(eq=False, repr=False)
class ConvertOptions(Writing):
    """What ``convert`` takes."""

    checkpoint: Path = attrs.field(alias="path", converter=as_path, metadata=_CHECKPOINT)
    output: Path = attrs.field(
        alias="out",
        converter=as_path,
        metadata=given("Folder to write.", "-o", "--output", kind=Path, leads=True),
    )
    targets: tuple[str, ...] = attrs.field(
        default=(DEFAULT_TARGET,),
        converter=_names,
        metadata=given("Target. Repeats.", "--to", repeats=True, leads=True),
    )


@attrs.frozen(eq=False, repr=False)
class VerifyOptions(Tolerances):
    """What ``verify`` takes."""

    atol: float | None = attrs.field(
        default=None,
        kw_only=True,
        metadata=given("Absolute parity tolerance; the manifest's is not taken.", kind=float),
    )
    allow_nan: bool = attrs.field(
        default=False,
        kw_only=True,
        metadata=given("Let an output pass that is NaN on every input."),
    )
    folder: Path = attrs.field(
        converter=as_path, metadata=argument("An output of convcore.", "DIR")
    )
    layout_file: Path | None = attrs.field(
        default=None, kw_only=True, converter=_maybe_path, metadata=_LAYOUT_FILE
    )


@attrs.frozen(eq=False, repr=False)
class DiffOptions(Opening):
    """What ``diff`` takes."""

    first: Path = attrs.field(converter=as_path, metadata=argument("One of the two.", "A"))
    second: Path = attrs.field(converter=as_path, metadata=argument("The other.", "B"))
    key_a: str | None = attrs.field(
        default=None, kw_only=True, metadata=given("As --key, in A alone.", metavar="PATH")
    )
    key_b: str | None = attrs.field(
        default=None, kw_only=True, metadata=given("As --key, in B alone.", metavar="PATH")
    )
    align: bool = attrs.field(
        default=False,
        kw_only=True,
        metadata=given(
            "Find what renames A's keys to B's; B may be a JSON list of names and shapes, or a "
            "text with load_state_dict's message."
        ),
    )
    write: Path | None = attrs.field(
        default=None,
        kw_only=True,
        converter=_maybe_path,
        metadata=given("Write what --align finds, for --rename.", metavar="FILE.toml", kind=Path),
    )


@attrs.frozen(eq=False, repr=False)
class BenchOptions(Timing):
    """What ``bench`` takes."""

    path: Path = attrs.field(
        converter=as_path,
        metadata=argument("An output of convcore, or what convert takes.", "DIR|CHECKPOINT"),
    )


# Each command, with what it takes.
TABLES: Mapping[str, type[Noun]] = {
    "convert": ConvertOptions,
    "inspect": InspectOptions,
    "verify": VerifyOptions,
    "diff": DiffOptions,
    "bench": BenchOptions,
}

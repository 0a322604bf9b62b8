"""The three verbs of the Python interface: the commands' options, errors and results, unprinted."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from convcore.engine.conversion import convert as carry_out
from convcore.engine.inspection import Inspection, look
from convcore.engine.request import Request
from convcore.errors import warn
from convcore.host.registry import Registry, load_registry
from convcore.layouts.layout_file.reading import read_layout
from convcore.sources.reading import read_checkpoint
from convcore.sources.source import Checkpoint
from convcore.targets.report import Report
from convcore.targets.target import VerifyLevel

AnyPath = str | os.PathLike[str]


def open_checkpoint(
    path: AnyPath,
    *,
    source: str | None = None,
    key: str | None = None,
    config: Mapping[str, str] | None = None,
    allow_opaque_calls: bool = False,
    disable_plugins: Iterable[str] = (),
) -> Checkpoint:
    """Read a checkpoint lazily: names, shapes and what training stored, no numbers yet.

    Args:
        path: A file, or a folder that some source knows.
        source: Read it with this source only.
        key: Dotted path of the state dict inside the file, where several could be meant.
        config: Options, name to text.
        allow_opaque_calls: Read the tensors of a file that names code; nothing of it is run.
        disable_plugins: Plugins not to load, as ``-p no:NAME``.

    Returns:
        The checkpoint; ``checkpoint.tensors[name].load()`` gives a torch tensor, ``.numpy()`` an
        array, ``.shape`` and ``.dtype`` neither.

    Raises:
        UsageError: There is nothing at ``path``, or an unknown source was named.
        SourceError: It is no checkpoint, is damaged or unsafe, or two sources claim it.
        PluginError: The source named is declared twice, or broken.
    """
    return read_checkpoint(
        Path(path),
        _registry(disable_plugins, None),
        source=source,
        key=key,
        config=config,
        allow_opaque_calls=allow_opaque_calls,
    )


def inspect(
    path: AnyPath,
    *,
    layout: str | None = None,
    source: str | None = None,
    key: str | None = None,
    config: Mapping[str, str] | None = None,
    layout_file: AnyPath | None = None,
    allow_opaque_calls: bool = False,
    tensors: bool = False,
    deep: bool = False,
    disable_plugins: Iterable[str] = (),
) -> Inspection:
    """Say what a checkpoint is; an unknown model is no error.

    Args:
        path: A file, or a folder that some source knows.
        layout: Hold it against this layout only.
        source: Read it with this source only.
        key: Dotted path of the state dict inside the file.
        config: Options of the layout, name to text.
        layout_file: A layout described in TOML.
        allow_opaque_calls: Read the tensors of a file that names code; nothing of it is run.
        tensors: List every tensor in the document.
        deep: Read every byte: CRCs and bounds of all tensors.
        disable_plugins: Plugins not to load, as ``-p no:NAME``.

    Raises:
        ConvcoreError: As ``convcore inspect`` exits: ``SourceError`` for what is no sound
            checkpoint, ``LayoutError`` where ``layout`` does not explain it.
    """
    return look(
        Path(path),
        _registry(disable_plugins, layout_file),
        layout=layout,
        source=source,
        key=key,
        config=config,
        allow_opaque_calls=allow_opaque_calls,
        tensors=tensors,
        deep=deep,
    )


def convert(
    path: AnyPath,
    out: AnyPath,
    targets: str | Iterable[str] = ("pth",),
    *,
    layout: str | None = None,
    source: str | None = None,
    components: str | Iterable[str] | Mapping[str, str] = (),
    no_discriminators: bool = False,
    all_components: bool = False,
    config: Mapping[str, str] | None = None,
    layout_file: AnyPath | None = None,
    opset: int | None = None,
    verify: VerifyLevel = "fast",
    atol: float | None = None,
    rtol: float | None = None,
    allow_nan: bool = False,
    create_inference_script: bool = False,
    key: str | None = None,
    hash_source: bool = False,
    allow_opaque_calls: bool = False,
    dry_run: bool = False,
    overwrite: bool = False,
    add: bool = False,
    disable_plugins: Iterable[str] = (),
) -> Report:
    """Split and convert a checkpoint, and prove what was written.

    Args:
        path: A file, or a folder that some source knows.
        out: Folder to write; it appears whole, or not at all.
        targets: Names of targets, as ``--to``.
        layout: Take this layout instead of recognising one.
        source: Read it with this source only.
        components: Names to write (all, if none is named); or a mapping from name to key prefix,
            which splits a checkpoint that no layout knows.
        no_discriminators: Leave out components whose role is training.
        all_components: Export training graphs to ONNX too.
        config: Options of the layout and the targets, name to text.
        layout_file: A layout described in TOML.
        opset: ONNX operator set.
        verify: How much is proved after writing.
        atol: Absolute parity tolerance; None stands for 1e-5 x max(1, largest reference value).
        rtol: Relative parity tolerance.
        allow_nan: Write graphs of which an output is NaN for every input; they are not proved.
        create_inference_script: Write ``inference_example.py`` too.
        key: Dotted path of the state dict inside the file.
        hash_source: Record the input's SHA-256.
        allow_opaque_calls: Read the tensors of a file that names code; nothing of it is run.
        dry_run: Decide everything, write nothing.
        overwrite: Replace an existing output as a whole.
        add: Put further targets into an existing output of the same input.
        disable_plugins: Plugins not to load, as ``-p no:NAME``.

    Raises:
        ConvcoreError: Each kind as ``convcore convert`` exits; ``out`` is then as it was.
    """
    split = isinstance(components, Mapping)
    request = Request(
        Path(path),
        Path(out),
        _names(targets),
        layout=layout,
        source=source,
        components=() if split else _names(components),
        splits=dict(components) if isinstance(components, Mapping) else {},
        discriminators=not no_discriminators,
        all_components=all_components,
        config=dict(config or {}),
        opset=opset,
        verify=verify,
        atol=atol,
        rtol=rtol,
        example=create_inference_script,
        key=key,
        hash_source=hash_source,
        allow_opaque_calls=allow_opaque_calls,
        dry_run=dry_run,
        overwrite=overwrite,
        add=add,
        allow_nan=allow_nan,
    )
    return carry_out(request, _registry(disable_plugins, layout_file))


def _names(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _registry(disabled: Iterable[str], layout_file: AnyPath | None) -> Registry:
    layouts = [] if layout_file is None else [read_layout(Path(layout_file))]
    registry = load_registry(disabled, layouts)
    for plugin in registry.plugins:
        if plugin.error:
            warn(f"plugin {plugin.name} is set aside: {plugin.error}")
    return registry

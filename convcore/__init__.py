"""convcore turns training checkpoints into components that can be shipped, proved and timed.

The verbs of the command line, without its printing:

- `convcore.inspect(path)` says what a checkpoint is;
- `convcore.convert(path, out, targets=("pth", "onnx"))` splits, converts and proves it;
- `convcore.open_checkpoint(path)` gives its tensors, lazily;
- `convcore.verify(folder)` and `convcore.diff(first, second)` look again, and compare.

They share one `convcore.Session`; whoever wants to switch plugins off, or to be told of progress,
makes one.

Everything else here is what plugins are written with: the nouns, the marker `hookimpl`, the
errors. Authors of targets use the module `convcore.targets.weights` too, authors of sources
`convcore.sources`, and tests are made by `convcore.testing`. What is named here, there, and in
plugins/README.md is stable; every other module may change with any release.
"""

# Spelt out, since nothing may be imported before __main__ has taken the current directory off the
# path: a typing.py there would run.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from convcore.api import convert, diff, inspect, open_checkpoint, verify
    from convcore.engine.inspection import Inspection
    from convcore.errors import (
        ConvcoreError,
        LayoutError,
        PluginError,
        PluginWarning,
        SourceError,
        TargetError,
        UsageError,
        VerificationError,
    )
    from convcore.formats import Archive, Format, FormatSession, Location, Opaque
    from convcore.host.hookspecs import hookimpl
    from convcore.layouts.assumption import Assumption
    from convcore.layouts.graph import Affine, Axis, Graph, Size
    from convcore.layouts.layout import Component, Layout, LayoutMatch, Schema, Setting
    from convcore.layouts.layout_file.reading import layouts_from_toml
    from convcore.layouts.settings import Settler
    from convcore.manifest.record import Manifest
    from convcore.session import Session
    from convcore.sources.source import Checkpoint, Input, Source
    from convcore.targets.check import Check, CheckKind
    from convcore.targets.option import TargetOption
    from convcore.targets.report import Report, WrittenFile
    from convcore.targets.target import (
        Artifact,
        Choice,
        LedgerEntry,
        Place,
        Reopened,
        Target,
        Workspace,
    )
    from convcore.tensors import ByteSource, Extent, LazyTensor, TensorSpec, assemble

__version__ = "0.2.0"

__all__ = [
    "Affine",
    "Archive",
    "Artifact",
    "Assumption",
    "Axis",
    "ByteSource",
    "Check",
    "CheckKind",
    "Checkpoint",
    "Choice",
    "Component",
    "ConvcoreError",
    "Extent",
    "Format",
    "FormatSession",
    "Graph",
    "Input",
    "Inspection",
    "Layout",
    "LayoutError",
    "LayoutMatch",
    "LazyTensor",
    "LedgerEntry",
    "Location",
    "Manifest",
    "Opaque",
    "Place",
    "PluginError",
    "PluginWarning",
    "Reopened",
    "Report",
    "Schema",
    "Session",
    "Setting",
    "Settler",
    "Size",
    "Source",
    "SourceError",
    "Target",
    "TargetError",
    "TargetOption",
    "TensorSpec",
    "UsageError",
    "VerificationError",
    "Workspace",
    "WrittenFile",
    "assemble",
    "convert",
    "diff",
    "hookimpl",
    "inspect",
    "layouts_from_toml",
    "open_checkpoint",
    "verify",
]

# Where each name lives; nothing is imported before it is asked for.
_HOMES = {
    "api": (
        "convert",
        "diff",
        "inspect",
        "open_checkpoint",
        "verify",
    ),
    "engine.inspection": ("Inspection",),
    "errors": (
        "ConvcoreError",
        "LayoutError",
        "PluginError",
        "PluginWarning",
        "SourceError",
        "TargetError",
        "UsageError",
        "VerificationError",
    ),
    "formats": (
        "Archive",
        "Format",
        "FormatSession",
        "Location",
        "Opaque",
    ),
    "host.hookspecs": ("hookimpl",),
    "layouts.assumption": ("Assumption",),
    "layouts.graph": (
        "Affine",
        "Axis",
        "Graph",
        "Size",
    ),
    "layouts.layout": (
        "Component",
        "Layout",
        "LayoutMatch",
        "Schema",
        "Setting",
    ),
    "layouts.layout_file.reading": ("layouts_from_toml",),
    "layouts.settings": ("Settler",),
    "manifest.record": ("Manifest",),
    "session": ("Session",),
    "sources.source": (
        "Checkpoint",
        "Input",
        "Source",
    ),
    "targets.check": (
        "Check",
        "CheckKind",
    ),
    "targets.option": ("TargetOption",),
    "targets.report": (
        "Report",
        "WrittenFile",
    ),
    "targets.target": (
        "Artifact",
        "Choice",
        "LedgerEntry",
        "Place",
        "Reopened",
        "Target",
        "Workspace",
    ),
    "tensors": (
        "ByteSource",
        "Extent",
        "LazyTensor",
        "TensorSpec",
        "assemble",
    ),
}

if not TYPE_CHECKING:  # else a misspelt name would pass for Any

    def __getattr__(name: str) -> object:
        from importlib import import_module

        for home, names in _HOMES.items():
            if name in names:
                value = getattr(import_module(f"convcore.{home}"), name)
                globals()[name] = value
                return value
        raise AttributeError(f"module 'convcore' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})

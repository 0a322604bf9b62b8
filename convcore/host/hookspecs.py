"""What a plugin may declare. plugins/README.md documents each hook under its full signature."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from convcore.formats.format import Format
    from convcore.layouts.layout import Layout
    from convcore.sources.source import Source
    from convcore.targets.report import Report
    from convcore.targets.target import Target

hookspec = pluggy.HookspecMarker("convcore")
hookimpl = pluggy.HookimplMarker("convcore")


@hookspec
def convcore_formats() -> Iterable[Format] | None:
    """Declare the kinds of files this plugin can read.

    Asked and joined as the sources are; None declares nothing. A format knows bytes, no training
    framework: it gives a tree of plain values and lazy tensors, in which sources find the weights.
    Must not import torch. A complete plugin::

        from pathlib import Path
        from convcore import Archive, Extent, Format, LazyTensor, TensorSpec, hookimpl

        def read(location, session):
            data = location.open()
            spec = TensorSpec("uint8", (data.size - 4,))
            weight = LazyTensor.from_extents(spec, [Extent(data, 4, data.size - 4)])
            return Archive(Path(str(location)), "raw", {"weight": weight})

        def sniff(head, location):
            return head.startswith(b"RAW1")

        @hookimpl
        def convcore_formats():
            return [Format("raw", "four letters and the bytes of one tensor", sniff, read)]
    """


@hookspec
def convcore_sources() -> Iterable[Source] | None:
    """Declare the envelopes this plugin can open.

    Every plugin is asked once, before the command runs; all answers are joined and their order
    carries no meaning. None declares nothing. A name that another plugin declares already is a
    PluginError. Must not import torch. A complete plugin::

        from convcore import Source, hookimpl
        from convcore.sources import beside, make_checkpoint, state_dict_of

        def read(given):
            tree = given.archive.tree if given.archive else None
            weights = state_dict_of(tree.get("ema_model")) if isinstance(tree, dict) else None
            if not weights:
                return None
            rest = beside(tree, "ema_model")
            return make_checkpoint(given, weights, source="ema", beside=rest)

        @hookimpl
        def convcore_sources():
            return [Source("ema", "weights averaged over training", read, {"state-dict"})]
    """


@hookspec
def convcore_layouts() -> Iterable[Layout] | None:
    """Declare the model families this plugin knows.

    Asked and joined as the sources are; None declares nothing. Must import neither torch nor onnx:
    a graph's ``network`` does that when it is called. A complete plugin::

        @hookimpl
        def convcore_layouts():
            parts = [Component("encoder", "enc."), Component("critic", "critic.", role="training")]
            return [Layout("wgan", "Wasserstein GAN with an encoder", parts)]
    """


@hookspec
def convcore_targets() -> Iterable[Target] | None:
    """Declare the outputs this plugin can write.

    Asked and joined as the sources are; None declares nothing. Must not import torch: a target's
    ``write`` does that when it is called. A complete plugin::

        @hookimpl
        def convcore_targets():
            return [Target("npz", "one NumPy archive per component", ".npz", plan, write)]
    """


@hookspec
def convcore_converted(report: Report) -> None:
    """Be told of a conversion that is finished, verified and in place.

    What it returns is ignored, None included; what it raises is warned about and changes nothing,
    since the output stands already. A complete plugin::

        @hookimpl
        def convcore_converted(report):
            print(report.output, len(report.files), file=sys.stderr)
    """

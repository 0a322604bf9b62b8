"""One suite's subject: the checkpoint its author makes, read, matched and converted once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcore.engine import conversion as pipeline
from convcore.engine.request import Request
from convcore.errors import ConvcoreError, UsageError
from convcore.host.entries import Plugin
from convcore.host.registry import Registry, load_registry
from convcore.layouts.graph import Graph
from convcore.layouts.layout import LAYOUT_FILE, LayoutMatch
from convcore.layouts.layout_file.reading import read_layout
from convcore.layouts.matching import match_layout
from convcore.manifest import document as manifest
from convcore.manifest.record import Manifest
from convcore.sources.reading import read_checkpoint
from convcore.sources.source import Checkpoint
from convcore.targets.report import Report

if TYPE_CHECKING:
    from convcore.testing.suite import Suite


class Case:
    """Everything the tests of one suite stand on; each part is made when it is first asked for.

    Args:
        suite: What the author declared.
        folder: A folder of its own.
    """

    def __init__(self, suite: Suite, folder: Path) -> None:
        self.suite = suite
        self.folder = folder

    @cached_property
    def registry(self) -> Registry:
        """What the installed plugins declare, and the suite's own layouts."""
        layouts = list(self.suite.own_layouts())
        if self.suite.layout_file is not None:
            layouts.append(read_layout(Path(self.suite.layout_file)))
        return load_registry(extra_layouts=layouts)

    @cached_property
    def thing(self) -> Any:
        """The source, layout or target under test."""
        kind, name = self.suite.kind, self.suite.subject
        try:
            return self.registry.find(kind, name)
        except UsageError as error:
            broken = [f"{p.name} is set aside: {p.error}" for p in self.registry.plugins if p.error]
            why = "; ".join(broken) or "is its package installed (pip install -e .)?"
            raise AssertionError(f"{error.what}: {why}") from None

    @cached_property
    def plugin(self) -> Plugin | None:
        """The plugin that declares it; None for a layout file."""
        assert self.thing is not None
        owner = self.registry.owners[self.suite.kind, self.suite.subject][0]
        return next((p for p in self.registry.plugins if p.name == owner), None)

    @cached_property
    def path(self) -> Path:
        """The checkpoint that the author's ``make`` wrote."""
        folder = self.folder / "input"
        folder.mkdir()
        path = self.suite.make(folder)
        assert isinstance(path, Path), "make() has to return the path of what it wrote"
        assert path.exists(), f"make() returned {path}, and nothing is there"
        return path

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """It, as the one source that claims it reads it."""
        source = self.suite.subject if self.suite.kind == "sources" else None
        return read_checkpoint(self.path, self.registry, source=source, config=self.suite.config)

    @cached_property
    def match(self) -> LayoutMatch:
        """It, explained by the suite's layout."""
        return self.matched(self.checkpoint)

    def matched(self, checkpoint: Checkpoint) -> LayoutMatch:
        """Match a checkpoint with the suite's layout, named."""
        name = self.suite.layout_name
        return match_layout(checkpoint, self.registry, name=name, config=self.suite.config)

    @cached_property
    def graphs(self) -> tuple[Graph, ...]:
        """The graphs of the match that can be exported and are by default."""
        found = self.match.graphs()
        return tuple(g for g in found if g.refusal is None and g.role == "inference")

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """The targets converted to: the suite's, and ONNX where there is a graph for it."""
        if self.suite.kind == "targets":
            return (self.suite.subject,)
        onnx = ("onnx",) if self.suite.kind == "layouts" and self.graphs else ()
        known = [name for name in (*self.suite.targets, *onnx) if name in self.registry.targets]
        return tuple(dict.fromkeys(known))

    @cached_property
    def report(self) -> Report:
        """The conversion to all targets, verified in full, with an inference example."""
        return self.converted(self.folder / "output", verify="full", create_inference_script=True)

    @property
    def manifest(self) -> Manifest:
        """The manifest as it lies on the disk."""
        return manifest.load(self.report.output)

    def converted(
        self,
        output: Path,
        *,
        path: Path | None = None,
        checkpoint: Checkpoint | None = None,
        targets: Sequence[str] | None = None,
        **options: Any,
    ) -> Report:
        """Convert the author's checkpoint; or another file, or a changed one in its place."""
        from convcore.testing.disguise import read_by

        registry = self.registry if checkpoint is None else read_by(self.registry, checkpoint)
        named = self.suite.subject if self.suite.kind == "sources" and checkpoint is None else None
        request = Request(
            path or self.path,
            output,
            tuple(targets or self.targets),
            layout=self.suite.layout_name,
            source=named,
            config=dict(self.suite.config),
            **options,
        )
        return pipeline.convert(request, registry)

    def words(self, output: Path) -> list[str]:
        """The command that does what ``report`` did."""
        words = ["convert", str(self.path), "-o", str(output), "--verify", "full"]
        words += ["--create-inference-script"]
        if self.suite.layout_name:
            words += ["--layout", self.suite.layout_name]
        if self.suite.kind == "sources":
            words += ["--source", self.suite.subject]
        if self.suite.layout_file is not None:
            words += [LAYOUT_FILE, str(self.suite.layout_file)]
        for target in self.targets:
            words += ["--to", target]
        for name, value in self.suite.config.items():
            words += ["--config", f"{name}={value}"]
        return words

    def refusal(self, checkpoint: Checkpoint) -> ConvcoreError | None:
        """Match a changed checkpoint; return the error that refuses it, or None."""
        try:
            self.matched(checkpoint)
        except ConvcoreError as error:
            return error
        return None

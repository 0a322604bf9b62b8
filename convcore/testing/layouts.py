"""The suite for a layout: recognised, near misses refused, everything accounted for and proved."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from typing import ClassVar

import attrs
import pytest

from convcore import onnx_runtime
from convcore.errors import ConvcoreError, LayoutError
from convcore.layouts.candidates import REMAINDER
from convcore.layouts.example_inputs import draw, dynamic_axes, sizes_for
from convcore.layouts.layout import Schema
from convcore.layouts.matching import match_layout
from convcore.manifest import document as manifest
from convcore.targets import networks as network
from convcore.testing.case import Case
from convcore.testing.conversions import Conversions
from convcore.testing.disguise import prefixed, reshaped, without

# Keys changed one by one, at most; every component has its share.
_TRIED = 60
_TOLERANCE = 1e-5


class LayoutSuite(Conversions):
    """Tests of one layout. Set ``layout`` and define ``make``.

    Attributes:
        layout: Its name.
        optional: Patterns of keys without which a checkpoint is another legal one of this layout.
        free: Patterns of keys whose shape no configuration shows and anything may have.
    """

    kind = "layouts"
    layout: ClassVar[str]
    optional: ClassVar[tuple[str, ...]] = ()
    free: ClassVar[tuple[str, ...]] = ()

    @property
    def layout_name(self) -> str | None:
        """Named, since another suite's layout may explain the checkpoint as well."""
        return self.layout

    def test_its_checkpoint_is_recognised_on_evidence(self, case: Case) -> None:
        """Without being named, where it may be chosen by itself."""
        if not case.thing.automatic:
            pytest.skip("it is chosen by name only")

        match = match_layout(case.checkpoint, case.registry, config=self.config)

        assert match.layout.name == self.layout
        assert match.evidence, "evidence says why this layout"
        assert REMAINDER not in match.states, f"no component claims {[*match.states[REMAINDER]]}"
        assert not match.extra, "the schema does not know these keys of the checkpoint"
        for part in case.thing.components:
            assert part.name in match.states or not part.required

    def test_a_checkpoint_without_one_required_component_is_refused(self, case: Case) -> None:
        """The component is named, whichever it is."""
        for part in case.thing.components:
            if part.required:
                less = without(case.checkpoint, *case.match.states[part.name])

                with pytest.raises(LayoutError) as refused:
                    case.matched(less)

                assert part.name in _text(refused.value)

    def test_a_missing_tensor_is_named(self, case: Case) -> None:
        """One key less is refused by name; or it is one that may be absent."""
        schema = self._schema(case)
        unnoticed, unnamed = [], []
        for key in _tried(case):
            required = key in schema.shapes and key not in schema.optional
            if key.endswith("num_batches_tracked") or _fits(key, self.optional):
                required = False
            refused = case.refusal(without(case.checkpoint, key))
            if required and refused is None:
                unnoticed.append(key)
            elif required and key not in _text(refused):
                unnamed.append(f"{key}: {refused}")
            elif not required:
                assert refused is None or isinstance(refused, LayoutError), refused

        assert not unnoticed, "the layout matches without them; list them in the suite's optional"
        assert not unnamed

    def test_a_tensor_of_another_shape_is_noticed(self, case: Case) -> None:
        """It is refused by name, or it changes a size that the layout solves."""
        schema = self._schema(case)
        unnoticed = []
        for key in _tried(case):
            tensor = case.checkpoint.tensors[key]
            if key not in schema.shapes or _fits(key, self.free):
                continue
            for axis in (None, *range(len(tensor.shape))):
                changed = {**case.checkpoint.tensors, key: reshaped(tensor, axis)}
                try:
                    match = case.matched(attrs.evolve(case.checkpoint, tensors=changed))
                except LayoutError:
                    continue
                if match.sizes == case.match.sizes:
                    unnoticed.append(f"{key} of shape {changed[key].shape}")

        assert not unnoticed

    @pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
    def test_a_wrapper_around_the_model_changes_nothing(self, case: Case, prefix: str) -> None:
        """DataParallel and torch.compile put a prefix before every key; it is taken off."""
        source = case.registry.sources[case.checkpoint.source]

        wrapped = prefixed(case.path, source, prefix, _keys(case))
        if wrapped is None:
            pytest.skip("a folder of several files has no wrapper")
        match = case.matched(wrapped)

        assert {p: [*s] for p, s in match.states.items()} == {
            p: [*s] for p, s in case.match.states.items()
        }

    def test_an_unknown_prefix_is_not_mistaken_for_a_model(self, case: Case) -> None:
        """Keys that all carry a stranger's prefix are refused, or fully understood."""
        source = case.registry.sources[case.checkpoint.source]
        wrapped = prefixed(case.path, source, "convcore_unknown.", _keys(case))
        if wrapped is None:
            pytest.skip("a folder of several files has no prefix")
        try:
            match = match_layout(wrapped, case.registry, config=self.config)
        except LayoutError:
            return

        assert {p: len(s) for p, s in match.states.items()} == {
            p: len(s) for p, s in case.match.states.items()
        }

    def test_one_tensor_more_is_kept_and_told(self, case: Case) -> None:
        """A key that nobody expects travels with its component, and the evidence names it."""
        for part, state in case.match.states.items():
            first = next(iter(state))
            more = f"{first.rpartition('.')[0]}.convcore_more".lstrip(".")
            tensors = {**case.checkpoint.tensors, more: case.checkpoint.tensors[first]}
            try:
                match = case.matched(attrs.evolve(case.checkpoint, tensors=tensors))
            except LayoutError as error:
                if more not in _text(error):
                    pytest.fail(f"{more} is refused without being named: {_text(error)}")
                continue

            assert [more in s for s in match.states.values()].count(True) == 1, (part, more)
            if case.thing.schema is not None:
                assert more in " ".join(match.evidence), part

    def test_discriminators_can_be_left_out(self, case: Case) -> None:
        """``--no-discriminators`` drops what has the role training, and the ledger says so."""
        training = [p for p in case.match.layout.components if p.role == "training"]
        names = {n for p in training for n in case.match.states.get(p.name, ())}
        if not names:
            pytest.skip("no component has the role training")

        output = case.folder / "inference-only"
        report = case.converted(output, targets=["pth"], no_discriminators=True)

        rows = {row.tensor: row for row in manifest.load(report.output).ledger}
        for name in names - case.match.dropped.keys():
            row = rows[case.checkpoint.original(name)]
            assert (row.state, row.reason) == ("dropped", "role: training")

    def test_graphs_compute_what_their_networks_compute_at_sizes_never_traced(
        self, case: Case
    ) -> None:
        """Run by onnxruntime at sizes that the export never saw, against the torch network."""
        if not case.graphs:
            pytest.skip("the layout declares no graph that can be exported")
        import numpy as np

        for graph in case.graphs:
            path = case.report.output / f"{graph.name}.onnx"
            session = onnx_runtime.session(path)
            module = network.build(graph, case.match)
            used = sizes_for(graph)
            for start in (3, 11):
                sizes = {n: start + 2 * place for place, n in enumerate(dynamic_axes(graph))}
                assert not sizes or sizes not in (used.traced, *used.others)
                inputs = draw(graph, sizes, seed=start)
                expected = network.run(module, graph, inputs)
                found = dict(zip(expected, session.run(list(expected), inputs), strict=True))
                for name, reference in expected.items():
                    assert found[name].shape == reference.shape, (graph.name, name, sizes)
                    limit = _TOLERANCE * max(1.0, float(np.abs(reference).max()))
                    np.testing.assert_allclose(found[name], reference, rtol=0, atol=limit)

    def _schema(self, case: Case) -> Schema:
        """The layout's schema for the checkpoint; the test is skipped where it has none."""
        if case.thing.schema is None:
            pytest.skip("the layout has no schema, so it cannot tell keys and shapes from others")
        schema: Schema = case.thing.schema(
            {key: tensor.spec for key, tensor in case.checkpoint.tensors.items()}
        )
        return schema


def _tried(case: Case) -> Iterator[str]:
    """Choose keys spread over all components, the first and the last of each among them."""
    share = max(2, _TRIED // max(1, len(case.match.states)))
    for state in case.match.states.values():
        keys = list(state)
        step = max(1, -(-len(keys) // share))
        yield from dict.fromkeys((*keys[::step], keys[-1]))


def _keys(case: Case) -> frozenset[str]:
    return frozenset(map(case.checkpoint.original, case.checkpoint.tensors))


def _fits(key: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)


def _text(error: ConvcoreError | None) -> str:
    return "" if error is None else " ".join((error.what, *error.seen))

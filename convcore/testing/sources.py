"""The suite for a source: it claims its own, declines the rest, and reads what is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from convcore.errors import ConvcoreError, SourceError
from convcore.formats import walk_tensors
from convcore.sources.reading import open_input, read_checkpoint
from convcore.sources.source import Checkpoint
from convcore.testing.case import Case
from convcore.testing.conversions import Conversions
from convcore.testing.oracle import count, originals, same
from convcore.testing.processes import loaded_by_running

_CUTS = 12


def _saved(content: Callable[[], Any]) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        import torch

        torch.save(content(), path)

    return save


def _tensor() -> Any:
    import torch

    return torch.arange(6.0).reshape(2, 3)


def _safetensors(path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"layer.weight": _tensor()}, path)


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("nothing of a checkpoint")


# What other training code writes; names of the ids say what it is.
FOREIGN: Mapping[str, Callable[[Path], None]] = {
    "state-dict": _saved(lambda: {"layer.weight": _tensor(), "layer.bias": _tensor()[0]}),
    "wrapped": _saved(lambda: {"convcore_weights": {"layer.weight": _tensor()}, "step": 3}),
    "list": _saved(lambda: [_tensor(), _tensor()]),
    "tensor": _saved(_tensor),
    "empty": _saved(dict),
    "no-tensors": _saved(lambda: {"epoch": 3, "args": ["a", None]}),
    "odd-keys": _saved(lambda: {1: _tensor(), (2, 3): {"x": _tensor()}, None: "y"}),
    "safetensors": _safetensors,
    "folder": _folder,
    "empty-folder": Path.mkdir,
}


class SourceSuite(Conversions):
    """Tests of one source. Set ``source`` and define ``make``.

    Attributes:
        source: Its name.
        general: Whether it takes any state dict, so that it need not decline those of others.
        layout: What conversions name; ``plain`` takes every tensor.
    """

    kind = "sources"
    source: ClassVar[str]
    general: ClassVar[bool] = False
    layout: ClassVar[str] = "plain"
    targets = ("pth", "safetensors")

    @property
    def layout_name(self) -> str | None:
        """The layout that conversions name."""
        return self.layout

    def expected(self, path: Path) -> Mapping[str, Any] | None:
        """Return the tensors that ``path`` holds, by name, where torch cannot tell by itself."""
        return None

    def test_it_claims_its_own_on_evidence(self, case: Case) -> None:
        """Without being named, and alone."""
        checkpoint = read_checkpoint(case.path, case.registry, config=self.config)

        assert checkpoint.source == self.source
        assert checkpoint.evidence, "evidence says how the file was understood"
        assert checkpoint.tensors, "there are no tensors in it"
        assert all(isinstance(name, str) for name in checkpoint.tensors)

    def test_tensors_are_those_of_the_file(self, case: Case) -> None:
        """Every bit of every tensor, against torch's own reader, or what ``expected`` says."""
        told = self.expected(case.path)
        if told is None:
            known = originals(case.checkpoint)
            for name, lazy in case.checkpoint.tensors.items():
                candidates = known[case.checkpoint.original(name)]
                assert any(same(lazy.load(), tensor) for tensor in candidates), name
            return

        assert set(told) == set(case.checkpoint.tensors)
        for name, tensor in told.items():
            assert same(case.checkpoint.tensors[name].load(), tensor), name

    def test_no_tensor_of_the_file_is_lost(self, case: Case) -> None:
        """Each is part of the state dict, or of the rest that the ledger accounts for."""
        present = count(case.path)
        if present is None:
            pytest.skip("torch does not read the input as one file")

        rest = sum(1 for _ in walk_tensors(case.checkpoint.rest))
        assert len(case.checkpoint.tensors) + rest >= present

    @pytest.mark.parametrize("kind", FOREIGN)
    def test_what_others_wrote_is_declined(self, case: Case, kind: str, tmp_path: Path) -> None:
        """None for "not mine", a ``SourceError`` for "mine and broken", and nothing else."""
        path = tmp_path / kind
        FOREIGN[kind](path)
        try:
            given = open_input(path)
            answer = case.thing.read(given)
        except SourceError:
            assert self.general, "it refuses as broken what is not its own: return None instead"
            return

        assert self.general or answer is None
        assert answer is None or isinstance(answer, Checkpoint)

    def test_a_file_cut_short_is_refused_in_a_sentence(self, case: Case, tmp_path: Path) -> None:
        """Wherever the download ended."""
        if case.path.is_dir():
            pytest.skip("a folder is not cut short, its files are")
        data = case.path.read_bytes()
        for cut in range(_CUTS):
            short = tmp_path / f"{cut}{case.path.suffix}"
            short.write_bytes(data[: len(data) * cut // _CUTS])

            with pytest.raises(ConvcoreError) as refused:
                case.converted(tmp_path / "output", path=short)

            assert isinstance(refused.value, SourceError), refused.value.what

    def test_looking_imports_nothing_heavy(self, case: Case) -> None:
        """``convcore inspect`` reads names and shapes without torch, through this source too."""
        words = ("inspect", str(case.path), "--source", self.source, "--json")

        # Some sources have to look into arrays beside the weights.
        assert not loaded_by_running(*words) - {"numpy"}

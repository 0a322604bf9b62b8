"""A sidecar is what it was when it was read, and never somebody else's file behind a link."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import pytest
import torch
from safetensors.torch import save_file

from convcore.engine.conversion import convert
from convcore.engine.inspection import inspect
from convcore.engine.request import Request
from convcore.errors import SourceError
from convcore.host.registry import Registry, load_registry
from convcore.options import InspectOptions
from convcore.targets.target import Artifact, LedgerEntry, Workspace
from tests.conftest import EXAMPLE, ROOT

NORMALISATION = "normalization_params.json"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(EXAMPLE, folder)
    shutil.copy(EXAMPLE.with_name(NORMALISATION), folder)
    return folder


def meddling(meddle: Callable[[], object]) -> Registry:
    """The registry, its ``pth`` target with a hand that meddles while it writes."""
    registry = load_registry()
    pth = registry.targets["pth"]

    def write(artifacts: Sequence[Artifact], desk: Workspace) -> Iterator[LedgerEntry]:
        meddle()
        yield from pth.write(artifacts, desk)

    return attrs.evolve(
        registry, targets={**registry.targets, "pth": attrs.evolve(pth, write=write)}
    )


def other_numbers(path: Path) -> str:
    numbers = json.loads(path.read_text())
    return json.dumps({**numbers, "mean_a": [n + 1 for n in numbers["mean_a"]]})


def replaced(path: Path) -> None:
    (path.parent / "draft").write_text(other_numbers(path))
    (path.parent / "draft").replace(path)


def rewritten(path: Path) -> None:
    path.write_text(other_numbers(path))


@pytest.mark.parametrize(
    "meddle", [replaced, rewritten, Path.unlink], ids=lambda each: each.__name__
)
def test_a_sidecar_that_changes_while_graphs_are_made_of_it_is_not_published(
    meddle: Callable[[Path], None], run: Path, tmp_path: Path
) -> None:
    registry = meddling(lambda: meddle(run / NORMALISATION))

    with pytest.raises(SourceError, match=rf"{NORMALISATION}.*changed while reading"):
        convert(Request(run / "last.ckpt", tmp_path / "out"), registry)

    assert list(tmp_path.iterdir()) == [run]


def test_a_sidecar_that_is_swapped_and_swapped_back_is_not_read_in_between(
    run: Path, tmp_path: Path
) -> None:
    path = run / NORMALISATION

    def meddle() -> None:
        path.rename(run / "aside")
        path.write_text(other_numbers(run / "aside"))
        from convcore_cyclegan.normalisation import read_normalisation

        try:
            read_normalisation(path, 40)
        finally:
            (run / "aside").replace(path)

    with pytest.raises(SourceError, match="changed while reading"):
        convert(Request(run / "last.ckpt", tmp_path / "out"), meddling(meddle))

    assert not (tmp_path / "out").exists()


def test_sidecars_that_stay_are_copied_as_they_are(run: Path, tmp_path: Path) -> None:
    convert(Request(run / "last.ckpt", tmp_path / "out"), load_registry())

    assert (tmp_path / "out" / NORMALISATION).read_bytes() == (run / NORMALISATION).read_bytes()


def test_a_decisive_file_that_is_not_copied_may_not_change_either(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(ROOT / "examples/etm/models", models)
    architecture = models / "model_architecture.json"

    with pytest.raises(SourceError, match=r"model_architecture\.json.*changed while reading"):
        convert(
            Request(models, tmp_path / "out"),
            meddling(lambda: architecture.write_text(architecture.read_text() + " ")),
        )

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["part-2.safetensors", "model.safetensors.index.json"])
def test_a_shard_or_an_index_that_is_replaced_meanwhile_is_not_published(
    name: str, tmp_path: Path
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for number in (1, 2):
        save_file({f"w{number}": torch.ones(number)}, folder / f"part-{number}.safetensors")
    weight_map = {f"w{number}": f"part-{number}.safetensors" for number in (1, 2)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    def meddle() -> None:
        (folder / "draft").write_bytes((folder / name).read_bytes())
        (folder / "draft").replace(folder / name)

    with pytest.raises(SourceError, match=rf"{name}.*changed while reading"):
        convert(Request(folder, tmp_path / "out", layout="plain"), meddling(meddle))

    assert not (tmp_path / "out").exists()


@pytest.fixture
def layout() -> Registry:
    """A layout of a stranger's that names a sidecar."""
    registry = load_registry()
    plain = attrs.evolve(registry.layouts["plain"], sidecars=("norm.json",))
    return attrs.evolve(registry, layouts={**registry.layouts, "plain": plain})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint's folder, and beside it something that is nobody's business."""
    inner = tmp_path / "deep/checkpoints"
    inner.mkdir(parents=True)
    torch.save({"a.w": torch.ones(2)}, inner / "m.pt")
    (tmp_path / "secret").write_text("root:x:")
    return inner


OUTSIDE: dict[str, Callable[[Path], object]] = {
    "a file elsewhere": lambda at: (at / "norm.json").symlink_to(at.parents[1] / "secret"),
    "the system's": lambda at: (at / "norm.json").symlink_to("/etc/passwd"),
    "through a linked folder": lambda at: (
        (at / "x").symlink_to(at.parents[1]),
        (at / "norm.json").symlink_to("x/secret"),
    ),
    "one folder up": lambda at: (at.parent / "norm.json").symlink_to("../secret"),
}


@pytest.mark.parametrize("link", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_a_sidecar_that_is_a_link_out_of_the_folder_is_refused(
    link: Callable[[Path], object], folder: Path, tmp_path: Path, layout: Registry
) -> None:
    link(folder)
    request = Request(folder / "m.pt", tmp_path / "out", layout="plain")

    with pytest.raises(SourceError) as caught:
        convert(request, layout)
    with pytest.raises(SourceError):
        inspect(InspectOptions(folder / "m.pt", layout="plain"), layout)

    linked = next(place / "norm.json" for place in (folder, folder.parent)
                  if (place / "norm.json").is_symlink())  # fmt: skip
    assert str(linked.resolve()) in caught.value.what
    assert "name it yourself" in caught.value.remedy
    assert not (tmp_path / "out").exists()


INSIDE: dict[str, Callable[[Path], object]] = {
    "beside": lambda at: (at / "norm.json").symlink_to("real.json"),
    "below": lambda at: (
        (at / "sub").mkdir(),
        (at / "real.json").rename(at / "sub/real.json"),
        (at / "norm.json").symlink_to("sub/real.json"),
    ),
    "one folder up": lambda at: (at.parent / "norm.json").symlink_to("checkpoints/real.json"),
}


@pytest.mark.parametrize("link", INSIDE.values(), ids=INSIDE.keys())
def test_a_sidecar_that_is_a_link_within_the_folder_is_copied(
    link: Callable[[Path], object], folder: Path, tmp_path: Path, layout: Registry
) -> None:
    (folder / "real.json").write_text('{"mean": 0}')
    link(folder)

    convert(Request(folder / "m.pt", tmp_path / "out", layout="plain"), layout)

    assert (tmp_path / "out/norm.json").read_text() == '{"mean": 0}'
    assert not (tmp_path / "out/norm.json").is_symlink()


def test_a_sidecar_of_the_hugging_face_cache_is_copied(tmp_path: Path, layout: Registry) -> None:
    entry = tmp_path / "models--a--b"
    snapshot = entry / "snapshots/0123abcd"
    snapshot.mkdir(parents=True)
    (entry / "blobs").mkdir()
    torch.save({"a.w": torch.ones(2)}, entry / "blobs/1")
    (entry / "blobs/2").write_text('{"mean": 0}')
    (snapshot / "m.pt").symlink_to("../../blobs/1")
    (snapshot / "norm.json").symlink_to("../../blobs/2")

    convert(Request(snapshot / "m.pt", tmp_path / "out", layout="plain"), layout)

    assert (tmp_path / "out/norm.json").read_text() == '{"mean": 0}'


@pytest.mark.parametrize("name", ["vocab.json", "model_architecture.json", "best_theta.pt"])
def test_files_that_a_source_finds_itself_are_held_to_the_same(name: str, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(ROOT / "examples/etm/models", models)
    (models / name).unlink(missing_ok=True)
    secret = tmp_path / "secret"
    secret.write_text("{}")
    (models / name).symlink_to(secret)

    with pytest.raises(SourceError, match="is a link to"):
        convert(Request(models, tmp_path / "out"), load_registry())

    assert not (tmp_path / "out").exists()

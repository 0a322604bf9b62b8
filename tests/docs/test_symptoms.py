"""Each entry of docs/symptoms.md: the error is real, and its command solves it."""

from __future__ import annotations

import gzip
import re
import shlex
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, load_model, save_file
from torch import nn

from tests.conftest import ROOT, Ran

Run = Callable[..., Ran]
Step = Callable[[], object]
PAGE = (ROOT / "docs" / "symptoms.md").read_text("utf-8")
ENTRIES = {
    heading: shlex.split(command, comments=True)[1:]
    for heading, command in re.findall(r"^## (.+?)\n.*?```bash\n(.+?)\n```", PAGE, re.M | re.S)
}


class Net(nn.Module):
    """A network of two parts."""

    def __init__(self, classes: int = 3, first: str = "encoder") -> None:
        super().__init__()
        self.add_module(first, nn.Sequential(nn.Linear(4, 5)))
        self.head = nn.Linear(5, classes)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.out = nn.Linear(4, 5, bias=False)
        self.out.weight = self.embed.weight


def fits(model: nn.Module, original: nn.Module, file: str = "out/model.pth") -> None:
    """Load strictly, and compare with what was trained."""
    model.load_state_dict(torch.load(file, weights_only=True), strict=True)
    pairs = zip(model.state_dict().values(), original.state_dict().values(), strict=True)
    assert all(torch.equal(found, expected) for found, expected in pairs)


def whole_module(patch: pytest.MonkeyPatch) -> Net:
    """Save a module whose class lies in ``models``, which is gone afterwards."""
    net = Net()
    with patch.context() as inside:
        module = types.ModuleType("models")
        module.Net = Net  # type: ignore[attr-defined]
        inside.setattr(Net, "__module__", "models")
        inside.setitem(sys.modules, "models", module)
        torch.save(net, "model.pt")
    return net


def weights_only(patch: pytest.MonkeyPatch) -> tuple[Step, Step]:
    net = whole_module(patch)
    return lambda: torch.load("model.pt", weights_only=True), lambda: fits(Net(), net)


def no_module(patch: pytest.MonkeyPatch) -> tuple[Step, Step]:
    net = whole_module(patch)

    def solved() -> None:
        found = load_file("out/model.safetensors")
        Net().load_state_dict(found, strict=True)
        assert all(torch.equal(found[name], tensor) for name, tensor in net.state_dict().items())

    return lambda: torch.load("model.pt", weights_only=False), solved


def load_key(patch: pytest.MonkeyPatch) -> tuple[Step, Step]:
    net = Net()
    torch.save(net.state_dict(), "model.pt")
    Path("model.pt.gz").write_bytes(gzip.compress(Path("model.pt").read_bytes()))
    return lambda: torch.load("model.pt.gz", weights_only=False), lambda: fits(Net(), net)


def inside_a_zip(patch: pytest.MonkeyPatch) -> tuple[Step, Step]:
    net = Net()
    torch.save(net.state_dict(), "last.pt")
    with zipfile.ZipFile("model.zip", "w") as archive:
        archive.writestr("run/version", "3\n")
        archive.write("last.pt", "run/last.pt")
    return lambda: torch.load("model.zip", weights_only=False), lambda: fits(Net(), net)


def missing(patch: pytest.MonkeyPatch) -> tuple[Step, Step]:
    net = Net(first="backbone")
    torch.save(net.state_dict(), "checkpoint.pt")
    return lambda: Net().load_state_dict(torch.load("checkpoint.pt")), lambda: fits(Net(), net)


def unexpected(patch: pytest.MonkeyPatch) -> tuple[Step, Step]:
    net = Net()
    optimizer = torch.optim.Adam(net.parameters())
    tree = {
        "epoch": 3,
        "state_dict": nn.DataParallel(net).state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(tree, "checkpoint.ckpt")
    loaded = torch.load("checkpoint.ckpt")["state_dict"]
    return lambda: Net().load_state_dict(loaded), lambda: fits(Net(), net)


def size_mismatch(patch: pytest.MonkeyPatch) -> tuple[Step, Step]:
    old, new = Net(classes=10, first="backbone"), Net(first="backbone")
    torch.save(old.state_dict(), "checkpoint.pt")
    part = (new.get_submodule("backbone"), old.get_submodule("backbone"))
    return (
        lambda: new.load_state_dict(torch.load("checkpoint.pt"), strict=False),
        lambda: fits(*part, file="out/backbone.pth"),
    )


def of_cuda(patch: pytest.MonkeyPatch) -> tuple[Step, Step]:
    net = Net()
    torch.save(net.state_dict(), "cpu.pt", _use_new_zipfile_serialization=False)
    cpu, cuda = b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"
    Path("gpu.pt").write_bytes(Path("cpu.pt").read_bytes().replace(cpu, cuda))
    patch.setattr(torch.cuda, "is_available", lambda: False)
    return lambda: torch.load("gpu.pt"), lambda: fits(Net(), net)


def shared_memory(patch: pytest.MonkeyPatch) -> tuple[Step, Step]:
    net, other = Tied(), Tied()
    torch.save(net.state_dict(), "tied.pt")

    def solved() -> None:
        load_model(other, "out/model.safetensors", strict=True)
        assert torch.equal(other.out.weight, net.out.weight)
        assert other.out.weight is other.embed.weight

    return lambda: save_file(net.state_dict(), "tied.safetensors"), solved


SYMPTOMS = {
    "Weights only load failed": weights_only,
    "No module named 'models'": no_module,
    "invalid load key": load_key,
    "PytorchStreamReader failed": inside_a_zip,
    "Missing key(s) in state_dict": missing,
    "Unexpected key(s) in state_dict": unexpected,
    "size mismatch for": size_mismatch,
    "Attempting to deserialize object on a CUDA device": of_cuda,
    "Some tensors share memory": shared_memory,
}


def test_every_entry_is_tried() -> None:
    assert ENTRIES.keys() == SYMPTOMS.keys()


@pytest.mark.parametrize("message", SYMPTOMS)
def test_the_command_of_an_entry_solves_the_error_it_is_for(
    message: str, convcore: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    failing, solved = SYMPTOMS[message](monkeypatch)
    with pytest.raises(Exception, match=re.escape(message)):
        failing()

    ran = convcore(*ENTRIES[message])

    assert ran.code == 0, ran.err
    solved()


def test_names_that_align_finds_are_those_of_the_model(
    convcore: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    failing, solved = missing(monkeypatch)
    with pytest.raises(RuntimeError, match=re.escape("Missing key(s) in state_dict")):
        failing()
    torch.save(Net().state_dict(), "model.pt")
    (align,) = re.findall(r"`convcore (diff [^`]*)`", PAGE)

    found = convcore(*shlex.split(align))
    ran = convcore("convert", "checkpoint.pt", "-o", "out", "--rename", "names.toml")

    assert (found.code, ran.code) == (0, 0), found.err + ran.err
    solved()


DAMAGED = {
    "cut short": ("PytorchStreamReader failed", "model.zip", None, "copy the file again"),
    "an LFS pointer": (
        "invalid load key",
        "model.pt.gz",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 9\n",
        "git lfs pull",
    ),
    "a web page": ("invalid load key", "model.pt.gz", b"<!DOCTYPE html><html></html>", "web page"),
}


@pytest.mark.parametrize(("message", "name", "data", "said"), DAMAGED.values(), ids=DAMAGED)
def test_a_file_that_is_not_the_checkpoint_is_told_with_what_to_do(
    message: str,
    name: str,
    data: bytes | None,
    said: str,
    convcore: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(Net().state_dict(), name)
    Path(name).write_bytes(Path(name).read_bytes()[:-300] if data is None else data)
    with pytest.raises(Exception, match=message):
        torch.load(name, weights_only=False)

    ran = convcore(*ENTRIES[message])

    assert ran.code == 3
    assert said in ran.err

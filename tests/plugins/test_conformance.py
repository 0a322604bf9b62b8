"""Every built-in plugin under the suite that strangers test theirs with."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from safetensors.torch import load_file

import convcore
from convcore.testing import LayoutSuite, SourceSuite, TargetSuite
from tests.conftest import ROOT

EXAMPLES = ROOT / "examples"


def copied(origin: Path, folder: Path) -> Path:
    if origin.is_dir():
        return Path(shutil.copytree(origin, folder / origin.name))
    return Path(shutil.copy(origin, folder))


class TestCycleGAN(LayoutSuite):
    layout = "cyclegan"

    def make(self, folder: Path) -> Path:
        copied(EXAMPLES / "cyclegan/normalization_params.json", folder)
        return copied(EXAMPLES / "cyclegan/last.ckpt", folder)


class TestAutoencoder(LayoutSuite):
    layout = "autoencoder"

    def make(self, folder: Path) -> Path:
        return copied(EXAMPLES / "autoencoder/checkpoint_epoch_5.pth", folder)


class TestPretrainedSeqSetVAE(LayoutSuite):
    layout = "seqsetvae"

    def make(self, folder: Path) -> Path:
        return copied(EXAMPLES / "seqsetvae/SeqSetVAE_pretrain_batch1.ckpt", folder)


class TestFinetunedSeqSetVAE(TestPretrainedSeqSetVAE):
    def make(self, folder: Path) -> Path:
        return copied(EXAMPLES / "seqsetvae/SeqSetVAE_finetune_batch2.ckpt", folder)


class TestUMC(LayoutSuite):
    layout = "umc"
    config = {"nheads": "8"}  # noqa: RUF012 # written as a plugin's author writes it

    def make(self, folder: Path) -> Path:
        copied(EXAMPLES / "umc/uncased_L-2_H-48_A-4", folder)
        return copied(next(EXAMPLES.glob("umc/outputs/*")), folder)


class TestETM(LayoutSuite):
    layout = "etm"

    def make(self, folder: Path) -> Path:
        return copied(EXAMPLES / "etm/models", folder)


class TestLightning(SourceSuite):
    source = "lightning"

    def make(self, folder: Path) -> Path:
        return copied(EXAMPLES / "cyclegan/last.ckpt", folder)


class TestStateDict(SourceSuite):
    source = "state-dict"
    general = True

    def make(self, folder: Path) -> Path:
        state = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.zeros(2)}
        torch.save({"model_state_dict": state, "epoch": 3, "args": {"lr": 0.1}}, folder / "a.pt")
        return folder / "a.pt"


class TestRunFolders(SourceSuite):
    source = "umc"

    def make(self, folder: Path) -> Path:
        return TestUMC().make(folder)


class TestETMFolders(SourceSuite):
    source = "etm-folder"

    def make(self, folder: Path) -> Path:
        return TestETM().make(folder)


class TestExtractedEncoder(SourceSuite):
    source = "autoencoder-extracted"
    layout = "autoencoder"

    def make(self, folder: Path) -> Path:
        whole = copied(EXAMPLES / "autoencoder/checkpoint_epoch_5.pth", folder)
        convcore.convert(whole, folder / "parts", no_discriminators=True)
        return folder / "parts/encoder_weights.pth"


class TestPth(TargetSuite):
    target = "pth"
    rereads = False  # it compares while it writes

    def read(self, path: Path) -> Mapping[str, Any]:
        return torch.load(path, weights_only=True)


class TestStateDictFile(TestPth):
    target = "state-dict"


class TestSafetensors(TargetSuite):
    target = "safetensors"

    def read(self, path: Path) -> Mapping[str, Any]:
        return load_file(path)


class TestONNX(TargetSuite):
    target = "onnx"
    layout = "cyclegan"
    rereads = False  # it compares results, within a tolerance
    make = TestCycleGAN.make

    def read(self, path: Path) -> Mapping[str, Any]:
        graph = onnx.load(path).graph
        return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}

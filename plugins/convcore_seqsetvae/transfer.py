"""Target ``seqsetvae-finetune``: from a pretraining checkpoint, one to start finetuning from.

Facts: which keys the origin's ``train.py`` (github.com/sxtforreal/SeqSetVAE, commit c08c0f7) takes
over and how it renames them. It drops the time embedding, so that finetuning runs on a random one;
here it is kept unless ``--config time_embedding=fresh`` asks for what the origin does.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from convcore import (
    Artifact,
    Check,
    CheckKind,
    Choice,
    LayoutMatch,
    LedgerEntry,
    Target,
    TargetOption,
    TensorSpec,
    UsageError,
    Workspace,
)
from convcore.layouts.schema import evaluate
from convcore.layouts.settings import departures, positive
from convcore_seqsetvae.rechecking import DOCUMENT, HEAD, recheck, reopen
from convcore_seqsetvae.schema import head
from convcore_seqsetvae.versions import recognise

if TYPE_CHECKING:
    import torch

    from convcore import LazyTensor

NAME = "seqsetvae-finetune"
FILE = "finetune_start.ckpt"
# What the model is built from, by the names of settings and of the origin's hyper-parameters.
SIZES = ("input_dim", "reduced_dim", "latent_dim", "levels", "m", "ff_dim", "transformer_layers")
ATTENTION = ("heads", "transformer_heads")
EPS = ("norm_eps", "post_norm_eps")
_RENAMED = ("set_encoder.", "setvae.setvae.")
_TIME = ("rel_time_bucket_embed.weight", "alibi_slope", "time_tau")
_OVERHEAD = 600  # a record's headers and the pickle of one tensor, rounded up
_LARGEST_SEED = 2**63 - 1


class Transfer(NamedTuple):
    """What happens to every key.

    Attributes:
        taken: Key in the new checkpoint to the tensor's name in the old one.
        dropped: Name in the old checkpoint to the reason why it is left out.
        fresh: Key in the new checkpoint to its shape, for what is newly drawn.
        seed: Of the fresh tensors.
        classes: Of the new head.
    """

    taken: Mapping[str, str]
    dropped: Mapping[str, str]
    fresh: Mapping[str, tuple[int, ...]]
    seed: int
    classes: int

    def document(self) -> dict[str, Any]:
        """The content of ``transfer.json``."""
        keys = (*self.taken, *self.fresh)
        return {
            "file": FILE,
            "seed": self.seed,
            "num_classes": self.classes,
            "kept": [new for new, old in self.taken.items() if new == old],
            "renamed": {old: new for new, old in self.taken.items() if new != old},
            "dropped": dict(self.dropped),
            "fresh": list(self.fresh),
            "freeze": [key for key in keys if not key.startswith(HEAD)],
            "train": [key for key in keys if key.startswith(HEAD)],
        }


def accepts(match: LayoutMatch) -> str | None:
    """Return why no finetuning can start from a match, or None.

    It has to be a pretraining checkpoint, of a version whose mathematics is known: the model that
    is trained further is this plugin's.
    """
    if match.layout.name != "seqsetvae":
        return "it starts the finetuning of a SeqSetVAE pretraining checkpoint, and of no other"
    stage = match.value("stage")
    if stage != "pretraining":
        return f"it starts from a pretraining checkpoint, and this one is of the stage {stage}"
    version = recognise(match.checkpoint.tensors)
    unsettled = [
        f"{graph.name}: {graph.refusal}"
        for graph in match.graphs()
        if set(graph.missing) - set(ATTENTION)
    ]
    return version.encoder_refusal or version.sequence_refusal or "; ".join(unsettled) or None


def plan(match: LayoutMatch, choice: Choice) -> Iterator[Artifact]:
    """Plan the checkpoint and, beside it, ``transfer.json``.

    Raises:
        UsageError: Components were named, though the start of a finetuning is whole, or an option
            has no legal value.
    """
    if choice.explicit:
        raise UsageError(
            f"--component {', '.join(choice.components)} leaves a checkpoint that cannot be "
            "finetuned from",
            remedy=f"leave out --component with --to {NAME}",
        )
    seed, classes = choice.options["seed"], choice.options["num_classes"]
    renew_time = choice.options["time_embedding"] == "fresh"
    taken, dropped = {}, {}
    for component in choice.components:
        for name in match.states[component]:
            if renew_time and name in _TIME:
                dropped[name] = "time_embedding=fresh"
            elif name in match.dropped:
                dropped[name] = match.dropped[name]
            else:
                old, new = _RENAMED
                taken[new + name.removeprefix(old) if name.startswith(old) else name] = name
    sizes = {**match.sizes, "C": classes}
    fresh = {
        key: tuple(int(evaluate(axis, sizes)) for axis in shape) for key, shape in head("seed", {})
    }
    fresh |= {name: match.checkpoint.tensors[name].shape for name in _TIME if name in dropped}
    transfer = Transfer(taken, dropped, fresh, seed, classes)
    nbytes = sum(match.checkpoint.tensors[name].nbytes for name in taken.values())
    nbytes += sum(4 * prod(shape) for shape in fresh.values())
    nbytes += 2 * _OVERHEAD * (len(taken) + len(fresh))  # transfer.json names every key as well
    yield Artifact(FILE, NAME, "finetune_start", taken, nbytes, also=(DOCUMENT,), plan=transfer)


def write(artifacts: Sequence[Artifact], workspace: Workspace) -> Iterator[LedgerEntry]:
    """Write both files; every byte of the checkpoint is re-read and compared while written."""
    from convcore.formats import as_plain
    from convcore.targets.weights import create, groups, torch_zip

    (artifact,) = artifacts
    transfer: Transfer = artifact.plan
    match = workspace.match
    source = match.checkpoint.tensors
    state = OrderedDict((new, source[old]) for new, old in transfer.taken.items())
    shared = {name: first for first, names in groups(state) for name in names}
    state.update((key, in_memory(key, t, match)) for key, t in draw(transfer).items())
    hyper = {**as_plain(match.checkpoint.hyper_parameters), **settled(match)}
    version = match.checkpoint.metadata.get("pytorch-lightning_version")
    tree = {
        # Lightning migrates what it loads by this number.
        **({"pytorch-lightning_version": version} if isinstance(version, str) else {}),
        "state_dict": state,
        "hyper_parameters": {**hyper, "num_classes": transfer.classes, "head": "seed"},
    }
    torch_zip.write(workspace.folder / FILE, tree)
    with os.fdopen(create(workspace.folder / DOCUMENT), "w", encoding="ascii") as document:
        document.write(json.dumps(transfer.document(), indent=2, allow_nan=False) + "\n")
    workspace.progress(artifact.nbytes, artifact.nbytes)
    for new, old in transfer.taken.items():
        alias = shared.get(new)
        reason = f"shares the bytes of {alias}" if alias else None
        yield LedgerEntry(old, NAME, "alias" if alias else "written", FILE, new, reason)
    for old, reason in transfer.dropped.items():
        yield LedgerEntry(old, NAME, "dropped", reason=reason)
    for key in transfer.fresh:
        yield LedgerEntry(None, NAME, "fresh", FILE, key, f"drawn with seed {transfer.seed}")


def settled(match: LayoutMatch) -> dict[str, Any]:
    """Return what the checkpoint is read by when it is converted again.

    A raw state dict says none of it, ``--config`` may have said otherwise than the file, and a size
    that training stored loses to the tensors. Attention heads that nobody knows are left out.
    """
    known = {name: match.value(name) for name in ATTENTION}
    sizes = {name: match.value(name) for name in SIZES}
    known |= departures(match)
    return sizes | {name: value for name, value in known.items() if value is not None}


def check(artifacts: Sequence[Artifact], workspace: Workspace) -> Iterator[Check]:
    """Read the checkpoint with torch and compare it with its source and with the seed's draw."""
    import torch

    (artifact,) = artifacts
    transfer: Transfer = artifact.plan
    state = torch.load(workspace.folder / FILE, weights_only=True)["state_dict"]
    source, fresh = workspace.match.checkpoint.tensors, draw(transfer)
    differing = [key for key in state if key not in fresh and key not in transfer.taken]
    for key in (*transfer.taken, *fresh):
        expected = fresh[key] if key in fresh else source[transfer.taken[key]].load()
        if not _same(state.get(key), expected):
            differing.append(key)
    figures = {"tensors": len(state), "fresh": len(transfer.fresh), "differing": differing[:20]}
    said = "torch.load equals source and seed"
    yield Check(FILE, said, not differing, figures, CheckKind.LIBRARY)


def draw(transfer: Transfer) -> dict[str, torch.Tensor]:
    """Draw the fresh tensors as torch's modules do under the seed; the caller's generator stays."""
    import torch

    from convcore_seqsetvae.nets import TIME_EDGES, SeedHead

    width = transfer.fresh[f"{HEAD}0.weight"][0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(transfer.seed)
        fresh = {HEAD + k: v for k, v in SeedHead(width, transfer.classes).state_dict().items()}
        weight = torch.nn.Embedding(len(TIME_EDGES) + 1, width).weight.detach()
    constants = (weight, torch.tensor(1.0), torch.tensor(60.0))
    fresh |= {key: t for key, t in zip(_TIME, constants, strict=True) if key in transfer.fresh}
    return fresh


def in_memory(key: str, tensor: torch.Tensor, match: LayoutMatch) -> LazyTensor:
    """Wrap a tensor that lies in no file, so that it is written like all others."""
    from convcore import LazyTensor

    spec = TensorSpec(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
    data = tensor.contiguous().numpy().tobytes()
    return LazyTensor.from_bytes(spec, data, name=str(match.checkpoint.path), key=key)


def natural(text: str) -> int:
    """Read a whole number from 0 on; ValueError for anything else."""
    if not (text.isascii() and text.isdigit() and int(text[:20]) <= _LARGEST_SEED):
        raise ValueError("a whole number from 0 on is needed")
    return int(text)


def kept_or_fresh(text: str) -> str:
    """Read what becomes of the time embedding; ValueError for anything else."""
    if text not in ("kept", "fresh"):
        raise ValueError("say kept or fresh")
    return text


def _same(there: Any, expected: torch.Tensor) -> bool:
    import torch

    return isinstance(there, torch.Tensor) and torch.equal(
        there.contiguous().reshape(-1).view(torch.uint8),
        expected.contiguous().reshape(-1).view(torch.uint8),
    )


TARGET = Target(
    NAME,
    "a checkpoint to start SeqSetVAE's finetuning from, and what became of every key",
    plan,
    write,
    check,
    reopen,
    recheck,
    needs=("torch",),
    accepts=accepts,
    options=(
        TargetOption("seed", "of the fresh classifier head, 0 unless given", natural, 0),
        TargetOption("num_classes", "of the fresh classifier head, 2 unless given", positive, 2),
        TargetOption(
            "time_embedding",
            "kept (the default), or fresh as the origin's script leaves it",
            kept_or_fresh,
            "kept",
        ),
    ),
    loads="",
)

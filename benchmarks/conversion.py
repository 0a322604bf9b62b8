"""Converting a checkpoint: convcore against the ways people know.

Extracting: one Lightning checkpoint (four networks and their Adam states) is written, and one
network is taken out of it. Exporting: the example's checkpoint becomes ONNX. Every contender has
a process of its own, in turn with the others, and is timed from outside: interpreter start, imports
and all. Figures are medians, and ratios within this one run.

    python benchmarks/conversion.py --size-mb 1200 --save conversion.json --markdown conversion.md
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parent.parent / "examples/cyclegan"
COMPONENT = "generator_AB"
PREFIX = f"{COMPONENT}."

# The warm-up leaves the byte code that an installation has.
_ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
_TORCH = """
import sys, torch
loaded = torch.load(sys.argv[1], map_location="cpu", weights_only=True{mmap})
weights = loaded["state_dict"].items()
state = {{k[len({prefix!r}):]: v for k, v in weights if k.startswith({prefix!r})}}
{save}
"""
_SAVE = "torch.save({k: v.clone() for k, v in state.items()}, sys.argv[2])"
_SAFE = "from safetensors.torch import save_file; save_file(state, sys.argv[2])"


# What a throw-away script does: both generators, nothing checked.
_EXPORT = """
import sys, warnings, torch
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
from train import CycleGANModule
module = CycleGANModule.load_from_checkpoint(sys.argv[2], map_location="cpu").eval()
for name in ("generator_AB", "generator_BA"):
    torch.onnx.export(
        getattr(module, name), (torch.randn(2, 3, 40),), sys.argv[3] + name + ".onnx", dynamo=True,
        input_names=["features"], output_names=["converted"], external_data=False,
        dynamic_shapes=({0: "batch", 1: "time"},), opset_version=20, verbose=False,
    )
"""


def extracting(checkpoint: Path, scratch: Path, part: Path) -> dict[str, list[str]]:
    """Return the commands that take one network out; ``{out}`` stands for a fresh path."""
    python, out = sys.executable, str(scratch / "{out}")
    convcore = [python, "-m", "convcore"]
    convert = [*convcore, "convert", str(checkpoint), "-o", out, "--component", COMPONENT]
    plain, mapped = (_TORCH.format(mmap=m, prefix=PREFIX, save=_SAVE) for m in ("", ", mmap=True"))
    safe = _TORCH.format(mmap=", mmap=True", prefix=PREFIX, save=_SAFE)
    return {
        "convcore convert --to pth": [*convert, "--to", "pth"],
        "convcore convert --to safetensors": [*convert, "--to", "safetensors"],
        "convcore inspect": [*convcore, "inspect", str(checkpoint), "--json"],
        "torch.load + torch.save": [python, "-c", plain, str(checkpoint), out],
        "torch.load(mmap=True) + torch.save": [python, "-c", mapped, str(checkpoint), out],
        "torch.load(mmap=True) + save_file": [python, "-c", safe, str(checkpoint), out],
        "cp of the same bytes": ["cp", str(part), out],
    }


def exporting(scratch: Path) -> dict[str, list[str]]:
    """Return the commands that turn the example into ONNX."""
    python, out = sys.executable, str(scratch / "{out}")
    checkpoint = str(EXAMPLE / "last.ckpt")
    convert = [python, "-m", "convcore", "convert", checkpoint, "-o", out, "--to", "onnx"]
    bare = [python, "-c", _EXPORT, str(EXAMPLE), checkpoint, out]
    return {
        "convcore convert --to onnx (four graphs, verified)": convert,
        "bare torch.onnx.export (two graphs)": bare,
    }


def make_checkpoint(path: Path, megabytes: int) -> None:
    """Write a checkpoint of four equal networks, trained one step by Lightning's Trainer."""
    import lightning
    import torch

    sys.path.insert(0, str(EXAMPLE))
    from train import CHANNELS, CycleGANModule

    # Weights and two moments for four networks: a twelfth of the file is one network, and each has
    # ten square layers of 4-byte numbers.
    width = max(8, int((megabytes * 1e6 / 12 / 4 / 10) ** 0.5))
    module = CycleGANModule(
        CHANNELS,
        generator_config={"hidden_dims": [width] * 3, "n_residual_blocks": 3},
        discriminator_config={"hidden_dims": [width] * 11},
    )
    trainer = lightning.Trainer(
        max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    pairs = torch.utils.data.TensorDataset(*torch.randn(2, 4, 8, CHANNELS))
    trainer.fit(module, torch.utils.data.DataLoader(pairs, batch_size=4))
    trainer.save_checkpoint(path)


def measure(command: list[str], out: Path) -> tuple[float, float]:
    """Run one contender; return wall seconds and peak memory of the process in MB."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [word.replace("{out}", out.name) for word in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=_ENVIRONMENT,
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status != 0:
        message = process.stderr.read().decode() if process.stderr else ""
        raise SystemExit(f"{command[:6]} failed: {message}")
    return seconds, usage.ru_maxrss / 1024


def run(
    contenders: dict[str, list[str]], scratch: Path, repeats: int
) -> dict[str, dict[str, object]]:
    """Measure all contenders in turn, ``repeats`` times after one round of warm-up.

    Ratios are to the first of them.
    """
    rows: dict[str, dict[str, list[float]]] = {}
    for repeat in range(repeats + 1):
        for name, command in contenders.items():
            out = scratch / f"out{repeat}"
            seconds, megabytes = measure(command, out)
            shutil.rmtree(out, ignore_errors=True)
            for path in scratch.glob(f"{out.name}*"):
                path.unlink()
            if repeat:
                row = rows.setdefault(name, {"seconds": [], "peak_mb": []})
                row["seconds"].append(seconds)
                row["peak_mb"].append(megabytes)
    first = statistics.median(next(iter(rows.values()))["seconds"])
    return {
        name: {
            "median_seconds": statistics.median(row["seconds"]),
            "peak_mb": max(row["peak_mb"]),
            "ratio_to_first": statistics.median(row["seconds"]) / first,
            "seconds": row["seconds"],
        }
        for name, row in rows.items()
    }


def markdown(rows: dict[str, dict[str, object]]) -> str:
    """Render the table for README."""
    lines = ["| contender | seconds (median) | ratio | peak MB |", "|---|---|---|---|"]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {row['median_seconds']:.3f} | {row['ratio_to_first']:.2f} "
            f"| {row['peak_mb']:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark as the module's docstring says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size-mb", type=int, default=1200, help="size of the checkpoint")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--checkpoint", type=Path, help="use this file instead of making one")
    parser.add_argument("--save", type=Path, help="write the figures as JSON")
    parser.add_argument("--markdown", type=Path, help="write the table as markdown")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="conversion-", dir=Path.cwd()) as folder:
        scratch = Path(folder)
        checkpoint = given.checkpoint or scratch / "big.ckpt"
        if given.checkpoint is None:
            # In a process of its own: a parent with gigabytes would distort its children's start.
            code = "import sys; sys.path.insert(0, sys.argv[1]); import conversion, pathlib; "
            code += "conversion.make_checkpoint(pathlib.Path(sys.argv[2]), int(sys.argv[3]))"
            home = str(Path(__file__).parent)
            words = [sys.executable, "-c", code, home, str(checkpoint), str(given.size_mb)]
            subprocess.run(words, check=True, capture_output=True)
        command = extracting(checkpoint, scratch, checkpoint)["convcore convert --to pth"]
        measure(command, scratch / "extracted")
        part = scratch / "extracted" / f"{COMPONENT}.pth"
        size, part_size = checkpoint.stat().st_size, part.stat().st_size
        extracted = run(extracting(checkpoint, scratch, part), scratch, given.repeats)
        exported = run(exporting(scratch), scratch, given.repeats)
    result = {
        "checkpoint_bytes": size,
        "component_bytes": part_size,
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "extracting": extracted,
        "exporting": exported,
    }
    if given.save:
        given.save.write_text(json.dumps(result, indent=2) + "\n")
    text = (
        f"Extracting {part_size / 1e6:.0f} MB from a checkpoint of {size / 1e6:.0f} MB:\n\n"
        f"{markdown(extracted)}\n\nExporting the example to ONNX:\n\n{markdown(exported)}\n"
    )
    if given.markdown:
        given.markdown.write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()

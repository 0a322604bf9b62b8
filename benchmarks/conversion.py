"""Extracting one component of a large checkpoint: convcore against the ways people know.

One Lightning checkpoint (four networks and their Adam states) is written; every contender then runs
in a process of its own, in turn with the others, and is timed from outside: interpreter start,
imports and all. Figures are medians, and ratios within this one run.

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

COMPONENT = "generator_AB"
PREFIX = f"{COMPONENT}."

_TORCH = """
import sys, torch
loaded = torch.load(sys.argv[1], map_location="cpu", weights_only=True{mmap})
weights = loaded["state_dict"].items()
state = {{k[len({prefix!r}):]: v for k, v in weights if k.startswith({prefix!r})}}
{save}
"""
_SAVE = "torch.save({k: v.clone() for k, v in state.items()}, sys.argv[2])"
_SAFE = "from safetensors.torch import save_file; save_file(state, sys.argv[2])"


def contenders(checkpoint: Path, scratch: Path, part: Path) -> dict[str, list[str]]:
    """Return each contender's command; ``{out}`` stands for a fresh path."""
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


def make_checkpoint(path: Path, megabytes: int) -> int:
    """Write a checkpoint of four equal networks with Adam states; return one network's bytes."""
    import lightning
    import torch

    # Weights and two moments for four networks: a twelfth of the file is one network.
    blocks = 12
    width = max(8, int((megabytes * 1e6 / 12 / 4 / blocks) ** 0.5))

    class Gan(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            for name in ("generator_AB", "generator_BA", "discriminator_A", "discriminator_B"):
                layers = [torch.nn.Linear(width, width) for _ in range(blocks)]
                self.add_module(name, torch.nn.Sequential(*layers))

        def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
            return sum(part(batch).pow(2).mean() for part in self.children())  # type: ignore[return-value]  # a tensor

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters())

    trainer = lightning.Trainer(
        max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    model = Gan()
    trainer.fit(model, torch.utils.data.DataLoader(torch.randn(2, width), batch_size=2))
    trainer.save_checkpoint(path)
    return sum(p.numel() * p.element_size() for p in model.generator_AB.parameters())


def measure(command: list[str], out: Path) -> tuple[float, float]:
    """Run one contender; return wall seconds and peak memory of the process in MB."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [word.replace("{out}", out.name) for word in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status != 0:
        message = process.stderr.read().decode() if process.stderr else ""
        raise SystemExit(f"{command[:6]} failed: {message}")
    return seconds, usage.ru_maxrss / 1024


def run(checkpoint: Path, scratch: Path, part: Path, repeats: int) -> dict[str, dict[str, object]]:
    """Measure all contenders in turn, ``repeats`` times after one round of warm-up."""
    rows: dict[str, dict[str, list[float]]] = {}
    for repeat in range(repeats + 1):
        for name, command in contenders(checkpoint, scratch, part).items():
            out = scratch / f"out{repeat}"
            seconds, megabytes = measure(command, out)
            shutil.rmtree(out, ignore_errors=True)
            out.unlink(missing_ok=True)
            if repeat:
                row = rows.setdefault(name, {"seconds": [], "peak_mb": []})
                row["seconds"].append(seconds)
                row["peak_mb"].append(megabytes)
    first = statistics.median(rows["convcore convert --to pth"]["seconds"])
    return {
        name: {
            "median_seconds": statistics.median(row["seconds"]),
            "peak_mb": max(row["peak_mb"]),
            "ratio_to_convcore_pth": statistics.median(row["seconds"]) / first,
            "seconds": row["seconds"],
        }
        for name, row in rows.items()
    }


def markdown(rows: dict[str, dict[str, object]]) -> str:
    """Render the table for README."""
    lines = ["| contender | seconds (median) | ratio | peak MB |", "|---|---|---|---|"]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {row['median_seconds']:.3f} | {row['ratio_to_convcore_pth']:.2f} "
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
            code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import conversion; "
            code += (
                f"conversion.make_checkpoint(conversion.Path({str(checkpoint)!r}), {given.size_mb})"
            )
            subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)  # fmt: skip
        extracted = scratch / "extracted"
        subprocess.run(
            [sys.executable, "-m", "convcore", "convert", str(checkpoint), "-o", str(extracted),
             "--component", COMPONENT], check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        part = extracted / f"{COMPONENT}.pth"
        rows = run(checkpoint, scratch, part, given.repeats)
        size, part_size = checkpoint.stat().st_size, part.stat().st_size
    result = {
        "checkpoint_bytes": size,
        "component_bytes": part_size,
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "rows": rows,
    }
    if given.save:
        given.save.write_text(json.dumps(result, indent=2) + "\n")
    table = markdown(rows)
    if given.markdown:
        given.markdown.write_text(table + "\n")
    print(f"{size / 1e6:.0f} MB checkpoint, {part_size / 1e6:.0f} MB component\n\n{table}")


if __name__ == "__main__":
    main()

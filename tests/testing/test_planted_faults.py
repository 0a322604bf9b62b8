"""The suites are worth something only if a broken plugin fails them: each fault is planted once.

The plugins are those of plugins/README.md, with a line of them changed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from tests.docs.test_writing_a_plugin import BLOCKS
from tests.environments import install_into

SUITES = {"dcgan": "TestDCGAN", "ema": "TestEMA", "flat": "TestFlat"}
LAYOUT, SOURCE, TARGET = (f"src/convcore_{n}/__init__.py" for n in ("dcgan", "ema", "flat"))


@attrs.frozen
class Fault:
    """A line changed, and the test that has to notice."""

    file: str
    before: str
    after: str
    noticed: str


FAULTS = {
    "torch at module level": Fault(
        LAYOUT, "convcore_api = 2", "import torch", "declaring_it_imports_nothing_heavy"
    ),
    "prints on import": Fault(LAYOUT, "convcore_api = 2", "print(1)", "its_plugin_is_sound"),
    "a key nobody checks": Fault(
        LAYOUT, 'f"{g}3.weight": ("2*G", "G", 4, 4)', "**{}", "recognised_on_evidence"
    ),
    "an optional required key": Fault(
        LAYOUT, "return Schema(shapes)", "return Schema(shapes, shapes)", "missing_tensor_is_named"
    ),
    "a size that is not compared": Fault(
        LAYOUT,
        "return Schema(shapes)",
        "return Schema({k: tensors[k].shape if k in tensors else s for k, s in shapes.items()})",
        "tensor_of_another_shape_is_noticed",
    ),
    "a frozen batch": Fault(
        "src/convcore_dcgan/nets.py",
        "return self.net(latent[:, :, None, None])",
        "return self.net(latent[:2, :, None, None])",
        "graphs_compute_what_their_networks_compute",
    ),
    "a hyper-parameter in a file name": Fault(
        LAYOUT,
        'settler.from_shape("latent"',
        'open(str(settler.hyper_parameters.get("nz", 0)) + ".txt", "w").close(); '
        'settler.from_shape("latent"',
        "hostile_hyper_parameters",
    ),
    "a source that claims everything": Fault(
        SOURCE,
        'if not isinstance(tree, dict) or not {"ema_model", "raw_model"} <= tree.keys():',
        "if not isinstance(tree, dict):",
        "what_others_wrote_is_declined",
    ),
    "a source without evidence": Fault(
        SOURCE, "evidence=said", "evidence=()", "claims_its_own_on_evidence"
    ),
    "a source that loses a tensor": Fault(
        SOURCE, "if not tensors:", "tensors = dict(list(tensors.items())[1:])\n    if not tensors:",
        "no_tensor_of_the_file_is_lost",
    ),
    "a target that forgets aliases": Fault(
        TARGET, "for key in aliases:", "for key in ():", "odd_tensors_are_written_right"
    ),
    "a target that verifies nothing": Fault(
        TARGET,
        "yield weights.prove_bytes(workspace.folder / made.path, starts, made.plan)",
        "from convcore import Check; yield Check(made.path, 'looked at', True)",
        "changed_byte_is_noticed",
    ),
    "a target that reads back something else": Fault(
        TARGET,
        'p["start"]) for k',
        'p["start"] ^ 4) for k',
        "read_back_and_verified",
    ),
    "a target that writes the time": Fault(
        TARGET,
        "json.dump(index, beside)",
        "import time; json.dump({**index, '': {'start': time.time_ns(), 'dtype': 'int8', "
        "'shape': [0]}}, beside)",
        "same_input_gives_the_same_bytes",
    ),
    "a target that promises too little": Fault(
        TARGET, "names, size, (f", "names, 3, (f", "writes_exactly_what_it_planned"
    ),
    "a target that hides what it needs": Fault(
        TARGET, "    for made in artifacts:\n        index, start",
        "    import numpy\n    for made in artifacts:\n        index, start",
        "imports_late_is_listed_in_needs",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The README's plugins as pip installs them, and their tests."""
    folder = tmp_path_factory.mktemp("sound")
    for name, text in BLOCKS.items():
        path = folder / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    install_into(folder / "installed", folder / "project")
    shutil.copytree(folder / "project/tests", folder / "installed/tests")
    return folder / "installed"


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_planted_fault_fails_the_test_that_is_for_it(
    fault: Fault, installed: Path, tmp_path: Path
) -> None:
    home = Path(shutil.copytree(installed, tmp_path / "home"))
    broken = home / fault.file.removeprefix("src/")
    text = broken.read_text()
    assert fault.before in text
    broken.write_text(text.replace(fault.before, fault.after, 1))
    suite = next(suite for part, suite in SUITES.items() if part in fault.file)

    path = os.pathsep.join(filter(None, (str(home), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider",
         "--rootdir", str(home), "-x", "-k", f"{suite} and {fault.noticed}", "tests"],
        capture_output=True, text=True, timeout=300, cwd=home,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip

    assert done.returncode == 1, done.stdout[-3000:]
    assert re.search(rf"^(FAILED|ERROR) .*{fault.noticed}", done.stdout, re.MULTILINE)

"""Target npz: one NumPy archive per component, as a stranger would write it."""

import io
import os
import zipfile

from convcore import Artifact, LedgerEntry, Target, TargetError, TargetOption, hookimpl
from convcore.targets import weights

convcore_api = 2


def plan(match, choice):
    for component in choice.components:
        names = weights.local_names(match, component)
        tensors = {key: match.checkpoint.tensors[name] for key, name in names.items()}
        weights.supported(tensors)
        odd = [key for key, tensor in tensors.items() if tensor.dtype.startswith(("bf", "float8"))]
        if odd:
            raise TargetError(f"NumPy has no type for {odd[0]}", remedy="take --to pth")
        size = sum(tensor.nbytes + 2 * len(key) + 400 for key, tensor in tensors.items())
        path = f"{weights.file_stem(match, component)}.npz"
        plan = (tensors, choice.options["level"])
        yield Artifact(path, "npz", component, names, size + 100, plan=plan)


def write(artifacts, workspace):
    import numpy as np

    for artifact in artifacts:
        tensors, level = artifact.plan
        with (
            os.fdopen(weights.create(workspace.folder / artifact.path), "wb") as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if level else 0) as archive,
        ):
            for key, tensor in tensors.items():
                data = io.BytesIO()
                np.lib.format.write_array(data, tensor.numpy(), allow_pickle=False)
                entry = zipfile.ZipInfo(f"{key}.npy")
                kind = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
                archive.writestr(entry, data.getvalue(), kind, level or None)
                yield LedgerEntry(artifact.names[key], "npz", "written", artifact.path, key)


def arrays_of(path):
    import numpy as np

    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def check(artifacts, workspace):
    for artifact in artifacts:
        path = workspace.folder / artifact.path
        yield weights.prove_arrays(path, arrays_of(path), artifact.plan[0])


def reopen(folder, artifact):
    path = folder / artifact.path
    return weights.from_arrays(path, arrays_of(path))


def level(text):
    if text not in "0123456789" or not text:
        raise ValueError("say 0 to 9")
    return int(text)


LOADS = """
import numpy

with numpy.load(HERE / file) as arrays:
    return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
"""


@hookimpl
def convcore_targets():
    return [
        Target(
            "npz",
            "one NumPy archive per component",
            plan,
            write,
            check,
            reopen,
            needs="numpy",
            options=[TargetOption("level", "how well it packs, 0 to 9", level, 0)],
            loads=LOADS.strip(),
        )
    ]

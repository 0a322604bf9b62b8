"""What a process that we start inherits: of our environment what it needs, and no secrets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

# A whole name, or, with its underscore, the beginning of one.
_NEEDED = (
    # finding programs, libraries and packages
    "PATH", "HOME", "USER", "LOGNAME", "LD_", "VIRTUAL_ENV", "CONDA_",
    # compilers, of which torch.compile starts one
    "CC", "CXX", "CFLAGS", "CXXFLAGS", "CPATH", "CPLUS_INCLUDE_PATH", "C_INCLUDE_PATH", "LDFLAGS",
    "LIBRARY_PATH", "NIX_",
    # how numbers are computed, and where
    "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "DNNL_", "ONEDNN_", "ATEN_", "TORCH_",
    "TORCHINDUCTOR_", "TORCHDYNAMO_", "PYTORCH_", "TRITON_", "CUDA_", "NVIDIA_", "CUBLAS_",
    "CUDNN_", "ORT_", "MALLOC_", "GLIBC_TUNABLES", "NPY_",
    # how text is written
    "LANG", "LANGUAGE", "LC_", "TZ",
    # ours, and what plugins of ours may go by
    "CONVCORE_", "COVERAGE_",
)  # fmt: skip


def inherited(scratch: Path, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process that may write below ``scratch`` and nowhere else.

    Args:
        scratch: A folder that is there, for whatever its libraries leave behind.
        environment: Ours, if not that of this process.
    """
    given = os.environ if environment is None else environment
    needed = {name: value for name, value in given.items() if _is_needed(name)}
    return needed | {
        "PYTHONSAFEPATH": "1",  # those it starts import nothing from the current directory either
        "PYTHONDONTWRITEBYTECODE": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "TMPDIR": str(scratch),
        "XDG_CACHE_HOME": str(scratch / "cache"),
        "XDG_CONFIG_HOME": str(scratch / "config"),
        "TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor"),
        "TRITON_CACHE_DIR": str(scratch / "triton"),
    }


def _is_needed(name: str) -> bool:
    return any(
        name == needed or (needed.endswith("_") and name.startswith(needed)) for needed in _NEEDED
    ) or name.startswith("PYTHON")  # PYTHONPATH, PYTHONHOME and the rest have no underscore

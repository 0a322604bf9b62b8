"""onnxruntime, imported in this one place: it reports to nobody and prints nothing by itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcore.escape import printable

if TYPE_CHECKING:
    import onnxruntime

FORMAT = "onnx"  # of the artifacts that it runs
_SILENT = 4  # fatal; what fails is raised too, and only we escape the names of a file's nodes
_KINDS = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented",
          "RuntimeException", "NoSuchFile", "EPFail", "EngineError", "ModelLoaded")  # fmt: skip
_LONGEST = 300


def load() -> Any:
    """Import onnxruntime without its telemetry, and with a silent log.

    Its builds for Linux keep (1.32 does) a device id and queue events, with the names of files and
    graphs, below the user's cache folder. The variable is read when the library is loaded, so that
    it has to be set before, and whoever is started from here inherits it.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    onnxruntime.set_default_logger_severity(_SILENT)
    return onnxruntime


def options(threads: int = 0) -> onnxruntime.SessionOptions:
    """Options of a session that prints nothing; 0 threads leaves their number to onnxruntime."""
    chosen = load().SessionOptions()
    chosen.log_severity_level = _SILENT
    chosen.intra_op_num_threads = threads
    return chosen


def session(path: Path, threads: int = 0, *, spinning: bool = True) -> onnxruntime.InferenceSession:
    """Open an ONNX file on the CPU.

    Args:
        path: Of the file.
        threads: See ``options``.
        spinning: Let threads that have nothing to do burn time until they have; that is quickest
            for calls in a row, and waste where torch computes between them.
    """
    chosen = options(threads)
    if not spinning:
        chosen.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return load().InferenceSession(
        str(path), sess_options=chosen, providers=["CPUExecutionProvider"]
    )


def errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises for a file that it cannot load or run."""
    load()
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return tuple(getattr(state, name) for name in _KINDS if hasattr(state, name))


def told(error: Exception) -> str:
    """Say on one line what onnxruntime raised; names in it are the file's, so it is escaped."""
    return printable(str(error).strip(), _LONGEST)
